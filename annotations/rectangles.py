# SPDX-License-Identifier: Apache-2.0
"""Turned rectangles: whether four points are one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from geodit.processing.polygons import clip_to_frame, polygon_area, surrounding_box, surrounding_rectangle
from geodit.processing.turned_boxes_geodit import Corners, Point

__all__ = ["Corners", "clip_to_frame", "polygon_area", "surrounding_box", "surrounding_rectangle", "turned_corners"]


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
