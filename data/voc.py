# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC annotations: one XML file an image, with its size and its objects."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from geodit.configuration.text_files import check_regular_file, read_text
from geodit.data.schema import Box


@dataclass(frozen=True)
class VocObject:
    """An object, as the file has it.

    Args:
        name: its class; "" if the file names none.
        box: (x1, y1, x2, y2) in pixels. Nothing is subtracted, where the VOC challenge counted pixels from 1.
        description: the phrase that refers to it, an addition of DIOR-RSVG; "" if there is none.
        difficult: whether the file calls it hard to see.
    """

    name: str
    box: Box
    description: str
    difficult: bool = False


@dataclass(frozen=True)
class VocAnnotation:
    """An image and its objects.

    Args:
        filename: of the image; "" if the file does not say.
        image_size: (height, width) in pixels.
        objects: in the order of the file.
    """

    filename: str
    image_size: tuple[int, int]
    objects: tuple[VocObject, ...]


def read_voc(path: str | Path) -> VocAnnotation:
    """Read a Pascal VOC annotation. Boxes are not checked against the image.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if the file is not such an annotation.
    """
    check_regular_file(path)
    try:
        text = read_text(path, encoding="utf-8-sig")
        # Entities are declared in a DOCTYPE, and can be made to expand without bound. VOC needs none.
        if "<!DOCTYPE" in text:
            raise ValueError("it has a DOCTYPE, which is not read")
        root = ElementTree.fromstring(text)
        height, width = (_number(root, f"size/{side}") for side in ("height", "width"))
        objects = tuple(_object(item) for item in root.iter("object"))
        return VocAnnotation(_text(root, "filename"), (int(height), int(width)), objects)
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{path} is not a Pascal VOC annotation: {error}") from error


def _object(item: ElementTree.Element) -> VocObject:
    x1, y1, x2, y2 = (_number(item, f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax"))
    difficult = _text(item, "difficult").lower() in ("1", "true")
    return VocObject(_text(item, "name"), (x1, y1, x2, y2), _text(item, "description"), difficult)


def _text(element: ElementTree.Element, name: str) -> str:
    return " ".join((element.findtext(name) or "").split())


def _number(element: ElementTree.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{element.tag}> has no <{path}>")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"<{path}> is {text!r}")
    return number
