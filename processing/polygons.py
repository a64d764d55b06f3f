# SPDX-License-Identifier: Apache-2.0
"""Geometry of turned boxes and of other convex polygons, in the pixels of an image.

Few boxes are turned, and without a map nothing else needs shapely: these are a few lines of plain Python, which the
tests compare with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from geodit.processing.turned_boxes_geodit import Corners, Point

__all__ = [
    "Side",
    "box_corners",
    "clip_polygon",
    "clip_to_frame",
    "is_clockwise",
    "polygon_area",
    "shared_area",
    "surrounding_box",
    "surrounding_rectangle",
]

Side = Callable[[Point], float]
"""How far a point lies inside of a straight line, in any unit; below 0 outside."""


def box_corners(box: tuple[float, float, float, float]) -> Corners:
    """Return the corners of an upright box, clockwise as seen from the upper left."""
    x1, y1, x2, y2 = box
    return (x1, y1), (x2, y1), (x2, y2), (x1, y2)


def surrounding_box(points: Sequence[Point]) -> tuple[float, float, float, float]:
    """Return the upright box around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def polygon_area(points: Sequence[Point]) -> float:
    """Return the area of a polygon that does not cross itself."""
    return abs(_signed_area(points))


def is_clockwise(points: Sequence[Point]) -> bool:
    """Return whether the points of a polygon go around it clockwise as seen in the image."""
    return _signed_area(points) > 0


def shared_area(first: Sequence[Point], second: Sequence[Point]) -> float:
    """Return the area that two convex polygons have in common."""
    x0, y0 = second[0]
    # About a point nearby, as differences of large numbers are not exact.
    moved = [(x - x0, y - y0) for x, y in second]
    turn = math.copysign(1.0, _signed_area(moved))
    following = [*moved[1:], *moved[:1]]

    def side(start: Point, end: Point) -> Side:
        (ax, ay), (bx, by) = start, end
        return lambda point: turn * ((bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax))

    sides = [side(start, end) for start, end in zip(moved, following, strict=True)]
    return polygon_area(clip_polygon([(x - x0, y - y0) for x, y in first], sides))


def clip_polygon(points: Sequence[Point], sides: Iterable[Side]) -> list[Point]:
    """Return the part of a convex polygon that lies inside of all sides; it may be empty.

    Source: Sutherland and Hodgman, "Reentrant polygon clipping", 1974.
    """
    clipped = list(points)
    for inside in sides:
        before, clipped = clipped, []
        for start, end in zip(before, [*before[1:], *before[:1]], strict=True):
            first, second = inside(start), inside(end)
            if first >= 0:
                clipped.append(start)
            if (first < 0) != (second < 0):
                share = first / (first - second)
                clipped.append((start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])))
    return clipped


def clip_to_frame(points: Sequence[Point], frame: tuple[float, float, float, float]) -> list[Point]:
    """Return the part of a convex polygon that lies in an upright box; it may be empty."""
    left, top, right, bottom = frame
    sides: tuple[Side, ...] = (
        lambda point: point[0] - left,
        lambda point: right - point[0],
        lambda point: point[1] - top,
        lambda point: bottom - point[1],
    )
    return clip_polygon(points, sides)


def surrounding_rectangle(points: Sequence[Point], corners: Corners) -> Corners:
    """Return the smallest rectangle around points that is turned as another one is.

    Args:
        points: At least one.
        corners: The other rectangle; its first two corners say how it is turned, and so where the first one is.
    """
    (ax, ay), (bx, by), _, (dx, dy) = corners
    length = math.hypot(bx - ax, by - ay)
    along = ((bx - ax) / length, (by - ay) / length)
    # To the side where the other corners are.
    side = math.copysign(1.0, along[0] * (dy - ay) - along[1] * (dx - ax))
    across = (-along[1] * side, along[0] * side)
    us = [x * along[0] + y * along[1] for x, y in points]
    vs = [x * across[0] + y * across[1] for x, y in points]
    ends = ((min(us), min(vs)), (max(us), min(vs)), (max(us), max(vs)), (min(us), max(vs)))
    turned = tuple((u * along[0] + v * across[0], u * along[1] + v * across[1]) for u, v in ends)
    return cast(Corners, turned)


def _signed_area(points: Sequence[Point]) -> float:
    following = [*points[1:], *points[:1]]
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, following, strict=True)) / 2
