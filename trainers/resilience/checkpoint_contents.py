# SPDX-License-Identifier: Apache-2.0
"""What the files of a checkpoint hold, looked at as far as it is cheap: damage that leaves a file its size."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import safe_open
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState

from geodit.configuration.text_files import read_json_object
from geodit.data.streaming import StreamPosition
from geodit.modeling_geodit.weight_files_geodit import read_weight_map

__all__ = ["find_content_damage", "has_state", "read_state"]

_LARGEST_READ = 2**24
"""Size in bytes of the largest part of an archive that is read to its end and compared with its checksum."""


def find_content_damage(checkpoint: Path) -> str | None:
    """Say which file of a checkpoint cannot be what it was, or `None` if none is known to be damaged.

    Of weights the header is read, of PyTorch's archives the directory and the small parts, with their checksums: how
    tensors are laid out is known then to be whole, and large tensors are not read.
    """
    if not has_state(checkpoint):
        return f"it has no readable {TRAINER_STATE_NAME}"
    for path, check in _checks(checkpoint):
        try:
            check(path)
        # What a damaged file makes a reader raise is not to be foreseen: zlib, struct and Unicode errors among others.
        except Exception as error:
            reason = " ".join(str(error).removeprefix(f"{path} ").split()).rstrip(".") or type(error).__name__
            return f"{path.relative_to(checkpoint)} is damaged ({reason})"
    return None


def has_state(checkpoint: Path) -> bool:
    """Return whether a checkpoint has a `trainer_state.json` that Trainer can go on from."""
    try:
        state = read_state(checkpoint)
    except ValueError:
        return False
    return all(fits(getattr(state, name)) for name, fits in _STATE_FIELDS.items())


def read_state(checkpoint: Path) -> TrainerState:
    """Read the state of a run that a checkpoint has.

    Raises:
        ValueError: If there is none, or it cannot be read.
    """
    path = checkpoint / TRAINER_STATE_NAME
    try:
        return TrainerState(**read_json_object(path))
    except TypeError as error:
        raise ValueError(f"{path} is not the state of a run: {error}.") from error


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _or_none(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


_STATE_FIELDS: dict[str, Callable[[object], bool]] = {
    "global_step": _is_count,
    "epoch": _or_none(_is_number),
    "max_steps": _is_count,
    "logging_steps": _is_number,
    "eval_steps": _or_none(_is_number),
    "save_steps": _is_number,
    "num_train_epochs": _is_number,
    "num_input_tokens_seen": _is_number,
    "total_flos": _is_number,
    "train_batch_size": _or_none(_is_count),
    "best_global_step": _or_none(_is_count),
    "best_metric": _or_none(lambda value: isinstance(value, int | float)),
    "best_model_checkpoint": _or_none(lambda value: isinstance(value, str)),
    "log_history": lambda value: isinstance(value, list) and all(isinstance(entry, dict) for entry in value),
    "stateful_callbacks": lambda value: isinstance(value, dict),
}


def _checks(checkpoint: Path) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    for path in sorted(checkpoint.rglob("*")):
        if not path.is_file():
            continue
        if path.suffix == ".safetensors":
            yield path, _check_weights
        elif path.suffix in (".pt", ".pth"):
            yield path, _check_archive
        elif path.name.endswith(".safetensors.index.json"):
            yield path, _check_index
        elif path.name.startswith("stream_position_") and path.suffix == ".json":
            yield path, _check_stream_position


def _check_weights(path: Path) -> None:
    with safe_open(str(path), framework="pt") as file:
        file.keys()


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            with archive.open(part) as content:
                if part.file_size <= _LARGEST_READ:
                    content.read()


def _check_index(path: Path) -> None:
    shards = set(read_weight_map(path).values())
    if missing := sorted(shard for shard in shards if not (path.parent / shard).is_file()):
        raise ValueError(f"{', '.join(missing)} is missing")


def _check_stream_position(path: Path) -> None:
    position = StreamPosition.from_dict(read_json_object(path)).to_dict()
    rows = position.pop("rows")
    if wrong := sorted(name for name, value in position.items() if not _is_count(value)):
        raise ValueError(f"no number of items or passes: {', '.join(wrong)}")
    if not (rows is None or isinstance(rows, dict)):
        raise ValueError("rows must be an object or null")
