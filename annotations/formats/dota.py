# SPDX-License-Identifier: Apache-2.0
"""DOTA: a text file per image, with a line of four corners, class and difficulty per object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.file_heads import read_head
from geodit.annotations.formats.image_paths import ImageFinder, files_below, split_of
from geodit.annotations.formats.shapes import oriented_object, pair_points
from geodit.annotations.records import LabeledImage, LabeledObject
from geodit.configuration.text_files import read_text
from geodit.data.readers.fields import brief, numbers

__all__ = ["DOTA"]

_NUMBER = r"-?\d+(?:\.\d*)?"
_OBJECT = re.compile(rf"\s*(?:{_NUMBER}\s+){{8}}(?=\S*[^\W\d])\S+(?:\s+\d)?\s*")
_NUMBERS = re.compile(r"[-+.\deE]+|nan|-?inf", re.IGNORECASE)
_ABOUT_THE_IMAGE = ("imagesource:", "gsd:")
_MAX_LOOKED_AT = 20


def _matches(source: Path) -> bool:
    paths = islice(files_below(source, ".txt"), _MAX_LOOKED_AT) if source.is_dir() else (source,)
    return any(_is_dota(path) for path in paths)


def _is_dota(path: Path) -> bool:
    lines = [line for line in read_head(path).splitlines() if line.strip()]
    objects = [line for line in lines[:3] if not line.lower().startswith(_ABOUT_THE_IMAGE)]
    if len(objects) < min(len(lines), 3):
        return True
    return bool(objects) and _OBJECT.fullmatch(objects[0]) is not None


def read_dota(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read DOTA's annotations: oriented boxes, which keep their angle.

    The lines about the source of the image and its ground sample distance are passed over. Any difficulty but 0 is
    difficult. Tiles that DOTA's tools cut, such as `P0003__1__0___824`, have the name of their image for a group.

    Args:
        source: A folder with text files at any depth, such as `labelTxt`, or one file.
        images: The folder of the images; by default they are in that of the text file, or in `images` next to it.

    Raises:
        ValueError: If there is no such annotation.
    """
    paths = list(files_below(source, ".txt")) if source.is_dir() else [source]
    if not any(_is_dota(path) for path in paths):
        raise ValueError(f"{source} has no annotation of DOTA in it")
    finders: dict[Path, ImageFinder] = {}
    for path in paths:
        folder = path.parent
        if folder not in finders:
            near = (folder, folder.parent / "images", folder.parent.parent / "images")
            finders[folder] = ImageFinder(*near, images=images)
        yield from _read_file(path, finders[folder], split_of(path, source) if source.is_dir() else "")


def _read_file(path: Path, finder: ImageFinder, split: str) -> Iterator[Record]:
    try:
        lines = read_text(path, encoding="utf-8-sig").splitlines()
        image = finder.find_stem(path.stem)
    except ValueError as error:
        yield bad_record(str(path), error)
        return
    objects: list[LabeledObject] = []
    partial: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lower().startswith(_ABOUT_THE_IMAGE):
            continue
        try:
            objects.append(_object(line.split(), number))
        except ValueError as error:
            partial |= _names_in(line)
            yield bad_record(f"{path}, line {number}", error)
    raster, cut, _ = path.stem.partition("__")
    yield LabeledImage(
        image,
        str(path),
        objects=tuple(objects),
        split=split,
        group=raster if cut else "",
        partial_labels=frozenset(partial),
    )


def _names_in(line: str) -> set[str]:
    """Return the words of a damaged line that are no numbers, among which its class is."""
    return {word for word in line.split() if not _NUMBERS.fullmatch(word)}


def _object(words: list[str], line: int) -> LabeledObject:
    if len(words) not in (9, 10):
        raise ValueError(f"it should have eight numbers, a class and 0 or 1, not {brief(' '.join(words))}")
    if words[9:] and not words[9].isdecimal():
        raise ValueError(f"its difficulty is {brief(words[9])}, not 0 or 1")
    is_difficult = bool(words[9:]) and int(words[9]) != 0
    return oriented_object(words[8], pair_points(numbers(words[:8], 8)), difficult=is_difficult, line=line)


DOTA = AnnotationFormat("dota", "DOTA: a folder labelTxt with a text file per image", _matches, read_dota)
