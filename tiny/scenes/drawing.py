# SPDX-License-Identifier: Apache-2.0
"""The objects, as they look from straight above.

A painter draws one object in the object's own frame: x forward, y to starboard, in units of (length, width).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from geodit.tiny.scenes.ground import Color
from geodit.tiny.scenes.scene import Scene, SceneObject
from geodit.tiny.scenes.shapes import ANGLED_BUILDING, Point, place

_COLORS: dict[str, Color] = {
    "white": (232, 232, 228),
    "gray": (138, 140, 142),
    "black": (38, 38, 42),
    "red": (186, 52, 44),
    "blue": (48, 92, 176),
    "green": (64, 128, 70),
    "yellow": (226, 190, 58),
    "brown": (126, 88, 58),
}
# Classes whose color is a different one of the same name: leaves, paint of courts, roof tiles.
_SPECIAL_COLORS: dict[tuple[str, str], tuple[Color, ...]] = {
    ("tree", "green"): (
        (72, 104, 52),
        (58, 92, 48),
        (88, 112, 56),
        (64, 86, 58),
        (98, 110, 74),
        (58, 88, 66),
    ),
    ("court", "green"): ((52, 122, 84), (70, 134, 80)),
    ("court", "red"): ((172, 84, 60), (182, 72, 56)),
    ("court", "blue"): ((60, 102, 160), (54, 116, 170)),
    ("building", "red"): ((168, 72, 54), (180, 84, 60)),
    ("building", "blue"): ((78, 112, 158), (64, 106, 164)),
}


def _tone(color: Color, factor: float) -> Color:
    return (
        min(255, int(color[0] * factor)),
        min(255, int(color[1] * factor)),
        min(255, int(color[2] * factor)),
    )


@dataclass(frozen=True)
class _Brush:
    """Draws in one object's own frame on a canvas that is `scale` times finer than the image."""

    draw: ImageDraw.ImageDraw
    obj: SceneObject
    scale: int
    color: Color
    sun: float

    def points(self, local: Sequence[Point]) -> list[Point]:
        obj, s = self.obj, self.scale
        # Trees and angled buildings are not symmetric: their frame is not centred on their box.
        center = obj.anchor
        return place(local, (center[0] * s, center[1] * s), obj.length * s, obj.width * s, obj.angle)

    def outline(self, factor: float = 1.0) -> None:
        s = self.scale
        self.draw.polygon([(x * s, y * s) for x, y in self.obj.outline], fill=_tone(self.color, factor))

    def polygon(self, local: Sequence[Point], color: Color) -> None:
        self.draw.polygon(self.points(local), fill=color)

    def rect(self, x1: float, y1: float, x2: float, y2: float, color: Color) -> None:
        self.polygon([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], color)

    def line(self, local: Sequence[Point], color: Color, width: float = 0.5) -> None:
        self.draw.line(self.points(local), fill=color, width=max(1, round(width * self.scale)))

    def disk(self, center: Point, radius: float, color: Color) -> None:
        """Return a disk with its radius in pixels of the image, at a point of the object's frame."""
        (x, y), r = self.points([center])[0], radius * self.scale
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=color)

    def lit(self, direction: float) -> float:
        """Return the brightness of a slope that falls towards a direction of the object's frame."""
        return 1.0 - 0.22 * math.cos(self.obj.angle + direction - self.sun)


def _ship(brush: _Brush, rng: random.Random) -> None:
    brush.outline()
    hull, deck = brush.color, rng.choice(((150, 116, 84), (196, 190, 176), (128, 132, 136), (158, 96, 74)))
    if brush.obj.variant == 0:
        brush.polygon([(0.36, 0.0), (0.22, 0.32), (-0.4, 0.34), (-0.4, -0.34), (0.22, -0.32)], deck)
        if rng.random() < 0.6:
            # Containers or hatches.
            for k in range(3):
                x = 0.18 - 0.15 * k
                brush.rect(
                    x - 0.06,
                    -0.27,
                    x + 0.06,
                    0.27,
                    rng.choice(((168, 92, 70), (92, 116, 140), (176, 168, 150), (112, 126, 108))),
                )
        brush.rect(-0.42, -0.3, -0.26, 0.3, (238, 238, 234))
        brush.rect(-0.4, -0.1, -0.34, 0.1, _tone(hull, 0.7))
    else:
        brush.polygon([(0.36, 0.0), (0.1, 0.26), (-0.42, 0.24), (-0.42, -0.24), (0.1, -0.26)], _tone(deck, 1.05))
        brush.polygon([(0.1, 0.14), (-0.2, 0.28), (-0.2, -0.28), (0.1, -0.14)], (240, 240, 238))
        brush.rect(0.0, -0.16, 0.05, 0.16, (62, 74, 88))


def _aircraft(brush: _Brush, rng: random.Random) -> None:
    brush.outline(0.97)
    color = brush.color
    brush.polygon([(0.5, 0.0), (0.4, 0.03), (-0.46, 0.022), (-0.46, -0.022), (0.4, -0.03)], _tone(color, 1.1))
    brush.rect(0.39, -0.03, 0.43, 0.03, (52, 60, 72))
    dark = _tone(color, 0.66)
    if brush.obj.variant == 0:
        for side in (-1, 1):
            brush.rect(0.0, side * 0.25 - 0.02, 0.09, side * 0.25 + 0.02, dark)
    elif brush.obj.variant == 1:
        brush.line([(0.5, -0.08), (0.5, 0.08)], (70, 70, 74), 0.4)
    accent = rng.choice(((176, 60, 52), (58, 88, 150), (90, 92, 96)))
    brush.line([(-0.49, 0.0), (-0.38, 0.0)], accent, 0.8)


def _tank(brush: _Brush, rng: random.Random) -> None:
    brush.outline(0.74)
    radius = brush.obj.length / 2
    s, (cx, cy) = brush.scale, brush.obj.center
    # The lid, brighter towards the light.
    r = 0.88 * radius * s
    brush.draw.ellipse((cx * s - r, cy * s - r, cx * s + r, cy * s + r), fill=brush.color)
    away = brush.sun + math.pi
    x, y = (cx + 0.22 * radius * math.cos(away)) * s, (cy + 0.22 * radius * math.sin(away)) * s
    r = 0.58 * radius * s
    brush.draw.ellipse((x - r, y - r, x + r, y + r), fill=_tone(brush.color, 1.1))
    if brush.obj.variant == 0:
        x, y = (cx + 0.3 * radius * math.cos(away)) * s, (cy + 0.3 * radius * math.sin(away)) * s
        r = 0.22 * radius * s
        brush.draw.ellipse((x - r, y - r, x + r, y + r), fill=_tone(brush.color, 1.25))
    else:
        r = 0.66 * radius * s
        brush.draw.ellipse((cx * s - r, cy * s - r, cx * s + r, cy * s + r), outline=_tone(brush.color, 0.6))
        brush.line([(0.0, 0.0), (0.42, 0.0)], _tone(brush.color, 0.6), 0.5)


def _vehicle(brush: _Brush, rng: random.Random) -> None:
    brush.outline()
    glass = (44, 52, 62) if brush.color[2] > 70 else (96, 108, 120)
    if brush.obj.variant == 0:
        brush.polygon([(0.22, -0.4), (0.22, 0.4), (0.08, 0.32), (0.08, -0.32)], glass)
        brush.polygon([(-0.36, -0.36), (-0.36, 0.36), (-0.26, 0.32), (-0.26, -0.32)], glass)
        brush.rect(-0.25, -0.33, 0.07, 0.33, _tone(brush.color, 1.1))
    else:
        # A van or pick-up: the screen far in front, a long box after it.
        brush.polygon([(0.34, -0.4), (0.34, 0.4), (0.22, 0.36), (0.22, -0.36)], glass)
        brush.rect(-0.44, -0.38, 0.16, 0.38, _tone(brush.color, rng.choice((0.82, 1.08))))


def _building(brush: _Brush, rng: random.Random) -> None:
    color, variant = brush.color, brush.obj.variant
    brush.outline()
    edge = _tone(color, 0.72)
    half = math.pi / 2
    if variant == 0:
        brush.rect(-0.5, 0.0, 0.5, 0.5, _tone(color, brush.lit(half)))
        brush.rect(-0.5, -0.5, 0.5, 0.0, _tone(color, brush.lit(-half)))
        brush.line([(-0.5, 0.0), (0.5, 0.0)], _tone(color, 1.22), 0.6)
    elif variant == 1:
        # Hips: the ridge stops short of both ends.
        k = 0.5 - 0.5 * brush.obj.width / brush.obj.length
        a, b = (k, 0.0), (-k, 0.0)
        brush.polygon([(0.5, 0.5), (-0.5, 0.5), b, a], _tone(color, brush.lit(half)))
        brush.polygon([(0.5, -0.5), (-0.5, -0.5), b, a], _tone(color, brush.lit(-half)))
        brush.polygon([(0.5, 0.5), (0.5, -0.5), a], _tone(color, brush.lit(0.0)))
        brush.polygon([(-0.5, 0.5), (-0.5, -0.5), b], _tone(color, brush.lit(math.pi)))
        brush.line([a, b], _tone(color, 1.2), 0.5)
    elif variant == ANGLED_BUILDING:
        brush.line([(0.5, 0.26), (-0.27, 0.26), (-0.27, -0.5)], _tone(color, 1.18), 0.6)
        brush.polygon([(0.5, 0.5), (-0.5, 0.5), (-0.27, 0.26), (0.5, 0.26)], _tone(color, brush.lit(half)))
        brush.polygon([(-0.5, 0.5), (-0.5, -0.5), (-0.27, -0.5), (-0.27, 0.26)], _tone(color, brush.lit(math.pi)))
    else:
        # A flat roof with a parapet and machines on it.
        brush.rect(-0.5, -0.5, 0.5, 0.5, _tone(color, 1.15))
        brush.rect(-0.45, -0.44, 0.45, 0.44, _tone(color, 0.95))
        for _ in range(rng.randint(1, 4)):
            x, y = rng.uniform(-0.34, 0.28), rng.uniform(-0.34, 0.28)
            brush.rect(x, y, x + 0.1, y + 0.12, rng.choice(((204, 204, 200), (96, 98, 100))))
        return
    s = brush.scale
    points = [(x * s, y * s) for x, y in brush.obj.outline]
    brush.draw.line([*points, points[0]], fill=edge, width=1)


def _court(brush: _Brush, rng: random.Random) -> None:
    brush.outline(0.8)
    brush.rect(-0.42, -0.4, 0.42, 0.4, brush.color)
    white = (236, 236, 230)
    frame = [(-0.42, -0.4), (0.42, -0.4), (0.42, 0.4), (-0.42, 0.4), (-0.42, -0.4)]
    brush.line(frame, white)
    brush.line([(0.0, -0.4), (0.0, 0.4)], white)
    if brush.obj.variant == 0:
        for side in (-1, 1):
            brush.line([(-0.42, side * 0.27), (0.42, side * 0.27)], white, 0.4)
            brush.line([(side * 0.22, -0.27), (side * 0.22, 0.27)], white, 0.4)
        brush.line([(-0.22, 0.0), (0.22, 0.0)], white, 0.4)
    elif brush.obj.variant == 1:
        for side in (-1, 1):
            x1, x2 = sorted((side * 0.42, side * 0.26))
            brush.rect(x1, -0.13, x2, 0.13, _tone(brush.color, 0.78))
            brush.line(
                [(side * 0.42, -0.13), (side * 0.26, -0.13), (side * 0.26, 0.13), (side * 0.42, 0.13)],
                white,
                0.4,
            )
        brush.disk((0.0, 0.0), 0.09 * brush.obj.length, white)
        brush.disk((0.0, 0.0), 0.09 * brush.obj.length - 0.45, brush.color)
    else:
        for side in (-1, 1):
            brush.line([(side * 0.14, -0.4), (side * 0.14, 0.4)], white, 0.4)


def _tree(brush: _Brush, rng: random.Random) -> None:
    brush.outline(0.72)
    color, away = brush.color, brush.sun + math.pi - brush.obj.angle
    ox, oy = 0.08 * math.cos(away), 0.08 * math.sin(away)
    points = [(0.8 * x, 0.8 * y) for x, y in _local(brush.obj)]
    brush.polygon([(x + ox, y + oy) for x, y in points], _tone(color, 0.92))
    # Tufts of leaves, the brighter the nearer to the light.
    for _ in range(14):
        t, r = rng.uniform(0, 2 * math.pi), 0.36 * math.sqrt(rng.random())
        x, y = r * math.cos(t), r * math.sin(t)
        facing = (x * math.cos(away) + y * math.sin(away)) / 0.36
        brush.disk(
            (x, y),
            rng.uniform(0.07, 0.12) * brush.obj.length,
            _tone(color, 1.0 + 0.28 * facing + rng.uniform(-0.1, 0.12)),
        )


def _local(obj: SceneObject) -> list[Point]:
    """Return the outline of an object back in its own frame."""
    cos, sin = math.cos(obj.angle), math.sin(obj.angle)
    cx, cy = obj.anchor
    return [
        (((x - cx) * cos + (y - cy) * sin) / obj.length, ((y - cy) * cos - (x - cx) * sin) / obj.width)
        for x, y in obj.outline
    ]


_PAINTERS: dict[str, Callable[[_Brush, random.Random], None]] = {
    "ship": _ship,
    "aircraft": _aircraft,
    "tank": _tank,
    "vehicle": _vehicle,
    "building": _building,
    "court": _court,
    "tree": _tree,
}


def draw_shadows(canvas: Image.Image, scene: Scene, scale: int) -> None:
    """Darken what lies in the shadow of the objects."""
    mask = Image.new("L", canvas.size)
    draw = ImageDraw.Draw(mask)
    air = scene.atmosphere
    dx, dy = math.cos(air.sun) * air.shadow * scale, math.sin(air.sun) * air.shadow * scale
    for obj in scene.objects:
        for part in (0.25, 0.5, 0.75, 1.0):
            mx, my = part * obj.height * dx, part * obj.height * dy
            draw.polygon([(x * scale + mx, y * scale + my) for x, y in obj.outline], fill=120)
    canvas.paste((14, 18, 30), mask=mask)


def draw_objects(canvas: Image.Image, scene: Scene, scale: int) -> None:
    """Draw the objects of a scene on a canvas that is `scale` times finer than the image."""
    draw = ImageDraw.Draw(canvas)
    for obj in scene.objects:
        rng = random.Random(obj.seed)
        choices = _SPECIAL_COLORS.get((obj.label, obj.color), (_COLORS[obj.color],))
        color = _tone(rng.choice(choices), obj.shade)
        _PAINTERS[obj.label](_Brush(draw, obj, scale, color, scene.atmosphere.sun), rng)
