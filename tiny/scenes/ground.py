# SPDX-License-Identifier: Apache-2.0
"""The ground of a scene in the making: its clutter, and the zones where objects may stand.

Everything is laid out in a local frame (u, v) that is turned about the centre of the image by the angle of
the layout, so that quays, runways and streets run in every direction. Lengths are in pixels of a 96-pixel
image, `REFERENCE_SIZE`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from geodit.tiny.scenes.shapes import Point, Polygon

REFERENCE_SIZE = 96

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Clutter:
    """Something on the ground that is never asked about.

    Args:
        kind: "area" (a polygon of `material`), "fill" (a plain polygon), "line" (along `points`) or "canopy"
            (a polygon closed by crowns of trees).
        points: In pixels of the image.
        color: Mean RGB.
        material: Texture of an area.
        width: Of a line, in pixels.
        dash: Length of the dashes of a line and of the gaps between them, in pixels; 0 draws it solid.
        angle: Direction of the texture, in radians.
    """

    kind: str
    points: Polygon
    color: Color
    material: str = ""
    width: float = 0.0
    dash: float = 0.0
    angle: float = 0.0


@dataclass(frozen=True)
class Zone:
    """A rectangle u1, v1, u2, v2 of the local frame where objects may stand.

    `heading` is their direction in the local frame in radians (None for any), met to within `jitter` and
    turned by 180 degrees at will. With a `pitch` they stand in bays of that width along u, one in each.
    """

    rect: tuple[float, float, float, float]
    heading: float | None = None
    jitter: float = 0.06
    pitch: float = 0.0


@dataclass(frozen=True)
class Plan:
    """How many objects of a class a scene has, and where.

    Args:
        label: Class name.
        counts: Weight of 0, 1, 2, ... objects.
        zones: Where they may stand.
        scale: Factor on the usual size of the class.
    """

    label: str
    counts: tuple[float, ...]
    zones: tuple[Zone, ...]
    scale: float = 1.0


@dataclass
class Layout:
    """The ground of one scene in the making."""

    angle: float
    material: str
    color: Color
    clutter: list[Clutter] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._cos, self._sin = math.cos(self.angle), math.sin(self.angle)

    def point(self, u: float, v: float) -> Point:
        """Convert a point from the local frame to pixels."""
        half = REFERENCE_SIZE / 2
        return half + u * self._cos - v * self._sin, half + u * self._sin + v * self._cos

    def area(self, rect: tuple[float, float, float, float], color: Color, material: str, turn: float = 0.0) -> None:
        """Cover a rectangle with a material."""
        self.clutter.append(Clutter("area", self._rect(rect), color, material, angle=self.angle + turn))

    def fill(self, rect: tuple[float, float, float, float], color: Color) -> None:
        """Cover a rectangle with a plain color."""
        self.clutter.append(Clutter("fill", self._rect(rect), color))

    def polygon(self, points: Sequence[Point], color: Color, kind: str = "fill", material: str = "") -> None:
        """Cover a polygon of the local frame."""
        placed = tuple(self.point(u, v) for u, v in points)
        self.clutter.append(Clutter(kind, placed, color, material, angle=self.angle))

    def line(self, points: Sequence[Point], color: Color, width: float, dash: float = 0.0) -> None:
        """Draw a line along points of the local frame."""
        placed = tuple(self.point(u, v) for u, v in points)
        self.clutter.append(Clutter("line", placed, color, width=width, dash=dash))

    def _rect(self, rect: tuple[float, float, float, float]) -> Polygon:
        u1, v1, u2, v2 = rect
        return self.point(u1, v1), self.point(u2, v1), self.point(u2, v2), self.point(u1, v2)
