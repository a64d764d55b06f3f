# SPDX-License-Identifier: Apache-2.0
"""Tell formats apart by the beginning of a file, without reading all of it."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from geodit.configuration.text_files import check_regular_file

__all__ = ["JsonHead", "json_head", "read_head", "split_header", "table_columns", "xml_root"]

_HEAD_BYTES = 2**16
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]', re.DOTALL)
_XML_ROOT = re.compile(r"<([A-Za-z_][\w.:-]*)")


@dataclass(frozen=True)
class JsonHead:
    """The names of fields in the beginning of a JSON file.

    Args:
        outermost: "{" for an object, "[" for an array, "" for anything else.
        outer: Names in the object, or in the objects of the array.
        inner: Names at any greater depth.
    """

    outermost: str
    outer: frozenset[str] = frozenset()
    inner: frozenset[str] = frozenset()


def read_head(path: Path) -> str:
    """Return the beginning of a text file, "" if it is no regular file, or cannot be read.

    What is not UTF-8 is replaced: that is said where the file is read.
    """
    try:
        check_regular_file(path)
        with path.open("rb") as file:
            text = file.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace")
    except (OSError, ValueError):
        return ""
    return "" if "\0" in text else text


def json_head(path: Path) -> JsonHead:
    """Return the names of fields in the beginning of a JSON file, which is not checked."""
    text = read_head(path).lstrip()
    if text[:1] not in ("{", "["):
        return JsonHead("")
    depth, name = 0, ""
    outer: set[str] = set()
    inner: set[str] = set()
    outer_depth = 1 if text[0] == "{" else 2
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "{[":
            depth += 1
        elif token in "}]":
            depth -= 1
        elif token == ":":
            (outer if depth == outer_depth else inner).add(name)
        else:
            name = token[1:-1]
    return JsonHead(text[0], frozenset(outer), frozenset(inner))


def xml_root(path: Path) -> str:
    """Return the name of the outermost element of an XML file, "" if there is none in its beginning."""
    text = read_head(path).lstrip()
    found = _XML_ROOT.search(text) if text.startswith("<") else None
    return found[1] if found else ""


def table_columns(path: Path) -> frozenset[str]:
    """Return the names in the first line of a CSV file, or of the fields in JSON lines or an array of objects."""
    text = read_head(path).lstrip()
    if text[:1] in ("{", "["):
        return json_head(path).outer
    try:
        return frozenset(split_header(text.partition("\n")[0])[0])
    except ValueError:
        return frozenset()


def split_header(line: str) -> tuple[list[str], str]:
    """Return the names of the columns of a table, in lower case, and what separates them.

    Args:
        line: The first line. A comma, a semicolon or a tab separates columns, whichever it has most of.

    Raises:
        ValueError: If it is no line of a table.
    """
    delimiter = max(",;\t", key=line.count)
    try:
        return [name.strip().lower() for name in next(csv.reader([line], delimiter=delimiter), [])], delimiter
    except csv.Error as error:
        raise ValueError(f"its first line does not name columns: {error}") from error
