# SPDX-License-Identifier: Apache-2.0
"""Reading a published checkpoint tensor by tensor: one safetensors file or several with an index, never a pickle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from geodit.modeling_geodit.weight_files_geodit import read_weight_map, refuse_pickles

__all__ = ["CheckpointReader", "TensorRecord", "match_tensors"]

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class TensorRecord:
    """Where a tensor of a checkpoint is, and what it looks like.

    Args:
        path: The safetensors file.
        shape: Its shape.
        dtype: The name that safetensors has for its type, such as `BF16`.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: str


class CheckpointReader:
    """The tensors of a checkpoint folder, of which no more is in memory than is asked for.

    Args:
        directory: Folder with `model.safetensors`, or with several files and their index.

    Raises:
        ValueError: When weights are missing, unreadable, pickled, in more than one file, or when the index and the
            files disagree.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.records: dict[str, TensorRecord] = {}
        problems = []
        paths, declared = _weight_files(self.directory)
        for path in paths:
            for name, record in _read_header(path).items():
                if name in self.records:
                    problems.append(f"{name}: in more than one file")
                self.records[name] = record
        if declared is not None:
            problems += [f"{name}: in the index, but in no file" for name in declared - self.records.keys()]
        if problems:
            raise ValueError(f"{self.directory} is not consistent: {'; '.join(sorted(problems))}.")

    def dtype(self, name: str) -> torch.dtype:
        """Return the type of a tensor.

        Raises:
            ValueError: If it is not a floating point type, as all tensors that can be converted are.
        """
        stored = self.records[name].dtype
        if stored not in _DTYPES:
            raise ValueError(
                f"{name} is of type {stored}, but weights can only be converted from {', '.join(_DTYPES)}: "
                "take a checkpoint that is not quantized."
            )
        return _DTYPES[stored]

    def read(self, name: str) -> torch.Tensor:
        """Read one whole tensor."""
        with safe_open(self.records[name].path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    def blocks(self, name: str, max_bytes: int = 2**26) -> Iterator[torch.Tensor]:
        """Yield a tensor in blocks of rows.

        Args:
            name: Its name.
            max_bytes: Size of a block at most, unless a single row is larger.
        """
        record = self.records[name]
        if not record.shape:
            yield self.read(name)
            return
        rows = record.shape[0]
        row_bytes = max(1, torch.Size(record.shape[1:]).numel() * self.dtype(name).itemsize)
        step = max(1, max_bytes // row_bytes)
        # The file is mapped for each tensor anew: pages that have been read would else count as ours to the end.
        with safe_open(record.path, framework="pt") as file:
            rows_of = file.get_slice(name)
            for start in range(0, rows, step):
                yield rows_of[start : min(start + step, rows)]


def match_tensors(
    reader: CheckpointReader,
    rename: Callable[[str], str | None],
    expected: Mapping[str, tuple[int, ...]],
    original_name: Callable[[str], str] = lambda name: name,
) -> dict[str, str]:
    """Account for every tensor of a checkpoint.

    Args:
        reader: The checkpoint.
        rename: GeoDiT's name of a tensor, `None` for one that GeoDiT has no use for; raises `ValueError` for one
            that is unknown.
        expected: The tensors that the checkpoint must hold: GeoDiT's names and their shapes.
        original_name: The checkpoint's name of one of GeoDiT's, for the list of missing ones.

    Returns:
        The checkpoint's name of each of GeoDiT's, in the order of `expected`.

    Raises:
        ValueError: Listing every tensor that is unknown, missing, double or of the wrong shape.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for source, record in sorted(reader.records.items()):
        try:
            target = rename(source)
        except ValueError:
            problems.append(f"{source}: unknown")
            continue
        if target is None:
            continue
        if target not in expected:
            problems.append(f"{source}: not part of the model that config.json describes")
        elif target in found:
            problems.append(f"{source}: the same tensor as {found[target]}")
        elif record.shape != tuple(expected[target]):
            problems.append(f"{source}: shape {record.shape}, but config.json asks for {tuple(expected[target])}")
        found[target] = source
    problems += [f"{original_name(target)}: missing" for target in expected if target not in found]
    if problems:
        raise ValueError(f"{reader.directory} does not hold the tensors it declares: {'; '.join(problems)}.")
    return {target: found[target] for target in expected}


def _weight_files(directory: Path) -> tuple[list[Path], set[str] | None]:
    """Return the safetensors files of a checkpoint, and the tensors that its index names if it has one."""
    index_path = directory / SAFE_WEIGHTS_INDEX_NAME
    declared = None
    if index_path.is_file():
        weight_map = read_weight_map(index_path)
        declared = set(weight_map)
        names = sorted(set(weight_map.values()))
    else:
        names = [SAFE_WEIGHTS_NAME]
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        refuse_pickles(directory)
        raise ValueError(f"{directory} lacks {', '.join(missing)}: weights are read from safetensors files only.")
    return [directory / name for name in names], declared


def _read_header(path: Path) -> dict[str, TensorRecord]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            slices = {name: file.get_slice(name) for name in names}
            return {
                name: TensorRecord(path, tuple(tensor.get_shape()), str(tensor.get_dtype()))
                for name, tensor in slices.items()
            }
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
