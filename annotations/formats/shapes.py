# SPDX-License-Identifier: Apache-2.0
"""Objects from the shapes that labeling tools draw: boxes, turned boxes, outlines, circles and ellipses.

The angle of an object is kept if its outline is a turned rectangle. All other shapes become upright boxes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from geodit.annotations.records import LabeledObject, Point
from geodit.annotations.rectangles import surrounding_box, turned_corners
from geodit.data.readers.fields import brief, clean_text

__all__ = [
    "box_object",
    "ellipse_object",
    "label_set",
    "object_in_points",
    "oriented_object",
    "pair_points",
    "rectangle_corners",
]

_ROUNDING = 0.25  # pixels that corners of a rectangle may be off by
_MAX_COORDINATE = 1e9  # pixels: no image is as large, and sums and squares of it are exact enough


def box_object(label: object, box: Sequence[float], *, difficult: bool = False, line: int = 0) -> LabeledObject:
    """Make an object of an upright box.

    Args:
        label: Its class.
        box: `(x1, y1, x2, y2)` in pixels.
        difficult: Whether it is hard to see.
        line: Its line in the source.

    Raises:
        ValueError: If the class is no text, x2 < x1, y2 < y1, or a number is not one of pixels.
    """
    x1, y1, x2, y2 = (_coordinate(value) for value in box)
    if x2 < x1 or y2 < y1:
        raise ValueError(f"its box {_shown(box)} is not (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2")
    return LabeledObject(clean_text(label, "the class"), (x1, y1, x2, y2), difficult=difficult, line=line)


def object_in_points(
    label: object, points: Sequence[Point], *, difficult: bool = False, line: int = 0
) -> LabeledObject:
    """Make an object of its outline, with corners if these are four that make a turned rectangle within a pixel.

    Args:
        label: Its class.
        points: Points of the outline in pixels, in order; the last may be the first again.
        difficult: Whether it is hard to see.
        line: Its line in the source.

    Raises:
        ValueError: If there is no class, there are fewer than three points, or a number is not one of pixels.
    """
    outline = _outline(points)
    corners, box = turned_corners(outline), surrounding_box(outline)
    return LabeledObject(clean_text(label, "the class"), box, corners, difficult, line=line)


def oriented_object(
    label: object, corners: Sequence[Point], *, difficult: bool = False, line: int = 0
) -> LabeledObject:
    """Make an object of four corners in a format that has oriented boxes only.

    Four corners that were drawn by hand make a rectangle seldom. The smallest rectangle around them takes their place
    then, as the tools of DOTA have it. The upright box is that of the four corners.

    Args:
        label: Its class.
        corners: In order, in pixels.
        difficult: Whether it is hard to see.
        line: Its line in the source.

    Raises:
        ValueError: If there is no class, there are not four corners, or a number is not one of pixels.
    """
    if len(corners) != 4:
        raise ValueError(f"an oriented box has four corners, not {len(corners)}")
    outline = [(_coordinate(x), _coordinate(y)) for x, y in corners]
    turned = turned_corners(_smallest_rectangle(outline))
    if turned is not None:
        # A rectangle keeps its corners, in their order.
        turned = turned_corners(outline, _ROUNDING) or turned
    return LabeledObject(clean_text(label, "the class"), surrounding_box(outline), turned, difficult, line=line)


def rectangle_corners(box: Sequence[float], angle: float, pivot: Point | None = None) -> list[Point]:
    """Return the corners of a box that is turned.

    Args:
        box: `(x1, y1, x2, y2)` before it is turned, in pixels.
        angle: In degrees, clockwise as seen in the image.
        pivot: The point that stays where it is; by default the center of the box.

    Raises:
        ValueError: If x2 < x1, y2 < y1, or a number is not one of pixels.
    """
    x1, y1, x2, y2 = (_coordinate(value) for value in box)
    if x2 < x1 or y2 < y1:
        raise ValueError(f"its box {_shown(box)} is not (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2")
    x0, y0 = pivot or ((x1 + x2) / 2, (y1 + y2) / 2)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return [
        (x0 + cosine * (x - x0) - sine * (y - y0), y0 + sine * (x - x0) + cosine * (y - y0))
        for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    ]


def ellipse_object(
    label: object, center: Point, radii: tuple[float, float], angle: float = 0.0, *, line: int = 0
) -> LabeledObject:
    """Make an object of the upright box around an ellipse or circle.

    Args:
        label: Its class.
        center: In pixels.
        radii: The one along x, and the one along y before it is turned, in pixels.
        angle: In degrees, clockwise as seen in the image.
        line: Its line in the source.

    Raises:
        ValueError: If there is no class, a radius is negative, or a number is not one of pixels.
    """
    x, y, along, across = (_coordinate(value) for value in (*center, *radii))
    if min(along, across) < 0:
        raise ValueError(f"its radii {_shown(radii)} must not be negative")
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    half_width = math.hypot(along * cosine, across * sine)
    half_height = math.hypot(along * sine, across * cosine)
    return box_object(label, (x - half_width, y - half_height, x + half_width, y + half_height), line=line)


def label_set(label: object) -> set[str]:
    """Return the class of an object that cannot be read, which may be seen somewhere, if it has one."""
    try:
        return {clean_text(label, "the class")}
    except ValueError:
        return set()


def pair_points(values: Sequence[float]) -> list[Point]:
    """Return the points of x1, y1, x2, y2 and so on.

    Raises:
        ValueError: If a y is missing.
    """
    if len(values) % 2:
        raise ValueError(f"{len(values)} coordinates are not pairs of x and y")
    return list(zip(values[::2], values[1::2], strict=True))


def _coordinate(value: float) -> float:
    if not abs(value) <= _MAX_COORDINATE:  # as NaN is not, either
        raise ValueError(f"{brief(value)} is no coordinate in pixels")
    return float(value)


def _shown(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _outline(points: Sequence[Point]) -> list[Point]:
    outline = [(_coordinate(x), _coordinate(y)) for x, y in points]
    if len(outline) > 3 and outline[0] == outline[-1]:
        outline = outline[:-1]
    if len(outline) < 3:
        raise ValueError(f"an outline has three points at least, not {len(outline)}")
    return outline


def _smallest_rectangle(corners: Sequence[Point]) -> list[Point]:
    """Return the corners of the rectangle of the least area around four points.

    One of its sides lies along a side of their convex hull, which joins two of them.
    """
    points = np.array(corners, dtype=np.float64)
    best, least = points, math.inf
    for first, second in itertools.combinations(points, 2):
        length = math.hypot(*(second - first))
        if not length:
            continue
        along = (second - first) / length
        axes = np.array([along, (-along[1], along[0])])
        turned = points @ axes.T
        (u1, v1), (u2, v2) = turned.min(axis=0), turned.max(axis=0)
        if (u2 - u1) * (v2 - v1) < least:
            least = (u2 - u1) * (v2 - v1)
            best = np.array([(u1, v1), (u2, v1), (u2, v2), (u1, v2)]) @ axes
    return [(x, y) for x, y in best.tolist()]
