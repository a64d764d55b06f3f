# SPDX-License-Identifier: Apache-2.0
"""Turned rectangles: whether four points are one, and what of one is seen in a window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

from geodit.annotations.records import Point
from geodit.data.schema import Box

__all__ = ["Corners", "clip_to_frame", "polygon_area", "surrounding_box", "surrounding_rectangle", "turned_corners"]

Corners = tuple[Point, Point, Point, Point]


def turned_corners(points: Sequence[Point], tolerance: float = 1.0) -> Corners | None:
    """Return four points if they are the corners of a rectangle that is not upright.

    Args:
        points: Corners of a polygon, in order, in pixels.
        tolerance: Pixels by which points may be off a rectangle, or off their upright box to count as upright.
    """
    if len(points) != 4 or not all(math.isfinite(value) for point in points for value in point):
        return None
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points
    # The diagonals of a rectangle halve each other, and are of one length.
    if math.hypot(ax + cx - bx - dx, ay + cy - by - dy) / 2 > tolerance:
        return None
    if abs(math.hypot(cx - ax, cy - ay) - math.hypot(dx - bx, dy - by)) > tolerance:
        return None
    x1, y1, x2, y2 = surrounding_box(points)
    upright = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    if all(min(math.dist(point, corner) for corner in upright) <= tolerance for point in points):
        return None
    return points[0], points[1], points[2], points[3]


def surrounding_box(points: Sequence[Point]) -> Box:
    """Return the upright box around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def polygon_area(points: Sequence[Point]) -> float:
    """Return the area of a polygon that does not cross itself."""
    following = [*points[1:], *points[:1]]
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, following, strict=True))) / 2


def clip_to_frame(points: Sequence[Point], frame: Box) -> list[Point]:
    """Return the part of a convex polygon that lies in an upright box, by Sutherland and Hodgman; it may be empty."""
    left, top, right, bottom = frame
    sides: tuple[Callable[[Point], float], ...] = (
        lambda point: point[0] - left,
        lambda point: right - point[0],
        lambda point: point[1] - top,
        lambda point: bottom - point[1],
    )
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
