# SPDX-License-Identifier: Apache-2.0
"""Seeded layouts of overhead scenes: which objects stand where. No pixels are made here."""

from __future__ import annotations

import dataclasses
import math
import random
from dataclasses import dataclass

from geodit.tiny.scenes.ground import REFERENCE_SIZE, Clutter, Color, Layout, Plan, Zone
from geodit.tiny.scenes.layouts import LAYOUTS
from geodit.tiny.scenes.shapes import (
    VARIANTS,
    Point,
    Polygon,
    bounds,
    outline,
    place,
    polygon_area,
)
from geodit.tiny.scenes.vocabulary import MAX_OBJECTS, MAX_PER_CLASS, scene_type_names

__all__ = ["REFERENCE_SIZE", "Atmosphere", "Box", "Scene", "SceneObject", "box_iou", "sample_scene"]

Box = tuple[float, float, float, float]

# Range of length in pixels of a 96-pixel image, and of width over length.
_SIZES: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "ship": ((13.0, 32.0), (0.30, 0.42)),
    "aircraft": ((14.0, 31.0), (0.88, 1.05)),
    "tank": ((9.5, 24.0), (1.0, 1.0)),
    "vehicle": ((10.0, 15.0), (0.46, 0.54)),
    "building": ((13.0, 30.0), (0.55, 0.95)),
    "court": ((16.0, 30.0), (0.50, 0.58)),
    "tree": ((10.5, 21.0), (0.90, 1.0)),
}
_COLORS: dict[str, dict[str, float]] = {
    "ship": {"white": 4, "red": 2, "blue": 2, "gray": 2, "black": 1, "yellow": 1},
    "aircraft": {"white": 5, "gray": 2, "red": 1, "blue": 1, "yellow": 1},
    "tank": {"white": 4, "gray": 2, "brown": 2, "blue": 1, "red": 1},
    "vehicle": {"white": 3, "black": 2, "red": 2, "blue": 2, "yellow": 2},
    "building": {"red": 3, "gray": 3, "brown": 2, "white": 2, "blue": 1},
    "court": {"blue": 3, "green": 3, "red": 3},
    "tree": {"green": 1},
}
# Distance kept between objects and to the edge of the image, and the least distance between two centres.
_MARGIN = 1.0
_CENTER_DISTANCE = 9.5
_MAX_IOU = 0.1
# Range of the longer side of a box.
_BOX_SIDE = (9.0, 34.0)
_TRIES = 40


@dataclass(frozen=True)
class SceneObject:
    """An object of a scene. All lengths are in pixels of the image, all angles in radians.

    Args:
        label: Class name, one of `label_names`.
        color: One of `color_names`.
        box: (x1, y1, x2, y2), tight around the drawn object without its shadow.
        center: (x, y) of the centre of the box.
        anchor: (x, y) of the origin of the object's own frame; `center` for all shapes that are symmetric.
        length: Extent along its heading.
        width: Extent across its heading.
        angle: Heading, from the x axis (to the right) towards the y axis (down).
        outline: Corners of the object in the image.
        shade: Factor on the brightness of its color.
        height: Height, which scales its shadow.
        variant: Which of the looks of its class.
        seed: Seed of the details drawn on it.
    """

    label: str
    color: str
    box: Box
    center: Point
    anchor: Point
    length: float
    width: float
    angle: float
    outline: Polygon
    shade: float
    height: float
    variant: int
    seed: int

    @property
    def area(self) -> float:
        """Area of the outline, in square pixels."""
        return polygon_area(self.outline)


@dataclass(frozen=True)
class Atmosphere:
    """Light, air and camera.

    Args:
        sun: Direction in which the shadows fall, in radians.
        shadow: Length of a shadow per height.
        brightness: Factor on all channels.
        tint: Factor on each of red, green and blue.
        contrast: Factor on the distance to mid-gray.
        haze: Weight of the haze, from 0 (clear) to 1 (nothing else to be seen).
        blur: Standard deviation of the blur, in pixels.
        noise: Standard deviation of the sensor's noise, in grey levels.
    """

    sun: float
    shadow: float
    brightness: float
    tint: tuple[float, float, float]
    contrast: float
    haze: float
    blur: float
    noise: float


@dataclass(frozen=True)
class Scene:
    """A scene seen from straight above, complete: rendering it needs nothing else.

    Args:
        scene_type: One of `scene_type_names`.
        objects: All objects, from left to right by (x1, y1) of their boxes.
        image_size: Height and width of the image in pixels.
        seed: The seed it was sampled from; the renderer's textures are drawn from it too.
        material: Texture of the ground.
        color: Mean color of the ground.
        angle: Direction of the ground's texture, in radians.
        clutter: What else is on the ground, in the order in which it is drawn.
        atmosphere: Light, air and camera.
    """

    scene_type: str
    objects: tuple[SceneObject, ...]
    image_size: int
    seed: int
    material: str
    color: Color
    angle: float
    clutter: tuple[Clutter, ...]
    atmosphere: Atmosphere

    def count(self, label: str) -> int:
        """Count the objects of a class."""
        return sum(obj.label == label for obj in self.objects)


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


@dataclass(frozen=True)
class _Footprint:
    """An oriented rectangle that an object takes up."""

    center: Point
    length: float
    width: float
    angle: float

    def half_extents(self, angle: float) -> Point:
        """Return half its extent along and across a direction."""
        cos, sin = abs(math.cos(self.angle - angle)), abs(math.sin(self.angle - angle))
        return (self.length * cos + self.width * sin) / 2, (self.length * sin + self.width * cos) / 2

    def overlaps(self, other: _Footprint) -> bool:
        """Return whether two rectangles come closer than the margin, by the separating axis theorem."""
        dx, dy = other.center[0] - self.center[0], other.center[1] - self.center[1]
        for axis in (self.angle, self.angle + math.pi / 2, other.angle, other.angle + math.pi / 2):
            reach = self.half_extents(axis)[0] + other.half_extents(axis)[0] + _MARGIN
            if abs(dx * math.cos(axis) + dy * math.sin(axis)) > reach:
                return False
        return True


def _counts(rng: random.Random, plans: list[Plan]) -> list[int]:
    """Draw how many objects each plan gets, at most `MAX_PER_CLASS` each and `MAX_OBJECTS` in all."""
    counts = [min(MAX_PER_CLASS, rng.choices(range(len(plan.counts)), plan.counts)[0]) for plan in plans]
    while sum(counts) > MAX_OBJECTS:
        k = rng.choice([k for k, count in enumerate(counts) if count > 0])
        counts[k] -= 1
    return counts


def _make_object(rng: random.Random, label: str, color: str, footprint: _Footprint) -> SceneObject:
    variant = rng.randrange(VARIANTS[label])
    local = outline(label, variant, rng)
    points = place(local, footprint.center, footprint.length, footprint.width, footprint.angle)
    box = bounds(points)
    low, high = {"building": (0.25, 0.5), "tank": (0.25, 0.5), "tree": (0.25, 0.45)}.get(label, (0.08, 0.14))
    return SceneObject(
        label=label,
        color=color,
        box=box,
        center=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
        anchor=footprint.center,
        length=footprint.length,
        width=footprint.width,
        angle=footprint.angle,
        outline=tuple(points),
        shade=rng.uniform(0.9, 1.06),
        height=rng.uniform(low, high) * min(footprint.width, 20.0),
        variant=variant,
        seed=rng.getrandbits(32),
    )


def _propose(rng: random.Random, layout: Layout, zone: Zone, length: float, width: float) -> _Footprint | None:
    """Propose a random place in a zone; return `None` where it would not do for this size of object."""
    heading = rng.uniform(0, 2 * math.pi) if zone.heading is None else zone.heading
    heading += rng.uniform(-zone.jitter, zone.jitter) + rng.choice((0.0, math.pi))
    du, dv = _Footprint((0.0, 0.0), length, width, heading).half_extents(0.0)
    # Nothing farther out than the corners of the image can lie within it, however the frame is turned.
    reach = REFERENCE_SIZE * math.sqrt(0.5)
    u1, v1, u2, v2 = (min(max(value, -reach), reach) for value in zone.rect)
    u1, v1, u2, v2 = u1 + du, v1 + dv, u2 - du, v2 - dv
    if u1 > u2 or v1 > v2:
        return None
    u, v = rng.uniform(u1, u2), rng.uniform(v1, v2)
    if zone.pitch:
        u = (math.floor(u / zone.pitch) + 0.5) * zone.pitch
        if not u1 <= u <= u2:
            return None
    footprint = _Footprint(layout.point(u, v), length, width, (heading + layout.angle) % (2 * math.pi))
    (x, y), (dx, dy) = footprint.center, footprint.half_extents(0.0)
    room = REFERENCE_SIZE - _MARGIN
    inside = _MARGIN + dx <= x <= room - dx and _MARGIN + dy <= y <= room - dy
    return footprint if inside and _BOX_SIDE[0] <= 2 * max(dx, dy) <= _BOX_SIDE[1] else None


def _fill(rng: random.Random, layout: Layout) -> list[SceneObject]:
    """Stand the objects of all plans on the ground, as far as there is room."""
    footprints: list[_Footprint] = []
    objects: list[SceneObject] = []
    for plan, count in zip(layout.plans, _counts(rng, layout.plans), strict=True):
        (low, high), ratios = _SIZES[plan.label]
        # Objects of one class are of similar size in a scene, and smaller when there are many of them.
        typical = plan.scale * rng.uniform(low, low + (high - low) * min(1.0, 3.2 / max(count, 1)))
        # A scene has a few colors of each class: several objects share one, and "the red one" often exists.
        colors = rng.choices(list(_COLORS[plan.label]), list(_COLORS[plan.label].values()), k=3)
        for _ in range(count):
            for attempt in range(_TRIES):
                shrink = 1.0 if attempt < _TRIES // 2 else 0.8
                length = min(max(typical * rng.uniform(0.8, 1.2) * shrink, low), high)
                footprint = _propose(rng, layout, rng.choice(plan.zones), length, length * rng.uniform(*ratios))
                if footprint is None or any(footprint.overlaps(other) for other in footprints):
                    continue
                obj = _make_object(rng, plan.label, rng.choice(colors), footprint)
                if not any(
                    math.dist(obj.center, other.center) < _CENTER_DISTANCE or box_iou(obj.box, other.box) > _MAX_IOU
                    for other in objects
                ):
                    footprints.append(footprint)
                    objects.append(obj)
                    break
    return objects


def _wakes(rng: random.Random, objects: list[SceneObject], color: Color) -> list[Clutter]:
    """Foam after some of the ships, and the waves off their bows."""
    wakes = []
    water = (color[0] + 38, color[1] + 36, color[2] + 34)
    for ship in objects:
        if ship.label == "ship" and rng.random() < 0.4:
            reach = -0.5 - rng.uniform(0.4, 1.0)
            spread = rng.uniform(0.5, 1.0)
            foam = [(-0.3, 0.3), (reach, spread), (reach + 0.1, 0.0), (reach, -spread), (-0.3, -0.3)]
            points = place(foam, ship.center, ship.length, ship.width, ship.angle)
            wakes.append(Clutter("fill", tuple(points), water))
            for side in (-1, 1):
                crest = [(0.1, 0.4 * side), (reach - 0.3, 1.3 * spread * side)]
                points = place(crest, ship.center, ship.length, ship.width, ship.angle)
                wakes.append(Clutter("line", tuple(points), water, width=0.7))
    return wakes


def _atmosphere(rng: random.Random) -> Atmosphere:
    return Atmosphere(
        sun=rng.uniform(0, 2 * math.pi),
        shadow=rng.uniform(0.2, 1.1),
        brightness=rng.uniform(0.82, 1.14),
        tint=(rng.uniform(0.95, 1.05), rng.uniform(0.97, 1.03), rng.uniform(0.94, 1.06)),
        contrast=rng.uniform(0.85, 1.12),
        haze=rng.uniform(0.05, 0.3) if rng.random() < 0.35 else 0.0,
        blur=rng.uniform(0.3, 0.75) if rng.random() < 0.5 else 0.0,
        noise=rng.uniform(0.5, 6.0),
    )


def sample_scene(seed: int, image_size: int = REFERENCE_SIZE, scene_type: str | None = None) -> Scene:
    """Sample the layout of a scene.

    Args:
        seed: The same seed gives the same scene.
        image_size: Height and width in pixels. The same scene is shown at any size, only finer.
        scene_type: One of `scene_type_names`, or None to draw it too.

    Returns:
        A scene of at most `MAX_OBJECTS` objects, at most `MAX_PER_CLASS` of one class, all fully inside the
        image, apart from each other, and 9 to 34 pixels long and wide in a 96-pixel image.

    Raises:
        ValueError: If `image_size` is below 32 or `scene_type` is unknown.
    """
    if image_size < 32:
        raise ValueError(f"image_size must be at least 32 pixels, got {image_size}: objects would vanish")
    if scene_type is not None and scene_type not in LAYOUTS:
        raise ValueError(f"unknown scene type {scene_type!r}; the types are {', '.join(scene_type_names)}")
    rng = random.Random(seed)
    drawn = rng.choice(scene_type_names)
    scene_type = scene_type or drawn
    layout = LAYOUTS[scene_type](rng)
    objects = _fill(rng, layout)
    clutter = layout.clutter
    if scene_type == "open water":
        clutter = clutter + _wakes(rng, objects, layout.color)
    objects.sort(key=lambda obj: (obj.box[0], obj.box[1]))
    scale = image_size / REFERENCE_SIZE
    return Scene(
        scene_type=scene_type,
        objects=tuple(_scale_object(obj, scale) for obj in objects),
        image_size=image_size,
        seed=seed,
        material=layout.material,
        color=layout.color,
        angle=layout.angle,
        clutter=tuple(_scale_clutter(item, scale) for item in clutter),
        atmosphere=_atmosphere(rng),
    )


def _scale_points(points: Polygon, scale: float) -> Polygon:
    return tuple((x * scale, y * scale) for x, y in points)


def _scale_object(obj: SceneObject, scale: float) -> SceneObject:
    # Hundredths of a pixel keep files short; the corners are rounded first, so that the box stays exact.
    points = tuple((round(x, 2), round(y, 2)) for x, y in _scale_points(obj.outline, scale))
    box = bounds(points)
    return dataclasses.replace(
        obj,
        box=box,
        center=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
        anchor=(obj.anchor[0] * scale, obj.anchor[1] * scale),
        length=obj.length * scale,
        width=obj.width * scale,
        outline=points,
        height=obj.height * scale,
    )


def _scale_clutter(item: Clutter, scale: float) -> Clutter:
    points = _scale_points(item.points, scale)
    return dataclasses.replace(item, points=points, width=item.width * scale, dash=item.dash * scale)
