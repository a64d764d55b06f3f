# SPDX-License-Identifier: Apache-2.0
"""From an adapter and its base to one checkpoint."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from geodit.configuration.new_folders import new_folder
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.weights.adapters import load_merged, processor_folder

__all__ = ["merge_adapter"]

DTYPES = ("auto", "bfloat16", "float16", "float32")


def merge_adapter(
    adapter: str | PathLike[str],
    output_dir: str | PathLike[str],
    *,
    model: str | PathLike[str] | None = None,
    dtype: str = "auto",
) -> int:
    """Merge an adapter into the weights of its base, and save the result with its processor.

    The base is loaded as it was published, even if the adapter was trained on a quantized copy of it.

    Args:
        adapter: Folder or Hub id of the adapter.
        output_dir: The folder to make. It appears when it is complete.
        model: Folder or Hub id of the base, if it is no longer where the adapter says.
        dtype: Of the saved weights, one of `DTYPES`; `"auto"` for that of the base.

    Returns:
        The number of parameters.

    Raises:
        ValueError: If there is no such adapter, or it is not for that model.
        OSError: If there is no such base.
        FileExistsError: If `output_dir` exists.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    with new_folder(Path(output_dir)) as folder:
        merged = load_merged(adapter, model, dtype=dtype)
        merged.save_pretrained(folder)
        GeoDiTProcessor.from_pretrained(processor_folder(adapter, model)).save_pretrained(folder)
    return int(merged.num_parameters())
