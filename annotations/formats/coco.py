# SPDX-License-Identifier: Apache-2.0
"""COCO: one JSON file with images, categories and annotations, of objects or of captions.

pycocotools and faster-coco-eval read such a file as it is, without a check, and end at the first record that lacks
something; supervision decodes all masks. So the JSON is read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.drafts import Draft, Drafts
from geodit.annotations.formats.file_heads import json_head
from geodit.annotations.formats.image_paths import ImageFinder, files_below, split_of
from geodit.annotations.formats.run_lengths import box_of_mask
from geodit.annotations.formats.shapes import box_object, label_set, object_in_points, pair_points
from geodit.annotations.records import LabeledObject
from geodit.annotations.rectangles import Corners
from geodit.configuration.text_files import read_json
from geodit.data.readers.fields import as_record, brief, clean_text, list_field, numbers

__all__ = ["COCO"]

_MAX_BYTES = 2**29
_MAX_LOOKED_AT = 10  # files of a folder


def _matches(source: Path) -> bool:
    paths = islice(files_below(source, ".json"), _MAX_LOOKED_AT) if source.is_dir() else (source,)
    return any(_is_coco(path) for path in paths)


def _is_coco(path: Path) -> bool:
    head = json_head(path)
    if head.outermost != "{":
        return False
    with_images = "images" in head.outer and ("file_name" in head.inner or "annotations" in head.outer)
    return with_images or ("annotations" in head.outer and "image_id" in head.inner)


def read_coco(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read a COCO file, or all those in a folder, whose names or folders say their split.

    An object has the box that `bbox` says, or else the one around its polygons or its mask. Crowds are difficult.

    Args:
        source: A JSON file, or a folder with some.
        images: The folder of the images; by default they are in the folder of the file, or in one named `images`
            next to it or in it.

    Raises:
        ValueError: If it is no COCO file, or there is none in the folder.
    """
    if not source.is_dir():
        yield from _read_file(source, images, split_of(source))
        return
    paths = [path for path in files_below(source, ".json") if _is_coco(path)]
    if not paths:
        raise ValueError(f"{source} has no COCO file in it")
    for path in paths:
        yield from _read_file(path, images, split_of(path, source), source)


def _read_file(path: Path, images: Path | None, split: str, root: Path | None = None) -> Iterator[Record]:
    content = read_json(path, max_bytes=_MAX_BYTES)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("images", "annotations")
    ):
        raise ValueError(f"{path} is not a COCO file: it should be an object with lists of images and annotations")
    near = [path.parent, path.parent / "images"]
    if root is not None:
        near += [root, root / "images"]
    names = _category_names(content.get("categories"))
    finder, drafts = ImageFinder(*near, images=images), Drafts()
    bad_images: set[object] = set()
    for number, value in enumerate(content["images"], start=1):
        origin = f"{path}, image {number}"
        identifier: object = None
        try:
            record = as_record(value)
            identifier = _identifier(record, "id")
            if drafts.get(identifier) is not None:
                raise ValueError(f"its id {identifier!r} is that of another image")
            draft = Draft(finder.find(record.get("file_name")), origin, _image_size(record), split=split)
            drafts.add(identifier, draft)
        except ValueError as error:
            bad_images.add(identifier)
            yield bad_record(origin, error)
    for number, value in enumerate(content["annotations"], start=1):
        try:
            record = as_record(value)
            identifier = _identifier(record, "image_id")
            found = drafts.get(identifier)
            if found is None:
                if identifier in bad_images:
                    continue  # that has been said
                raise ValueError(f"there is no image with the id {identifier!r}")
            if "caption" in record:
                found.captions.append(clean_text(record["caption"], "the caption"))
                continue
            label = _label(record, names)
            try:
                found.objects.append(_object(record, label, number))
            except ValueError:
                found.partial_labels |= label_set(label)
                raise
        except ValueError as error:
            yield bad_record(f"{path}, annotation {number}", error)
    yield from drafts.finish()


def _category_names(categories: object) -> dict[object, object]:
    """Return the names by id. What is wrong with one is said where it is used."""
    names = {}
    for category in categories if isinstance(categories, list) else ():
        if isinstance(category, dict) and isinstance(category.get("id"), int | str):
            names[category["id"]] = category.get("name")
    return names


def _identifier(record: Mapping[str, object], name: str) -> int | str:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"its {name} should be a number or a text, not {brief(value)}")
    return value


def _image_size(record: Mapping[str, object]) -> tuple[int, int] | None:
    if record.get("height") is None or record.get("width") is None:
        return None
    height, width = (int(side) for side in numbers([record["height"], record["width"]], 2))
    if min(height, width) < 1:
        raise ValueError(f"its width and height, {width} x {height}, must be positive")
    return height, width


def _label(record: Mapping[str, object], names: Mapping[object, object]) -> object:
    identifier = _identifier(record, "category_id")
    if identifier not in names:
        raise ValueError(f"there is no category with the id {identifier!r}")
    return names[identifier]


def _object(record: Mapping[str, object], label: object, number: int) -> LabeledObject:
    difficult = record.get("iscrowd") in (1, True)
    if record.get("bbox"):
        left, top, width, height = numbers(list_field(record, "bbox"), 4)
        if width < 0 or height < 0:
            raise ValueError(f"its bbox {brief(record['bbox'])} is (left, top, width, height), neither below zero")
        box = (left, top, left + width, top + height)
        found = box_object(label, box, difficult=difficult, line=number)
        corners = _known_corners(record.get("segmentation"))
        return found if corners is None else replace(found, corners=corners)
    return _outlined(label, record.get("segmentation"), difficult, number)


def _known_corners(segmentation: object) -> Corners | None:
    """Return the corners that the outline of an object with a box tells, if it does; many tools leave it empty."""
    if not isinstance(segmentation, list) or len(segmentation) != 1:
        return None
    polygon = segmentation[0]
    # Four points, and the first again in some files.
    if not isinstance(polygon, list) or len(polygon) not in (8, 10):
        return None
    try:
        return object_in_points("any", pair_points(_polygon(polygon))).corners
    except ValueError:
        return None


def _outlined(label: object, segmentation: object, difficult: bool, number: int) -> LabeledObject:
    if isinstance(segmentation, Mapping):
        return box_object(label, box_of_mask(segmentation), difficult=difficult, line=number)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("it has neither a bbox nor a segmentation")
    polygons = [pair_points(_polygon(polygon)) for polygon in segmentation]
    points = [point for polygon in polygons for point in polygon]
    found = object_in_points(label, points, difficult=difficult, line=number)
    return found if len(polygons) == 1 else replace(found, corners=None)


def _polygon(values: object) -> list[float]:
    length = len(values) if isinstance(values, list) else 0
    if length < 6:
        raise ValueError(f"a polygon has three points at least, not {brief(values)}")
    return numbers(values, length)


COCO = AnnotationFormat("coco", "COCO: JSON of objects or captions", _matches, read_coco)
