# SPDX-License-Identifier: Apache-2.0
"""CVAT for images 1.1: one XML file with the shapes and tags of all images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.file_heads import xml_root
from geodit.annotations.formats.image_paths import ImageFinder, split_of
from geodit.annotations.formats.shapes import (
    box_object,
    ellipse_object,
    label_set,
    object_in_points,
    pair_points,
    rectangle_corners,
)
from geodit.annotations.formats.xml_files import number_attribute, read_xml
from geodit.annotations.records import LabeledImage, LabeledObject
from geodit.data.readers.fields import brief, numbers, one_line

__all__ = ["CVAT"]

_FILE = "annotations.xml"
_NO_SHAPES = ("tag", "attribute")


def _matches(source: Path) -> bool:
    return xml_root(source / _FILE if source.is_dir() else source) == "annotations"


def read_cvat(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read an export of CVAT in the format "CVAT for images 1.1".

    Boxes, ellipses, polygons and masks become boxes; turned boxes and ellipses become the upright box around them, and
    turned boxes keep their corners. The first tag is the class of the image. Points, polylines and skeletons have no
    box and are bad records.

    Args:
        source: `annotations.xml`, or its folder.
        images: The folder of the images; by default they are in that of the file, or in `images` in it.

    Raises:
        ValueError: If it is not such a file.
    """
    path = source / _FILE if source.is_dir() else source
    root = read_xml(path)
    if root.tag != "annotations":
        raise ValueError(f"{path} is not CVAT's XML: its outermost element is <{one_line(root.tag)}>")
    if root.find("track") is not None:
        raise ValueError(f'{path} has tracks of a video: export it as "CVAT for images 1.1"')
    finder = ImageFinder(path.parent, path.parent / "images", images=images)
    for number, element in enumerate(root.iter("image"), start=1):
        yield from _read_image(element, f"{path}, image {number}", finder)


def _read_image(element: Element, origin: str, finder: ImageFinder) -> Iterator[Record]:
    try:
        image = finder.find(element.get("name"))
        height, width = (int(number_attribute(element, side)) for side in ("height", "width"))
        if min(height, width) < 1:
            raise ValueError(f"its width and height, {width} x {height}, must be positive")
    except ValueError as error:
        yield bad_record(origin, error)
        return
    objects: list[LabeledObject] = []
    partial: set[str] = set()
    for number, shape in enumerate(element, start=1):
        try:
            if shape.tag not in _NO_SHAPES:
                objects.append(_object(shape, number))
        except ValueError as error:
            partial |= label_set(shape.get("label"))
            yield bad_record(f"{origin}, shape {number}", error)
    tag = element.find("tag")
    category = "" if tag is None else " ".join((tag.get("label") or "").split())
    split = split_of(Path(element.get("subset") or "none"))
    yield LabeledImage(
        image,
        origin,
        (height, width),
        tuple(objects),
        category=category,
        split=split,
        partial_labels=frozenset(partial),
    )


def _object(shape: Element, number: int) -> LabeledObject:
    label = shape.get("label")
    if shape.tag == "box":
        box = tuple(number_attribute(shape, name) for name in ("xtl", "ytl", "xbr", "ybr"))
        if angle := number_attribute(shape, "rotation", 0.0):
            return object_in_points(label, rectangle_corners(box, angle), line=number)
        return box_object(label, box, line=number)
    if shape.tag == "ellipse":
        x, y, along, across = (number_attribute(shape, name) for name in ("cx", "cy", "rx", "ry"))
        return ellipse_object(label, (x, y), (along, across), number_attribute(shape, "rotation", 0.0), line=number)
    if shape.tag == "mask":
        left, top, width, height = (number_attribute(shape, name) for name in ("left", "top", "width", "height"))
        return box_object(label, (left, top, left + width, top + height), line=number)
    if shape.tag == "polygon":
        values = (shape.get("points") or "").replace(";", ",").split(",")
        return object_in_points(label, pair_points(numbers(values, len(values))), line=number)
    raise ValueError(f"a shape of the kind {brief(shape.tag)} has no box")


CVAT = AnnotationFormat("cvat", "CVAT for images 1.1: annotations.xml", _matches, read_cvat)
