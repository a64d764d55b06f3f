# SPDX-License-Identifier: Apache-2.0
"""Imported data sets on disk: Parquet files of a split, and what they were made from.

The folder is laid out as the Hub lays out a data set, `data/<split>-<number>.parquet`, so that it can be uploaded as
it is, loaded by the library `datasets` without this package, and streamed. Where a folder is read, a data set of the
Hub may be named in its place.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import IO, Literal, overload

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfFileSystem

from geodit.annotations.hub_data import HubDataset, hub_dataset
from geodit.configuration.text_files import read_json_object
from geodit.configuration.types_geodit import Item, JsonObject
from geodit.data.schema import features

__all__ = [
    "MANIFEST",
    "SPLITS",
    "MissingSplitError",
    "read_manifest",
    "read_split",
    "split_files",
    "write_manifest",
    "write_split",
]

SPLITS: tuple[str, ...] = ("train", "validation", "test")
MANIFEST = "import.json"
"""File that says from what, and how, a data set was made."""

# Rows of a group, which a reader decodes at once; and of a file, so that a stream can be divided among workers.
_ROWS_PER_GROUP = 64
_ROWS_PER_FILE = 4096
_MAX_SHARDS = 64
_TABLE = re.compile(r"data/([a-z]+)-\d{5}\.parquet")


class MissingSplitError(FileNotFoundError):
    """A data set has no rows of a split."""


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
    """Return the files of a split, in order; those of a data set of the Hub are downloaded.

    Args:
        folder: Of the data set, or as [`read_split`] takes it.
        split: Name of the split.

    Raises:
        FileNotFoundError: If there is no such data set; a [`MissingSplitError`] if it has no such split.
        ConnectionError: If the Hub cannot be reached.
    """
    on_hub = hub_dataset(folder)
    if on_hub is not None:
        folder = on_hub.download([f"data/{split}-*.parquet", MANIFEST])
    found = sorted((Path(folder) / "data").glob(f"{split}-*.parquet"))
    if not found:
        paths = (
            [path.relative_to(folder).as_posix() for path in (Path(folder) / "data").glob("*.parquet")]
            if on_hub is None
            else [file.path for file in on_hub.files()]
        )
        raise _missing_split(str(on_hub or folder), split, paths)
    return found


def _missing_split(name: str, split: str, paths: Iterable[str]) -> FileNotFoundError:
    others = sorted({found[1] for path in paths if (found := _TABLE.fullmatch(path))})
    if not others:
        return FileNotFoundError(f"{name} is no data set: geodit data import makes one")
    return MissingSplitError(f"the data set {name} has no split {split}; it has {', '.join(others)}")


@overload
def read_split(folder: str | Path, split: str, *, streaming: Literal[False] = False) -> datasets.Dataset: ...


@overload
def read_split(folder: str | Path, split: str, *, streaming: Literal[True]) -> datasets.IterableDataset: ...


def read_split(
    folder: str | Path, split: str, *, streaming: bool = False
) -> datasets.Dataset | datasets.IterableDataset:
    """Read a split as [`geodit.data.schema`] describes it.

    Args:
        folder: Of the data set, or a data set of the Hub: `"owner/name"`, also with a branch, tag or commit,
            `"owner/name@revision"`, and after `"hub:"` where there is a folder of that name, too. Only its tables are
            read; none of its code is run.
        split: Name of the split.
        streaming: Whether to read while iterating, and hold nothing.

    Where images are referenced, their paths come with the folder of the data set, and the rest of the table is held in
    memory, also by a stream.

    Raises:
        FileNotFoundError: If there is no such data set; a [`MissingSplitError`] if it has no such split.
        ConnectionError: If the Hub cannot be reached.
        ValueError: If a file is damaged, or something else.
    """
    on_hub = hub_dataset(folder)
    if on_hub is not None and streaming:
        files = _addresses(on_hub.pinned(), split)
    else:
        files = [str(path) for path in split_files(folder, split)]
    try:
        if on_hub is not None:
            _refuse_paths(files)
        elif (Path(folder) / MANIFEST).is_file() and read_manifest(folder).get("images") == "referenced":
            table = _with_paths(files, Path(folder).resolve())
            return table.to_iterable_dataset(num_shards=min(_MAX_SHARDS, len(table))) if streaming else table
        return datasets.load_dataset("parquet", data_files={split: files}, split=split, streaming=streaming)
    except (pa.ArrowException, datasets.exceptions.DatasetGenerationError) as error:
        raise ValueError(f"the data set {folder} is damaged, or no data set of GeoDiT: {error}") from error


def _with_paths(files: Iterable[str], folder: Path) -> datasets.Dataset:
    """Read tables that reference images, with paths that begin with the folder of the data set.

    Raises:
        ValueError: If one is not a path from there.
    """
    table = pa.concat_tables([pq.read_table(name) for name in files])
    stored = table["image"].to_pylist()
    for one in stored:
        path = one["path"]
        if one["bytes"] is None:
            if not isinstance(path, str) or "://" in path or Path(path).is_absolute() or "\0" in path:
                raise ValueError(
                    f"the data set {folder} references an image by {path!r:.80}, not by a path from there"
                )
            one["path"] = os.path.normpath(folder / path)
    number = table.column_names.index("image")
    images = pa.array(stored, type=table.schema.field(number).type)
    return datasets.Dataset(datasets.table.InMemoryTable(table.set_column(number, table.schema.field(number), images)))


def _addresses(dataset: HubDataset, split: str) -> list[str]:
    """Return where a stream finds the files of a split.

    Raises:
        FileNotFoundError: If there are none.
    """
    paths = [file.path for file in dataset.files()]
    found = [path for path in paths if (match := _TABLE.fullmatch(path)) and match[1] == split]
    if not found:
        raise _missing_split(dataset.repo_id, split, paths)
    return [dataset.address(path) for path in found]


def _refuse_paths(files: Iterable[str]) -> None:
    """Refuse tables of others with images that are not in them: a path would be one of this machine.

    Raises:
        ValueError: If there is one.
    """
    for name in files:
        with _open(name) as file, pq.ParquetFile(file) as table:
            column = _bytes_column(table, name)
            for group in range(table.num_row_groups):
                statistics = table.metadata.row_group(group).column(column).statistics
                if statistics is not None and statistics.has_null_count:
                    nulls = statistics.null_count
                else:
                    images = table.read_row_group(group, columns=["image.bytes"])["image"].combine_chunks()
                    nulls = images.field("bytes").null_count
                if nulls:
                    raise ValueError(f"{name} names images that are not in it: only images in the tables are read")


def _open(name: str) -> IO[bytes]:
    if name.startswith("hf://"):
        opened: IO[bytes] = HfFileSystem().open(name, "rb")
        return opened
    return Path(name).open("rb")


def _bytes_column(table: pq.ParquetFile, name: str) -> int:
    """Return the number of the column with the bytes of images.

    Raises:
        ValueError: If there is none.
    """
    for number in range(len(table.schema)):
        if table.schema.column(number).path == "image.bytes":
            return number
    raise ValueError(f"{name} has no column of images: it is no data set of GeoDiT")


def write_manifest(folder: Path, values: JsonObject) -> None:
    """Write what the data set was made from."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8", errors="backslashreplace")


def read_manifest(folder: str | PathLike[str]) -> JsonObject:
    """Return what a data set was made from.

    Raises:
        FileNotFoundError: If it does not say so.
        ValueError: If the file is damaged.
    """
    return read_json_object(Path(folder) / MANIFEST)
