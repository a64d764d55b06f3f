# SPDX-License-Identifier: Apache-2.0
"""Outlines of the objects as seen from straight above. Pure geometry: no pixels, no randomness of its own."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

Point = tuple[float, float]
Polygon = tuple[Point, ...]

# Outlines in the object's own frame: x forward, y to starboard, both in units of (length, width), centred.
# fmt: off
_SHIP: tuple[Polygon, ...] = (
    # Full to the bow: a cargo ship.
    ((0.5, 0.0), (0.4, 0.3), (0.26, 0.5), (-0.44, 0.5), (-0.5, 0.4),
     (-0.5, -0.4), (-0.44, -0.5), (0.26, -0.5), (0.4, -0.3)),
    # Slender all along: a yacht.
    ((0.5, 0.0), (0.32, 0.26), (0.08, 0.46), (-0.2, 0.5), (-0.5, 0.36),
     (-0.5, -0.36), (-0.2, -0.5), (0.08, -0.46), (0.32, -0.26)),
)
_HALF_AIRCRAFT: tuple[Polygon, ...] = (
    # Swept wings: an airliner.
    ((0.5, 0.0), (0.46, 0.045), (0.36, 0.07), (0.14, 0.075), (-0.14, 0.5), (-0.22, 0.5), (-0.1, 0.075),
     (-0.34, 0.055), (-0.44, 0.2), (-0.5, 0.2), (-0.46, 0.03), (-0.48, 0.0)),
    # Straight wings near the nose: a light aircraft.
    ((0.5, 0.0), (0.47, 0.05), (0.26, 0.065), (0.24, 0.5), (0.06, 0.48), (0.04, 0.065), (-0.36, 0.04),
     (-0.36, 0.2), (-0.5, 0.19), (-0.48, 0.02), (-0.5, 0.0)),
    # Delta wings: a jet.
    ((0.5, 0.0), (0.36, 0.05), (0.2, 0.07), (-0.3, 0.5), (-0.38, 0.5), (-0.36, 0.14), (-0.5, 0.16),
     (-0.48, 0.0)),
)
_VEHICLE: Polygon = (
    (0.5, 0.3), (0.43, 0.5), (-0.43, 0.5), (-0.5, 0.38),
    (-0.5, -0.38), (-0.43, -0.5), (0.43, -0.5), (0.5, -0.3),
)
# fmt: on
_RECTANGLE: Polygon = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))
_ANGLED_BUILDING: Polygon = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (-0.04, -0.5), (-0.04, 0.02), (0.5, 0.02))
_CIRCLE: Polygon = tuple((0.5 * math.cos(k * math.pi / 16), 0.5 * math.sin(k * math.pi / 16)) for k in range(32))

# How many looks each class has; `variant` is an index below this.
VARIANTS: dict[str, int] = {
    "ship": 2,
    "aircraft": 3,
    "tank": 2,
    "vehicle": 2,
    "building": 4,
    "court": 3,
    "tree": 1,
}
ANGLED_BUILDING = 3


def place(points: Sequence[Point], center: Point, length: float, width: float, angle: float) -> list[Point]:
    """Scale points of an object's own frame to (length, width), turn them by `angle`, move to `center`."""
    cos, sin = math.cos(angle), math.sin(angle)
    (cx, cy), lc, ls, wc, ws = center, length * cos, length * sin, width * cos, width * sin
    return [(cx + x * lc - y * ws, cy + x * ls + y * wc) for x, y in points]


def outline(label: str, variant: int, rng: random.Random) -> Polygon:
    """Return the outline of an object in its own frame, within [-0.5, 0.5] along either axis.

    Args:
        label: Class name.
        variant: Which of the `VARIANTS[label]` looks.
        rng: Only trees, no two of which are alike, draw from it.
    """
    if label == "ship":
        return _SHIP[variant]
    if label == "aircraft":
        half = _HALF_AIRCRAFT[variant]
        return half + tuple((x, -y) for x, y in reversed(half[1:-1]))
    if label == "vehicle":
        return _VEHICLE
    if label == "tank":
        return _CIRCLE
    if label == "tree":
        radii = [rng.uniform(0.4, 0.5) for _ in range(12)]
        return tuple((r * _CIRCLE[k * 8 // 3][0] * 2, r * _CIRCLE[k * 8 // 3][1] * 2) for k, r in enumerate(radii))
    if label == "building" and variant == ANGLED_BUILDING:
        return _ANGLED_BUILDING
    return _RECTANGLE


def bounds(points: Sequence[Point]) -> tuple[float, float, float, float]:
    """Return the box (x1, y1, x2, y2) around points."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs), min(ys), max(xs), max(ys)


def polygon_area(points: Sequence[Point]) -> float:
    """Return the area enclosed by a polygon (the shoelace formula)."""
    total = 0.0
    for (x1, y1), (x2, y2) in itertools.pairwise([*points, points[0]]):
        total += x1 * y2 - x2 * y1
    return abs(total) / 2
