# SPDX-License-Identifier: Apache-2.0
"""Imported data sets on disk: Parquet files of a split, and what they were made from.

The folder is laid out as the Hub lays out a data set, `data/<split>-<number>.parquet`, so that it can be uploaded as
it is, loaded by the library `datasets` without this package, and streamed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, overload

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from geodit.configuration.text_files import read_json_object
from geodit.configuration.types_geodit import Item, JsonObject
from geodit.data.schema import features

__all__ = ["MANIFEST", "SPLITS", "read_manifest", "read_split", "split_files", "write_manifest", "write_split"]

SPLITS: tuple[str, ...] = ("train", "validation", "test")
MANIFEST = "import.json"
"""File that says from what, and how, a data set was made."""

# Rows of a group, which a reader decodes at once; and of a file, so that a stream can be divided among workers.
_ROWS_PER_GROUP = 64
_ROWS_PER_FILE = 4096


def write_split(folder: Path, split: str, rows: Iterable[Item]) -> int:
    """Write the rows of a split, a group at a time.

    Args:
        folder: Of the data set; it must exist.
        split: Name of the split.
        rows: As [`~geodit.data.schema.make_row`] makes them.

    Returns:
        How many there were. Without any there is no file.
    """
    schema: pa.Schema = features().arrow_schema
    remaining = iter(rows)
    count = 0
    for number in itertools.count():
        first = list(itertools.islice(remaining, _ROWS_PER_GROUP))
        if not first:
            return count
        (folder / "data").mkdir(exist_ok=True)
        with pq.ParquetWriter(folder / "data" / f"{split}-{number:05d}.parquet", schema, compression="zstd") as writer:
            groups = itertools.chain([first], _groups(itertools.islice(remaining, _ROWS_PER_FILE - len(first))))
            for group in groups:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                count += len(group)
    return count


def _groups(rows: Iterable[Item]) -> Iterable[list[Item]]:
    remaining = iter(rows)
    while group := list(itertools.islice(remaining, _ROWS_PER_GROUP)):
        yield group


def split_files(folder: str | Path, split: str) -> list[Path]:
    """Return the files of a split, in order.

    Raises:
        FileNotFoundError: If there is no such data set, or it has no such split.
    """
    folder = Path(folder)
    found = sorted((folder / "data").glob(f"{split}-*.parquet"))
    if not found:
        others = sorted({path.name.rpartition("-")[0] for path in (folder / "data").glob("*.parquet")})
        if not others:
            raise FileNotFoundError(f"{folder} is no data set: geodit data import makes one")
        raise FileNotFoundError(f"the data set {folder} has no split {split}; it has {', '.join(others)}")
    return found


@overload
def read_split(folder: str | Path, split: str, *, streaming: Literal[False] = False) -> datasets.Dataset: ...


@overload
def read_split(folder: str | Path, split: str, *, streaming: Literal[True]) -> datasets.IterableDataset: ...


def read_split(
    folder: str | Path, split: str, *, streaming: bool = False
) -> datasets.Dataset | datasets.IterableDataset:
    """Read a split as [`geodit.data.schema`] describes it.

    Args:
        folder: Of the data set.
        split: Name of the split.
        streaming: Whether to read while iterating, and hold nothing.

    Raises:
        FileNotFoundError: If there is no such split.
        ValueError: If a file is damaged, or something else.
    """
    files = [str(path) for path in split_files(folder, split)]
    try:
        return datasets.load_dataset("parquet", data_files={split: files}, split=split, streaming=streaming)
    except (pa.ArrowException, datasets.exceptions.DatasetGenerationError) as error:
        raise ValueError(f"the data set {folder} is damaged, or no data set of GeoDiT: {error}") from error


def write_manifest(folder: Path, values: JsonObject) -> None:
    """Write what the data set was made from."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8", errors="backslashreplace")


def read_manifest(folder: str | Path) -> JsonObject:
    """Return what a data set was made from.

    Raises:
        FileNotFoundError: If it does not say so.
        ValueError: If the file is damaged.
    """
    return read_json_object(Path(folder) / MANIFEST)
