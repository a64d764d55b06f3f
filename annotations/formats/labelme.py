# SPDX-License-Identifier: Apache-2.0
"""LabelMe: a JSON file per image, with shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.file_heads import json_head
from geodit.annotations.formats.image_paths import ImageFinder, files_below, split_of
from geodit.annotations.formats.shapes import box_object, ellipse_object, label_set, object_in_points
from geodit.annotations.records import LabeledImage, LabeledObject, Point
from geodit.configuration.text_files import read_json
from geodit.data.readers.fields import as_record, brief, list_field, numbers

__all__ = ["LABELME"]

_OUTLINES = ("polygon", "rotation", "oriented_rectangle", "quadrilateral")
_MAX_LOOKED_AT = 10
_MAX_BYTES = 2**28  # the image may be in it, too


def _matches(source: Path) -> bool:
    paths = islice(files_below(source, ".json"), _MAX_LOOKED_AT) if source.is_dir() else (source,)
    return any(_is_labelme(path) for path in paths)


def _is_labelme(path: Path) -> bool:
    head = json_head(path)
    if head.outermost != "{" or "shapes" not in head.outer:
        return False
    return "imagePath" in head.outer or "shape_type" in head.inner


def read_labelme(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read LabelMe's annotations, and those of tools that write the same, such as X-AnyLabeling.

    Rectangles, masks with their box, circles and polygons become boxes; polygons that are turned rectangles keep their
    corners. Points and lines have no size and are bad records.

    Args:
        source: A folder with JSON files at any depth, or one file.
        images: The folder of the images; by default they are where the files say, in `source`.

    Raises:
        ValueError: If there is no such annotation.
    """
    paths = list(files_below(source, ".json")) if source.is_dir() else [source]
    if not any(_is_labelme(path) for path in paths):
        raise ValueError(f"{source} has no annotation of LabelMe in it")
    for path in paths:
        folders = (path.parent, source) if source.is_dir() else (path.parent,)
        split = split_of(path, source) if source.is_dir() else ""
        yield from _read_file(path, ImageFinder(*folders, images=images), split)


def _read_file(path: Path, finder: ImageFinder, split: str) -> Iterator[Record]:
    try:
        content = read_json(path, max_bytes=_MAX_BYTES)
        if not isinstance(content, dict):
            raise ValueError(f"it should be a JSON object, not {brief(content)}")
        shapes = list_field(content, "shapes")
        image = finder.find(content.get("imagePath"))
        image_size = _image_size(content)
    except ValueError as error:
        yield bad_record(str(path), error)
        return
    objects: list[LabeledObject] = []
    partial: set[str] = set()
    for number, shape in enumerate(shapes, start=1):
        try:
            objects.append(_object(as_record(shape), number))
        except ValueError as error:
            partial |= label_set(shape.get("label")) if isinstance(shape, dict) else set()
            yield bad_record(f"{path}, shape {number}", error)
    yield LabeledImage(image, str(path), image_size, tuple(objects), split=split, partial_labels=frozenset(partial))


def _image_size(content: Mapping[str, object]) -> tuple[int, int] | None:
    sides = [content.get("imageHeight"), content.get("imageWidth")]
    if None in sides:
        return None
    height, width = (int(side) for side in numbers(sides, 2))
    if min(height, width) < 1:
        raise ValueError(f"its image is {width} x {height} pixels")
    return height, width


def _object(shape: Mapping[str, object], number: int) -> LabeledObject:
    label, kind = shape.get("label"), shape.get("shape_type") or "polygon"
    difficult = shape.get("difficult") is True
    points = [_point(point) for point in list_field(shape, "points")]
    if kind in _OUTLINES or (kind == "rectangle" and len(points) == 4):
        return object_in_points(label, points, difficult=difficult, line=number)
    if kind in ("rectangle", "mask") and len(points) == 2:
        (x1, y1), (x2, y2) = points
        end = 1 if kind == "mask" else 0  # the points of a mask are its first and last pixel
        box = min(x1, x2), min(y1, y2), max(x1, x2) + end, max(y1, y2) + end
        return box_object(label, box, difficult=difficult, line=number)
    if kind == "circle" and len(points) == 2:
        center, edge = points
        radius = math.dist(center, edge)
        return ellipse_object(label, center, (radius, radius), line=number)
    if kind in ("rectangle", "mask", "circle"):
        raise ValueError(f"a {kind} has two points, not {len(points)}")
    raise ValueError(f"a shape of the type {brief(kind)} has no box")


def _point(value: object) -> Point:
    x, y = numbers(value, 2)
    return x, y


LABELME = AnnotationFormat("labelme", "LabelMe: a JSON file per image", _matches, read_labelme)
