# SPDX-License-Identifier: Apache-2.0
"""Tables in CSV, and in JSON lines or an array of JSON objects, row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from geodit.annotations.formats.annotation_format import bad_record
from geodit.annotations.formats.file_heads import read_head, split_header
from geodit.annotations.formats.json_arrays import iter_array
from geodit.annotations.records import BadRecord
from geodit.data.readers.fields import as_record, brief
from geodit.data.readers.files import iter_json_lines, open_text

__all__ = ["Row", "iter_rows"]

Row = tuple[int, str, Mapping[str, object]]
"""Number of the line or record counted from 1, where that is for messages, and the fields of the row by name."""

_MAX_LINE = 2**20  # characters


def iter_rows(path: Path, *columns: str) -> Iterator[Row | BadRecord]:
    """Yield the rows of a table.

    Args:
        path: A CSV file whose first line names its columns, separated by comma, semicolon or tab, JSON lines, or a
            JSON array of objects.
        *columns: What a CSV file must have. Names of columns count in lower case.

    Raises:
        ValueError: If it is none of these, a column is missing, or reading cannot go on.
    """
    head = read_head(path).lstrip()
    if head.startswith("["):
        yield from _iter_objects(path, iter_array(path))
    elif head.startswith("{"):
        yield from _iter_objects(path, iter_json_lines(path))
    else:
        yield from _iter_csv(path, columns)


def _iter_objects(path: Path, values: Iterator[object]) -> Iterator[Row | BadRecord]:
    for number, value in enumerate(values, start=1):
        where = f"{path}, record {number}"
        try:
            fields = as_record(value)
        except ValueError as error:
            yield bad_record(where, error)
        else:
            yield number, where, {str(name).lower(): field for name, field in fields.items()}


def _iter_csv(path: Path, columns: tuple[str, ...]) -> Iterator[Row | BadRecord]:
    with open_text(path, newline="") as file:
        lines = _Lines(file, path)
        header = next(lines, "")
        try:
            names, delimiter = split_header(header)
        except ValueError as error:
            raise ValueError(f"{path} is not a table: {error}") from error
        if missing := [column for column in columns if column not in names]:
            raise ValueError(f"{path} has no column {', '.join(missing)}, only {brief(names)[1:-1] or 'nothing'}")
        rows = csv.reader(lines, delimiter=delimiter)
        while True:
            first = lines.number + 1
            where = f"{path}, line {first}"
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield bad_record(where, error)
                continue
            if len(row) == len(names):
                yield first, where, dict(zip(names, row, strict=True))
            elif any(row):
                yield bad_record(where, f"it has {len(row)} columns, where the first line has {len(names)}")


class _Lines:
    """The lines of a file, of bounded length, counted."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file = file
        self._path = path
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline(_MAX_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == _MAX_LINE:
            raise ValueError(f"line {self.number} of {self._path} is longer than {_MAX_LINE:,} characters: split it")
        return line
