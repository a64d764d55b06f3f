# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC: a folder of XML files, one per image.

[`geodit.data.voc`] reads a file. supervision reads such a folder too, all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.file_heads import xml_root
from geodit.annotations.formats.image_paths import ImageFinder, files_below, split_of
from geodit.annotations.formats.shapes import box_object
from geodit.annotations.records import LabeledImage
from geodit.configuration.text_files import read_text
from geodit.data.readers.fields import one_line
from geodit.data.voc import read_voc

__all__ = ["VOC"]

_LISTS = {"train": "train", "val": "validation", "test": "test"}
_MAX_LOOKED_AT = 10


def _matches(source: Path) -> bool:
    paths = islice(files_below(source, ".xml"), _MAX_LOOKED_AT) if source.is_dir() else (source,)
    return any(xml_root(path) == "annotation" for path in paths)


def read_voc_folder(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read Pascal VOC annotations.

    Nothing is subtracted from the boxes, where the VOC challenge counted pixels from 1. The splits are those of
    `ImageSets/Main`, or else of the folders. A file of which an object cannot be read is left out whole.

    Args:
        source: A folder with XML files at any depth, or one file.
        images: The folder of the images; by default they are in that of the XML file, or in `JPEGImages` or `images`
            next to it.

    Raises:
        ValueError: If there is no such annotation.
    """
    paths = list(files_below(source, ".xml")) if source.is_dir() else [source]
    if not any(xml_root(path) == "annotation" for path in paths):
        raise ValueError(f"{source} has no Pascal VOC annotation in it")
    splits: dict[Path, dict[str, str]] = {}
    for path in paths:
        folder = path.parent
        if folder not in splits:
            splits[folder] = {}
            try:
                splits[folder] = _listed_splits(folder.parent / "ImageSets" / "Main")
            except ValueError as error:
                yield bad_record(str(folder.parent / "ImageSets" / "Main"), error)
        split = splits[folder].get(path.stem) or (split_of(path, source) if source.is_dir() else "")
        try:
            yield _read_file(path, images, split)
        except (OSError, ValueError) as error:
            yield bad_record(str(path), one_line(str(error)).removeprefix(f"{path} "))


def _listed_splits(folder: Path) -> dict[str, str]:
    """Return the splits of the images that the lists of a folder name."""
    splits: dict[str, str] = {}
    for name, split in _LISTS.items():
        path = folder / f"{name}.txt"
        if path.is_file():
            splits |= {line.split()[0]: split for line in read_text(path).splitlines() if line.strip()}
    return splits


def _read_file(path: Path, images: Path | None, split: str) -> LabeledImage:
    annotation = read_voc(path)
    finder = ImageFinder(path.parent, path.parent.parent / "JPEGImages", path.parent.parent / "images", images=images)
    try:
        image = finder.find(annotation.filename)
    except ValueError:
        # The file was renamed, or names its image without the suffix.
        image = finder.find_stem(path.stem)
    objects = tuple(
        replace(box_object(item.name, item.box, difficult=item.difficult, line=number), phrase=item.description)
        for number, item in enumerate(annotation.objects, start=1)
    )
    image_size = annotation.image_size if min(annotation.image_size) > 0 else None
    return LabeledImage(image, str(path), image_size, objects, split=split)


VOC = AnnotationFormat("voc", "Pascal VOC: a folder with an XML file per image", _matches, read_voc_folder)
