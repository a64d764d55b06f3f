# SPDX-License-Identifier: Apache-2.0
"""Image folders by class: each folder is called after the class of the images in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.image_paths import files_below, is_image_name, split_of
from geodit.annotations.records import LabeledImage

__all__ = ["CLASS_FOLDERS"]

_LABEL_FILES = (".json", ".geojson", ".xml", ".csv", ".jsonl", ".txt", ".yaml", ".yml", ".gpkg", ".shp", ".names")
_OTHER_NAMES = ("images", "labels", "annotations", "masks")
_MAX_LOOKED_AT = 1000


def _matches(source: Path) -> bool:
    """Return whether there are at least two folders of images, and nothing that looks like labels."""
    if not source.is_dir():
        return False
    roots = [path for path in _folders(source) if split_of(path / "image", source)] or [source]
    labels = (path for path in files_below(source, *_LABEL_FILES) if "readme" not in path.name.lower())
    classes = {folder.name for root in roots for folder in _folders(root) if _has_image(folder)}
    return len(classes) > 1 and not classes & set(_OTHER_NAMES) and next(labels, None) is None


def _folders(path: Path) -> list[Path]:
    """Return the folders of a folder, ordered."""
    return [path / entry.name for entry in _entries(path) if entry.is_dir() and not entry.name.startswith(".")]


def _has_image(folder: Path) -> bool:
    return any(is_image_name(entry.name) for entry in _entries(folder))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what a folder holds, as far as it is looked at; nothing if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(islice(entries, _MAX_LOOKED_AT), key=lambda entry: entry.name)
    except OSError:
        return []


def read_class_folders(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read images whose folder is called after their class, `SOURCE/class/a.png` or `SOURCE/train/class/a.png`.

    Args:
        source: The folder.
        images: Nothing: the images are the source.

    Raises:
        ValueError: If `images` is given, or there is no image in a folder.
    """
    if images is not None:
        raise ValueError("image folders by class have their images in them: leave out the folder of the images")
    if not source.is_dir():
        raise ValueError(f"{source} is not a folder of folders by class")
    found = False
    for path in files_below(source):
        parts = path.relative_to(source).parts[:-1]
        category = " ".join(parts[-1].split()) if parts else ""
        if not category:
            yield bad_record(str(path), "it is in no folder of a class")
            continue
        found = True
        split = split_of(Path(parts[0])) if len(parts) > 1 else ""
        yield LabeledImage(os.path.abspath(path), str(path), category=category, split=split)  # noqa: PTH100
    if not found:
        raise ValueError(f"{source} has no image in a folder of its own")


CLASS_FOLDERS = AnnotationFormat(
    "class-folders", "image folders: each is called after a class", _matches, read_class_folders
)
