# SPDX-License-Identifier: Apache-2.0
"""From what a data set was made: names of files that say nothing of this machine, their sizes and hashes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from geodit.annotations.formats.image_paths import files_below
from geodit.configuration.text_files import check_regular_file
from geodit.configuration.types_geodit import JsonObject

__all__ = ["SOURCES", "SourceNames", "digest_of", "label_files", "shown_path", "write_sources"]

SOURCES = "sources.csv"
"""File of a data set that lists what it was read from, with sizes and hashes."""

_LABELS = (".csv", ".geojson", ".gpkg", ".json", ".jsonl", ".names", ".parquet", ".txt", ".xml", ".yaml", ".yml")
# Files of one layer.
_PARTS_OF_SHAPEFILE = (".cpg", ".dbf", ".prj", ".shx")
_BLOCK = 2**20


def label_files(source: str | Path) -> list[Path]:
    """Return the files that annotations are read from, without images.

    Of a folder, and of one that a YAML file speaks of, these are all files that may hold labels, by their suffixes.

    Args:
        source: A file or folder, of a labeling tool or with vectors.
    """
    path = Path(source)
    if path.is_dir():
        return list(files_below(path, *_LABELS))
    if path.suffix.lower() in (".yaml", ".yml"):
        return list(files_below(path.parent, *_LABELS))
    parts = [path.with_suffix(suffix) for suffix in _PARTS_OF_SHAPEFILE] if path.suffix.lower() == ".shp" else []
    return [one for one in (path, *parts) if one.is_file()]


def shown_path(path: str) -> str:
    """Return how a path is shown: from the current folder, or the name alone if it does not lie in it."""
    if _is_address(path):
        return path
    inside = _below(path, os.curdir)
    return Path(path).name if inside is None else inside


class SourceNames:
    """Names for the files of a source that are the same wherever it lies.

    Args:
        roots: The folders that it lies in. A file in one of them is named from there, any other one from the current
            folder if it is in that, and else as it is.
    """

    def __init__(self, roots: Sequence[str | Path] = ()) -> None:
        typed = (os.path.join(os.fspath(root), "") for root in roots)  # noqa: PTH118  # with a slash at the end
        self._roots = tuple(roots)
        self._starts = tuple(dict.fromkeys([*typed, *(os.path.join(os.path.abspath(root), "") for root in roots)]))  # noqa: PTH100, PTH118
        self._names: dict[str, str] = {}
        self._taken: dict[str, str] = {}

    def name(self, path: str) -> str:
        """Return the name of a file, which no other one has."""
        if path not in self._names:
            place = path if _is_address(path) else os.path.abspath(path)  # noqa: PTH100
            names = (_below(path, root) for root in (*self._roots, os.curdir) if not _is_address(path))
            free = (name for name in names if name is not None and self._taken.get(name, place) == place)
            self._names[path] = name = next(free, path)
            self._taken[name] = place
        return self._names[path]

    def origin(self, text: str) -> str:
        """Return where a record is, which is text that begins with the path of a file."""
        start = next((start for start in self._starts if start != f".{os.sep}" and text.startswith(start)), "")
        return text[len(start) :]


def write_sources(folder: Path, paths: Iterable[str], names: SourceNames) -> JsonObject:
    """Write the list of files that a data set was read from.

    Args:
        folder: Of the data set.
        paths: Files. What is none here, such as an address, is listed without size and hash.
        names: What they are called.

    Returns:
        What the manifest says of it: `list`, the file; `files`, their number; `bytes`, their size; `sha256` of the
        list.

    Raises:
        OSError: If one cannot be read.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "bytes", "sha256"))
    total, number = 0, 0
    for name, path in sorted((names.name(path), path) for path in set(paths)):
        number += 1
        if _is_address(path) or not Path(path).is_file():
            writer.writerow((name, "", ""))
            continue
        size, digest = _hash(Path(path))
        total += size
        writer.writerow((name, size, digest))
    content = text.getvalue().encode("utf-8", errors="backslashreplace")
    (folder / SOURCES).write_bytes(content)
    return {"list": SOURCES, "files": number, "bytes": total, "sha256": hashlib.sha256(content).hexdigest()}


def digest_of(values: Mapping[str, object]) -> str:
    """Return the SHA-256 of settings, whatever their order."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _hash(path: Path) -> tuple[int, str]:
    check_regular_file(path)
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _is_address(path: str) -> bool:
    """Return whether a name is not that of a file here; see [`geodit.rasters.image_names`]."""
    return "://" in path or path.startswith("/vsi") or (":" in path and not Path(path).exists())


def _below(path: str, root: str | Path) -> str | None:
    """Return the path from a folder, with `/`; `None` if it does not lie in that."""
    relative = Path(os.path.relpath(path, root))
    return None if relative.parts[:1] == (os.pardir,) else relative.as_posix()
