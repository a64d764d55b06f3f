# SPDX-License-Identifier: Apache-2.0
"""Writing a checkpoint tensor by tensor, so that a model larger than the memory can be converted.

`safetensors.torch.save_file` takes the tensors of a file all at once. A file that is written in blocks needs its
header first, which is possible because the types and shapes are known before the values are.
Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

__all__ = ["PlannedTensor", "planned", "write_checkpoint"]

_DTYPE_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_HEADER_ALIGNMENT = 8


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor that is going to be written.

    Args:
        shape: Its shape.
        dtype: The floating point type that it is written in.
        blocks: Gives its values from the first to the last, in tensors of any size and floating point type.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    blocks: Callable[[], Iterator[torch.Tensor]]

    @property
    def num_bytes(self) -> int:
        """Its size in the file."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def planned(tensor: torch.Tensor, dtype: torch.dtype) -> PlannedTensor:
    """Plan a tensor that is in memory already."""
    return PlannedTensor(tuple(tensor.shape), dtype, lambda: iter((tensor,)))


def write_checkpoint(
    directory: Path,
    tensors: Mapping[str, PlannedTensor],
    *,
    max_shard_size: str | int = "5GB",
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `model.safetensors`, or several such files and their index.

    Args:
        directory: An existing folder.
        tensors: What to write, by name.
        max_shard_size: Size of a file at most, as Transformers writes it (`"5GB"`); a tensor is never divided.
        on_progress: Called with the number of bytes written so far and in all.

    Raises:
        ValueError: For a size that cannot be read.
        RuntimeError: If the blocks of a tensor do not add up to it.
    """
    split = split_state_dict_into_shards_factory(
        dict(tensors),
        get_storage_size=lambda tensor: tensor.num_bytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_shard_size,
    )
    total = sum(tensor.num_bytes for tensor in tensors.values())
    written = 0

    def advance(num_bytes: int) -> None:
        nonlocal written
        written += num_bytes
        if on_progress is not None:
            on_progress(written, total)

    for filename, names in split.filename_to_tensors.items():
        _write_file(directory / filename, {name: tensors[name] for name in names}, advance)
    if split.is_sharded:
        parameters = sum(torch.Size(tensor.shape).numel() for tensor in tensors.values())
        index = {
            "metadata": {"total_parameters": parameters, **split.metadata},
            "weight_map": dict(sorted(split.tensor_to_filename.items())),
        }
        (directory / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_file(path: Path, tensors: Mapping[str, PlannedTensor], advance: Callable[[int], None]) -> None:
    # Widest type first, as safetensors itself orders them, so that every tensor is aligned.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in ordered:
        offsets = [end, end + tensor.num_bytes]
        header[name] = {"dtype": _DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        end = offsets[1]
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _HEADER_ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for name, tensor in ordered:
            written = 0
            for block in tensor.blocks():
                values = block.to(tensor.dtype).contiguous().reshape(-1).view(torch.uint8).numpy()
                written += file.write(values.data)
                advance(values.nbytes)
            if written != tensor.num_bytes:
                raise RuntimeError(f"{name} has {written} bytes of values, but {tensor.num_bytes} were planned")
