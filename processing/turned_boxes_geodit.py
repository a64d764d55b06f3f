# SPDX-License-Identifier: Apache-2.0
"""Boxes that are not upright: four corners, or center, sides and angle.

The package holds a turned box as its four corners. These move with the image, however it is cut, resampled, mirrored
or put on a map, and are what DOTA, YOLO OBB and GeoJSON write. Only a notation of boxes in text has an angle:
[`OrientedBox`] is the form it writes and reads, and the two functions here are the only way from one to the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "Corners",
    "OrientedBox",
    "Point",
    "as_corners",
    "corners_of",
    "moved_corners",
    "oriented_box_of",
    "scaled_corners",
]

Point = tuple[float, float]

Corners = tuple[Point, Point, Point, Point]
"""The corners of a turned box in pixels, one after the other around it, in either direction."""


class OrientedBox(NamedTuple):
    """A rotated rectangle: center and side lengths in pixels, angle in degrees, clockwise as seen in the image.

    `width` is the side that lies along the image's x axis before the rectangle is turned.
    """

    center_x: float
    center_y: float
    width: float
    height: float
    angle: float

    @property
    def is_upright(self) -> bool:
        """Whether the sides are those of an upright box, as after a quarter turn."""
        return self.angle % 90 == 0


def corners_of(box: OrientedBox) -> Corners:
    """Return the corners of a rectangle: what was its upper left before the turn, and clockwise on from there."""
    cosine, sine = math.cos(math.radians(box.angle)), math.sin(math.radians(box.angle))

    def corner(x: float, y: float) -> Point:
        return box.center_x + x * cosine - y * sine, box.center_y + x * sine + y * cosine

    x, y = box.width / 2, box.height / 2
    return corner(-x, -y), corner(x, -y), corner(x, y), corner(-x, y)


def oriented_box_of(corners: Sequence[Sequence[float]]) -> OrientedBox:
    """Return the rectangle that four corners make, with an angle above -45 and up to 45 degrees.

    Of the four ways to write a rectangle this is the one that differs least from an upright box, so that a box turned
    by a degree and one that is not are written nearly alike. Corners that resampling has made a parallelogram give the
    rectangle of the same center and area that lies along the longer sides.

    Args:
        corners: Four points `(x, y)` in pixels, one after the other around the rectangle, in either direction.

    Raises:
        ValueError: If there are not four points, a number is not finite, or there is no area.
    """
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = as_corners(corners)
    # Means of opposite sides.
    ux, uy = (bx - ax + cx - dx) / 2, (by - ay + cy - dy) / 2
    vx, vy = (dx - ax + cx - bx) / 2, (dy - ay + cy - by) / 2
    area = abs(ux * vy - uy * vx)
    length, (x, y) = max((math.hypot(ux, uy), (ux, uy)), (math.hypot(vx, vy), (vx, vy)))
    if not (area > 0 and math.isfinite(area)):
        raise ValueError(f"the corners {[list(point) for point in corners]} enclose no area")
    sides, angle = (length, area / length), math.degrees(math.atan2(y, x))
    quarters = math.ceil((angle - 45) / 90)
    width, height = sides if quarters % 2 == 0 else sides[::-1]
    return OrientedBox((ax + bx + cx + dx) / 4, (ay + by + cy + dy) / 4, width, height, angle - 90 * quarters)


def scaled_corners(corners: Corners, x_factor: float, y_factor: float) -> Corners:
    """Return corners in pixels of which there are so many to one of theirs."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
    return (
        (ax * x_factor, ay * y_factor),
        (bx * x_factor, by * y_factor),
        (cx * x_factor, cy * y_factor),
        (dx * x_factor, dy * y_factor),
    )


def moved_corners(corners: Corners, x: float, y: float) -> Corners:
    """Return corners moved by so many pixels to the right and down."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
    return (ax + x, ay + y), (bx + x, by + y), (cx + x, cy + y), (dx + x, dy + y)


def as_corners(points: Sequence[Sequence[float]]) -> Corners:
    """Return four points as corners.

    Raises:
        ValueError: If there are not four points of two finite numbers.
    """
    read = [tuple(float(value) for value in point) for point in points]
    if len(read) != 4 or not all(len(point) == 2 and all(map(math.isfinite, point)) for point in read):
        raise ValueError(f"a turned box has four corners [x, y] of finite numbers, not {[list(one) for one in read]}")
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = read
    return (ax, ay), (bx, by), (cx, cy), (dx, dy)
