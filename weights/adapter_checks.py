# SPDX-License-Identifier: Apache-2.0
"""What of an adapter is looked at before PEFT takes it: fields that run code, sizes, patterns, and its tensors.

PEFT matches the patterns of an adapter by `re`, which cannot be stopped: `(a+)+$` on a name of forty letters takes
years. Here they are matched by `regex`, with a limit of time, and PEFT gets the names that they stand for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import regex
import torch
from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from peft import PeftConfig

__all__ = ["check_adapter_fields", "check_adapter_values", "read_adapter_shapes", "settle_patterns"]

_REFUSED = {
    "megatron_config": "it has PEFT import a module that the adapter names",
    "layer_replication": "it makes a model of other layers than its base",
}
_SIZES = regex.compile(r"r|.*rank|.*_dim|.*block_size|.*block_num|n_frequency|num_vectors|vector_length")
_PLAIN = regex.compile(r"[\w.]+")
_LONGEST_PATTERN = 2_000
_SECONDS = 5.0


def check_adapter_fields(fields: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Refuse an adapter_config.json that would run code, or take memory that its tensors do not account for.

    Args:
        fields: The content of adapter_config.json.
        shapes: Those of the tensors in the adapter.
        folder: The folder of the adapter, for the error.

    Raises:
        ValueError: Naming the field.
    """
    for name, reason in _REFUSED.items():
        if fields.get(name):
            raise ValueError(f"The adapter {folder} has {name}, which GeoDiT does not take: {reason}.")
    largest = max((size for shape in shapes.values() for size in shape), default=0)
    patterns = fields.get("rank_pattern")
    ranks = patterns.items() if isinstance(patterns, dict) else ()
    for name, value in [*fields.items(), *((f"rank_pattern of {key!r:.80}", rank) for key, rank in ranks)]:
        sized = name.startswith("rank_pattern of") or _SIZES.fullmatch(name)
        if sized and isinstance(value, int) and not isinstance(value, bool) and value > largest:
            raise ValueError(
                f"The adapter {folder} has {name}={value:,}, but no side of its tensors is larger than {largest:,}."
            )


def read_adapter_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of the tensors in a file from its header.

    Raises:
        ValueError: If the file is cut off or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is cut off or damaged: {error}.") from error


def check_adapter_values(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], folder: Path
) -> None:
    """Refuse tensors of integers in the place of numbers, and those that hold values that are NaN or infinite.

    Args:
        tensors: Those of the adapter.
        expected: Those that a new adapter of its kind has, by the same names. Some kinds keep indices.
        folder: The folder of the adapter, for the error.

    Raises:
        ValueError: Naming the first.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise ValueError(f"The adapter {folder} is damaged: {name} is of the type {tensor.dtype}.")
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"The adapter {folder} is damaged: {name} holds values that are NaN or infinite.")


def settle_patterns(config: PeftConfig, names: Sequence[str], folder: Path) -> None:
    """Put module names in the place of the patterns of an adapter, so that nothing is left for PEFT to match.

    Args:
        config: The configuration of the adapter, changed in place.
        names: The names of all modules of the model.
        folder: The folder of the adapter, for errors.

    Raises:
        ValueError: If a pattern is no regular expression, or takes longer than 5 seconds in all, or a field that
            holds names has something else.
    """
    matcher = _Matcher(names, folder)
    for field in ("target_modules", "exclude_modules"):
        pattern = getattr(config, field, None)
        if isinstance(pattern, str) and pattern != "all-linear":
            setattr(config, field, set(matcher.matches(field, pattern)))
    for field in ("rank_pattern", "alpha_pattern"):
        values = getattr(config, field, None)
        if values and not all(_PLAIN.fullmatch(str(key)) for key in values):
            settled: dict[str, object] = {}
            for key, value in values.items():  # the first that matches counts
                for name in matcher.matches(field, rf"(.*\.)?({key})"):
                    settled.setdefault(name, value)
            setattr(config, field, settled)
    for field in ("modules_to_save", "layers_pattern"):
        for entry in _entries(getattr(config, field, None)):
            if not _PLAIN.fullmatch(str(entry)):
                raise ValueError(f"The adapter {folder} has {entry!r:.80} in {field}, which must be names of modules.")


class _Matcher:
    """Matches patterns against the names of modules, within a limit of time for all of them."""

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self._names = names
        self._folder = folder
        self._deadline = time.monotonic() + _SECONDS

    def matches(self, field: str, pattern: str) -> list[str]:
        if len(pattern) > _LONGEST_PATTERN:
            raise self._error(field, pattern, f"it is longer than {_LONGEST_PATTERN:,} characters")
        try:
            compiled = regex.compile(pattern)
            return [name for name in self._names if compiled.fullmatch(name, timeout=self._left())]
        except TimeoutError as error:
            raise self._error(field, pattern, f"to match it takes more than {_SECONDS:.0f} seconds") from error
        except (regex.error, RecursionError) as error:
            raise self._error(field, pattern, f"it is no regular expression, {error}") from error

    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 1e-3)

    def _error(self, field: str, pattern: str, reason: str) -> ValueError:
        return ValueError(
            f"The adapter {self._folder} has a pattern in {field} that is not used, as {reason}: {pattern!r:.80}"
        )


def _entries(value: str | Iterable[str] | None) -> Iterable[str]:
    return (value,) if isinstance(value, str) else value or ()
