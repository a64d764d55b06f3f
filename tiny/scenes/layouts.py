# SPDX-License-Identifier: Apache-2.0
"""What the ground of each type of scene looks like, and where on it which objects may stand."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence

from geodit.tiny.scenes.ground import Clutter, Color, Layout, Plan, Zone
from geodit.tiny.scenes.shapes import Point

# Half the diagonal of the image and some: what reaches this far crosses the image at every angle.
_FAR = 76.0

_GRASS: tuple[Color, ...] = ((96, 118, 66), (112, 124, 78), (84, 104, 58), (134, 130, 86), (104, 112, 70))
_ASPHALT: tuple[Color, ...] = ((92, 92, 96), (108, 106, 104), (78, 80, 84))
_CONCRETE: tuple[Color, ...] = ((168, 164, 156), (150, 148, 142), (158, 150, 138))
_SAND: tuple[Color, ...] = ((206, 182, 138), (188, 160, 120), (212, 196, 162), (196, 164, 128))
_SOIL: tuple[Color, ...] = ((136, 110, 82), (122, 98, 76), (148, 126, 98))
_SEA: tuple[Color, ...] = ((40, 76, 104), (36, 92, 108), (52, 86, 96), (28, 58, 84), (46, 100, 112))
_FRESH_WATER: tuple[Color, ...] = ((72, 92, 84), (56, 82, 92), (88, 98, 80), (48, 76, 80))
_CANOPY: tuple[Color, ...] = ((46, 72, 40), (56, 80, 44), (40, 64, 46), (62, 78, 46))
_CROPS: tuple[Color, ...] = (
    *((120, 136, 68), (150, 142, 80), (176, 156, 100)),
    *((92, 120, 60), (134, 110, 78), (108, 128, 80)),
)
_LINE: Color = (222, 220, 212)


# Weights of 0, 1, ..., 7 objects of a class.
_MAIN = (0.05, 0.09, 0.12, 0.14, 0.15, 0.15, 0.15, 0.15)
_SOME = (0.34, 0.17, 0.16, 0.13, 0.10, 0.06, 0.04)
_FEW = (0.60, 0.22, 0.12, 0.06)
_RARE = (0.80, 0.13, 0.07)
_ALONG, _ACROSS = 0.0, math.pi / 2
_EVERYWHERE = Zone((-_FAR, -_FAR, _FAR, _FAR))


def _blob(rng: random.Random, center: Point, radius: float, ratio: float = 1.0, corners: int = 9) -> list[Point]:
    """Return a rounded, irregular polygon."""
    phase = rng.random()
    result = []
    for k in range(corners):
        r, t = radius * rng.uniform(0.75, 1.15), 2 * math.pi * (k + phase) / corners
        result.append((center[0] + r * math.cos(t), center[1] + r * ratio * math.sin(t)))
    return result


def _wavy(rng: random.Random, v: float, amplitude: float, steps: int = 8) -> list[Point]:
    """Return a wavering line across the whole image at about `v`."""
    a, b = rng.uniform(0, 6.28), rng.uniform(0.03, 0.08)
    return [
        (u, v + amplitude * math.sin(a + b * u) + rng.uniform(-0.3, 0.3) * amplitude)
        for u in (-_FAR + 2 * _FAR * k / steps for k in range(steps + 1))
    ]


def _rocks(
    layout: Layout, rng: random.Random, count: int, color: Color, rect: tuple[float, float, float, float]
) -> None:
    """Draw small stones or bushes, well below the size of any object."""
    for _ in range(count):
        center = rng.uniform(rect[0], rect[2]), rng.uniform(rect[1], rect[3])
        layout.polygon(_blob(rng, center, rng.uniform(0.8, 2.0), 0.8, 6), _shade(color, rng))


def _shade(color: Color, rng: random.Random, spread: int = 14) -> Color:
    shift = rng.randint(-spread, spread)
    return color[0] + shift, color[1] + shift, color[2] + shift


def _start(rng: random.Random, material: str, colors: Sequence[Color]) -> Layout:
    return Layout(rng.uniform(0, 2 * math.pi), material, _shade(rng.choice(colors), rng))


def _harbor(rng: random.Random) -> Layout:
    layout = _start(rng, "water", _SEA)
    quay = rng.uniform(-20, -2)
    layout.area((-_FAR, -_FAR, _FAR, quay), rng.choice(_CONCRETE + _ASPHALT), "concrete")
    layout.fill((-_FAR, quay - 3, _FAR, quay), (186, 180, 168))
    layout.line([(-_FAR, quay - 5), (_FAR, quay - 5)], (120, 116, 110), 0.8)
    length = rng.uniform(24, 36)
    gap = rng.uniform(22, 30)
    first = rng.uniform(-34, -34 + gap)
    berths = []
    for k in range(4):
        u = first + k * gap
        if k < 3 and rng.random() < 0.8:
            layout.fill((u - 2, quay, u + 2, quay + length), rng.choice([(176, 170, 158), (150, 132, 108)]))
        berths += [Zone((u + 2.5, quay + 1, u + gap - 2.5, quay + length), _ACROSS)]
    sea = Zone((-_FAR, quay + length + 2, _FAR, _FAR))
    land = Zone((-_FAR, -_FAR, _FAR, quay - 5.5), _ALONG)
    layout.plans = [
        Plan("ship", _MAIN, (*berths, sea)),
        Plan("building", _SOME, (land,)),
        Plan("vehicle", _SOME, (land,)),
        Plan("tank", _FEW, (land,)),
        Plan("tree", _RARE, (land,)),
    ]
    return layout


def _airport(rng: random.Random) -> Layout:
    layout = _start(rng, "grass", _GRASS)
    runway, width = rng.uniform(-40, -24), rng.uniform(13, 17)
    asphalt = rng.choice(_ASPHALT)
    apron = runway + width / 2 + rng.uniform(12, 18)
    end = apron + rng.uniform(44, 60)
    concrete = rng.choice(_CONCRETE)
    for u in (rng.uniform(-44, -20), rng.uniform(10, 44)):
        layout.area((u - 4, runway, u + 4, apron + 2), asphalt, "asphalt")
        layout.line([(u, runway + width / 2), (u, apron)], (196, 176, 84), 0.6)
    layout.area((-_FAR, runway - width / 2, _FAR, runway + width / 2), asphalt, "asphalt")
    for side in (-1, 1):
        edge = runway + side * (width / 2 - 1)
        layout.line([(-_FAR, edge), (_FAR, edge)], _LINE, 0.6)
    layout.line([(-_FAR, runway), (_FAR, runway)], _LINE, 0.9, dash=6)
    if rng.random() < 0.5:
        u = rng.uniform(-36, 36)
        for k in range(6):
            v = runway - width / 2 + 2 + k * (width - 4) / 5
            layout.line([(u, v), (u + 8, v)], _LINE, 0.9)
    layout.area((-_FAR, apron, _FAR, end), concrete, "slabs")
    if rng.random() < 0.7:
        layout.line([(-_FAR, apron + 4), (_FAR, apron + 4)], (196, 176, 84), 0.6)
    stand = Zone((-_FAR, apron, _FAR, end), _ACROSS, rng.choice([0.1, 0.5, 3.2]))
    layout.plans = [
        Plan("aircraft", _MAIN, (stand, stand, Zone((-_FAR, runway - 12, _FAR, runway + 12), _ALONG))),
        Plan("building", _SOME, (Zone((-_FAR, apron, _FAR, _FAR), _ALONG),)),
        Plan("vehicle", _SOME, (Zone((-_FAR, apron + 1, _FAR, end), _ALONG, 0.5),)),
        Plan("tank", _FEW, (Zone((-_FAR, apron, _FAR, _FAR)),)),
        Plan(
            "tree",
            _RARE,
            (Zone((-_FAR, -_FAR, _FAR, runway - width / 2 - 1)), Zone((-_FAR, end, _FAR, _FAR))),
        ),
    ]
    return layout


def _industrial(rng: random.Random) -> Layout:
    layout = _start(rng, "concrete", _CONCRETE + _SOIL)
    road = rng.choice((-1, 1)) * rng.uniform(20, 36)
    yard = (-_FAR, -_FAR, _FAR, road - 6) if road > 0 else (-_FAR, road + 6, _FAR, _FAR)
    layout.area((-_FAR, road - 5, _FAR, road + 5), rng.choice(_ASPHALT), "asphalt")
    layout.line([(-_FAR, road), (_FAR, road)], _LINE, 0.6, dash=4)
    # Pipelines and the low walls around the tanks.
    for _ in range(rng.randint(1, 3)):
        u, v = rng.uniform(-40, 40), rng.uniform(-40, 40)
        points = [(-_FAR, v), (u, v), (u, math.copysign(_FAR, -road))]
        pipe = (198, 194, 184) if rng.random() < 0.5 else (104, 98, 92)
        for k in (0, 1.6, 3.2):
            layout.line([(x + k, y + k) for x, y in points], pipe, 0.6)
    if rng.random() < 0.6:
        u, v, w = rng.uniform(-30, 0), rng.uniform(-30, 0), rng.uniform(26, 34)
        layout.line([(u, v), (u + w, v), (u + w, v + w), (u, v + w), (u, v)], (128, 118, 104), 1.0)
    layout.plans = [
        Plan("tank", _MAIN, (Zone(yard),)),
        Plan("building", _SOME, (Zone(yard, _ALONG),)),
        Plan("vehicle", _SOME, (Zone((-_FAR, road - 5.5, _FAR, road + 5.5), _ALONG), Zone(yard, _ACROSS))),
        Plan("tree", _RARE, (Zone(yard),)),
    ]
    return layout


def _residential(rng: random.Random) -> Layout:
    layout = _start(rng, "grass", _GRASS)
    street, asphalt = rng.uniform(-22, 22), rng.choice(_ASPHALT)
    cross = rng.uniform(-40, 40) if rng.random() < 0.5 else None
    pavement = (184, 178, 168)
    layout.fill((-_FAR, street - 7, _FAR, street + 7), pavement)
    if cross is not None:
        layout.fill((cross - 7, -_FAR, cross + 7, _FAR), pavement)
        layout.area((cross - 5.2, -_FAR, cross + 5.2, _FAR), asphalt, "asphalt")
    layout.area((-_FAR, street - 5.2, _FAR, street + 5.2), asphalt, "asphalt")
    if rng.random() < 0.6:
        layout.line([(-_FAR, street), (_FAR, street)], _LINE, 0.5, dash=3)
    yards = []
    for side in (-1, 1):
        near, far = street + side * 7.5, street + side * 34
        rect = (-_FAR, min(near, far), _FAR, max(near, far))
        parts = (
            [rect]
            if cross is None
            else [(rect[0], rect[1], cross - 8, rect[3]), (cross + 8, rect[1], rect[2], rect[3])]
        )
        yards += [Zone(part, _ALONG if rng.random() < 0.5 else _ACROSS) for part in parts]
        # Fences between the gardens, driveways and pools.
        layout.line([(-_FAR, far), (_FAR, far)], (152, 140, 116), 0.6)
        for k in range(-2, 3):
            u = 24 * k + rng.uniform(-4, 4)
            if cross is None or abs(u - cross) > 12:
                layout.line([(u, near), (u, far)], (152, 140, 116), 0.6)
                drive = (u + 3, min(near, street + side * 18), u + 6, max(near, street + side * 18))
                if rng.random() < 0.4:
                    layout.fill(drive, (170, 164, 154))
                elif rng.random() < 0.2:
                    layout.polygon(_blob(rng, (u + 9, street + side * 28), 2.6, 0.7), (108, 178, 196))
    streets = [Zone((-_FAR, street - 5.5, _FAR, street + 5.5), _ALONG)]
    if cross is not None:
        streets.append(Zone((cross - 5.5, -_FAR, cross + 5.5, _FAR), _ACROSS))
    layout.plans = [
        Plan("building", _MAIN, tuple(yards), 0.9),
        Plan("tree", _SOME, tuple(yards)),
        Plan("vehicle", _SOME, tuple(streets)),
        Plan("court", _FEW, tuple(yards)),
    ]
    return layout


def _parking(rng: random.Random) -> Layout:
    layout = _start(rng, "asphalt", _ASPHALT)
    bay, depth, period = rng.uniform(10, 11.5), 16.0, 41.0
    offset = rng.uniform(-16, 16)
    rows, islands = [], []
    for k in (-2, -1, 0, 1, 2):
        v = offset + k * period
        layout.line([(-_FAR, v), (_FAR, v)], _LINE, 0.6)
        for j in range(-7, 8):
            layout.line([(j * bay, v - depth), (j * bay, v + depth)], _LINE, 0.6)
        rows += [Zone((-_FAR, start, _FAR, start + depth - 0.5), _ACROSS, pitch=bay) for start in (v - depth, v + 0.5)]
    if rng.random() < 0.7:
        side = rng.choice((-1, 1))
        u = side * rng.uniform(26, 38)
        rect = (min(u, side * _FAR), -_FAR, max(u, side * _FAR), _FAR)
        layout.area(rect, rng.choice(_GRASS), "grass")
        layout.line([(u, -_FAR), (u, _FAR)], (190, 186, 178), 1.0)
        islands.append(Zone(rect, _ALONG))
        inner = (-_FAR, u - 1) if side > 0 else (u + 1, _FAR)
        rows = [Zone((inner[0], z.rect[1], inner[1], z.rect[3]), _ACROSS, pitch=bay) for z in rows]
    if not islands or rng.random() < 0.5:
        v = offset + (rng.choice((-1, 0, 1)) + 0.5) * period
        layout.area((-_FAR, v - 4.5, _FAR, v + 4.5), rng.choice(_GRASS), "grass")
        islands.append(Zone((-_FAR, v - 12, _FAR, v + 12), _ALONG))
    layout.plans = [
        Plan("vehicle", _MAIN, tuple(rows), 1.1),
        Plan("tree", _SOME, tuple(islands)),
        Plan("building", _FEW, tuple(islands)),
        Plan("court", _FEW, tuple(islands)),
    ]
    return layout


def _sports(rng: random.Random) -> Layout:
    layout = _start(rng, "mown", _GRASS[:3])
    free = [_EVERYWHERE]
    if rng.random() < 0.45:
        # A running track around a lawn, on one side.
        side = rng.choice((-1, 1))
        v, ratio = side * rng.uniform(26, 34), rng.uniform(0.5, 0.6)
        for radius, color in ((36, (172, 86, 66)), (27, (98, 130, 72))):
            points = []
            for k in range(24):
                t = 2 * math.pi * k / 24
                u = 12 * math.copysign(1, math.cos(t)) + (radius - 12) * math.cos(t)
                points.append((u, v + radius * ratio * math.sin(t)))
            layout.polygon(points, color)
        for radius in (30, 33):
            points = [(radius * math.cos(k / 4), v + radius * ratio * math.sin(k / 4)) for k in range(26)]
            layout.line(points, (226, 200, 190), 0.4)
        edge = v - side * 36 * ratio
        free = [Zone((-_FAR, -_FAR, _FAR, edge) if side > 0 else (-_FAR, edge, _FAR, _FAR))]
    else:
        path = rng.uniform(-30, 30)
        layout.line([(-_FAR, path), (_FAR, path + rng.uniform(-20, 20))], (196, 184, 160), 3.0)
        layout.line([(path, -_FAR), (path + rng.uniform(-20, 20), _FAR)], (196, 184, 160), 2.5)
    court = Zone(free[0].rect, _ALONG, 0.0)
    layout.plans = [
        Plan("court", _MAIN, (court, court, Zone(free[0].rect, _ACROSS, 0.0))),
        Plan("tree", _SOME, tuple(free)),
        Plan("building", _FEW, (Zone(free[0].rect, _ALONG),)),
        Plan("vehicle", _FEW, (Zone(free[0].rect, _ACROSS),)),
    ]
    return layout


def _farmland(rng: random.Random) -> Layout:
    layout = _start(rng, "crop", _CROPS)
    v = rng.uniform(-26, 26)
    cuts = (rng.uniform(-40, 0), rng.uniform(0, 40))
    edges = (-_FAR, cuts[0], cuts[1], _FAR)
    for row in ((-_FAR, v), (v, _FAR)):
        for left, right in itertools.pairwise(edges):
            if rng.random() < 0.6:
                turn = rng.choice((0.0, math.pi / 2))
                layout.area((left, row[0], right, row[1]), _shade(rng.choice(_CROPS), rng), "crop", turn)
    for u in cuts:
        layout.line([(u, -_FAR), (u, _FAR)], (150, 134, 104), 1.2)
    track = rng.choice(_SOIL)
    layout.line([(-_FAR, v), (_FAR, v)], (178, 158, 122), 4.5)
    layout.line([(-_FAR, v), (_FAR, v)], track, 1.2)
    layout.plans = [
        Plan("tree", _MAIN, (_EVERYWHERE,)),
        Plan("building", _SOME, (Zone(_EVERYWHERE.rect, _ALONG),)),
        Plan("vehicle", _FEW, (Zone(_EVERYWHERE.rect, _ALONG),)),
        Plan("tank", _FEW, (_EVERYWHERE,)),
    ]
    return layout


def _forest(rng: random.Random) -> Layout:
    layout = _start(rng, rng.choice(("grass", "soil")), _GRASS + _SOIL)
    canopy = _shade(rng.choice(_CANOPY), rng, 6)
    shape = rng.choice(("edge", "lane", "glade"))
    if shape == "edge":
        edge = rng.uniform(-26, 2)
        layout.polygon([*_wavy(rng, edge, 3), (_FAR, -_FAR), (-_FAR, -_FAR)], canopy, "canopy")
        free = (-_FAR, edge + 8, _FAR, _FAR)
    elif shape == "lane":
        middle, half = rng.uniform(-14, 14), rng.uniform(15, 25)
        layout.polygon([*_wavy(rng, middle - half, 3), (_FAR, -_FAR), (-_FAR, -_FAR)], canopy, "canopy")
        layout.polygon([*_wavy(rng, middle + half, 3), (_FAR, _FAR), (-_FAR, _FAR)], canopy, "canopy")
        free = (-_FAR, middle - half + 8, _FAR, middle + half - 8)
    else:
        w, h = rng.uniform(22, 32), rng.uniform(20, 30)
        for rect in ((-_FAR, -_FAR, _FAR, -h), (-_FAR, h, _FAR, _FAR), (-_FAR, -h, -w, h), (w, -h, _FAR, h)):
            u1, v1, u2, v2 = rect
            layout.polygon([(u1, v1), (u2, v1), (u2, v2), (u1, v2)], canopy, "canopy")
        free = (-w + 5, -h + 5, w - 5, h - 5)
    zone = Zone(free)
    if rng.random() < 0.5:
        v = (free[1] + min(free[3], 40)) / 2
        layout.clutter.insert(
            0, Clutter("line", (layout.point(-_FAR, v), layout.point(_FAR, v)), (164, 146, 114), width=3.0)
        )
    layout.plans = [
        Plan("tree", _MAIN, (zone,)),
        Plan("building", _FEW, (zone,)),
        Plan("vehicle", _FEW, (Zone(free, _ALONG),)),
    ]
    return layout


def _open_water(rng: random.Random) -> Layout:
    layout = _start(rng, "water", _SEA)
    plans = [Plan("ship", _MAIN, (_EVERYWHERE,))]
    for _ in range(rng.randint(0, 7)):
        u, v = rng.uniform(-44, 44), rng.uniform(-44, 44)
        layout.line([(u, v), (u + rng.uniform(2, 6), v + rng.uniform(-1, 1))], (178, 200, 206), 0.7)
    if rng.random() < 0.35:
        # An island in a corner, where a few things of the land may stand.
        center = rng.choice((-1, 1)) * rng.uniform(22, 34), rng.choice((-1, 1)) * rng.uniform(22, 34)
        radius = rng.uniform(15, 21)
        beach = _blob(rng, center, radius, 0.9, 18)
        layout.polygon(beach, rng.choice(_SAND), "area", "sand")
        lawn = [(center[0] + 0.75 * (u - center[0]), center[1] + 0.75 * (v - center[1])) for u, v in beach]
        layout.polygon(lawn, rng.choice(_GRASS), "area", "grass")
        reach, shore = 0.62 * radius, 1.2 * radius
        island = Zone((center[0] - reach, center[1] - reach, center[0] + reach, center[1] + reach))
        u, v = center
        sea = (
            (-_FAR, -_FAR, _FAR, v - shore) if v > 0 else (-_FAR, v + shore, _FAR, _FAR),
            (-_FAR, -_FAR, u - shore, _FAR) if u > 0 else (u + shore, -_FAR, _FAR, _FAR),
        )
        plans = [
            Plan("ship", _MAIN, tuple(Zone(rect) for rect in sea)),
            Plan("tree", _SOME, (island,)),
            Plan("building", _FEW, (island,)),
        ]
    _rocks(layout, rng, rng.choice((0, 0, 2, 4)), (98, 94, 86), (-44, -44, 44, 44))
    layout.plans = plans
    return layout


def _desert(rng: random.Random) -> Layout:
    layout = _start(rng, "sand", _SAND)
    if rng.random() < 0.5:
        layout.polygon(
            _blob(rng, (rng.uniform(-30, 30), rng.uniform(-30, 30)), 30, 0.6),
            _shade(layout.color, rng, 18),
            "area",
            "sand",
        )
    v = rng.uniform(-30, 30)
    if rng.random() < 0.6:
        track = _wavy(rng, v, 5)
        for side in (-1.2, 1.2):
            layout.line([(u, w + side) for u, w in track], (168, 140, 104), 0.9)
    _rocks(layout, rng, rng.randint(2, 10), (146, 122, 94), (-46, -46, 46, 46))
    main = [_SOME, _SOME, _SOME, _RARE]
    rng.shuffle(main)
    layout.plans = [
        Plan("building", main[0], (Zone(_EVERYWHERE.rect, _ALONG),)),
        Plan("vehicle", main[1], (Zone((-_FAR, v - 14, _FAR, v + 14), _ALONG, 0.5),)),
        Plan("tree", main[2], (_EVERYWHERE,)),
        Plan("tank", main[3], (_EVERYWHERE,)),
        Plan("aircraft", _SOME, (_EVERYWHERE,)),
    ]
    return layout


def _river(rng: random.Random) -> Layout:
    layout = _start(rng, "grass", _GRASS + _SOIL)
    middle, half = rng.uniform(-12, 12), rng.uniform(15, 23)
    water = _shade(rng.choice(_FRESH_WATER + _SEA[:2]), rng, 8)
    upper, lower = _wavy(rng, middle - half, 1.5), _wavy(rng, middle + half, 1.5)
    bank = [*[(u, v - 3) for u, v in upper], *[(u, v + 3) for u, v in reversed(lower)]]
    layout.polygon(bank, rng.choice(_SAND + _SOIL), "area", "sand")
    layout.polygon([*upper, *reversed(lower)], water, "area", "water")
    banks: tuple[Zone, ...] = (
        Zone((-_FAR, -_FAR, _FAR, middle - half - 5), _ALONG),
        Zone((-_FAR, middle + half + 5, _FAR, _FAR), _ALONG),
    )
    channel = [Zone((-_FAR, middle - half + 2, _FAR, middle + half - 2), _ALONG, 0.3)]
    roads: list[Zone] = list(banks)
    if rng.random() < 0.55:
        u = rng.uniform(-30, 30)
        layout.area((u - 6, -_FAR, u + 6, _FAR), rng.choice(_ASPHALT + _CONCRETE[:1]), "asphalt")
        for side in (-1, 1):
            layout.line([(u + 6 * side, -_FAR), (u + 6 * side, _FAR)], (206, 202, 194), 0.9)
        layout.line([(u, -_FAR), (u, _FAR)], _LINE, 0.6, dash=4)
        rect = channel[0].rect
        channel = [
            Zone((rect[0], rect[1], u - 9, rect[3]), _ALONG, 0.3),
            Zone((u + 9, rect[1], rect[2], rect[3]), _ALONG, 0.3),
        ]
        banks = tuple(
            Zone((start, z.rect[1], stop, z.rect[3]), _ALONG)
            for z in banks
            for start, stop in ((-_FAR, u - 7.5), (u + 7.5, _FAR))
        )
        roads = [Zone((u - 6, -_FAR, u + 6, _FAR), _ACROSS)] * 2
    layout.plans = [
        Plan("ship", _SOME, tuple(channel)),
        Plan("tree", _SOME, banks),
        Plan("building", _SOME, banks),
        Plan("vehicle", _SOME, tuple(roads)),
    ]
    return layout


LAYOUTS: dict[str, Callable[[random.Random], Layout]] = {
    "harbor": _harbor,
    "airport": _airport,
    "industrial area": _industrial,
    "residential area": _residential,
    "parking lot": _parking,
    "sports ground": _sports,
    "farmland": _farmland,
    "forest": _forest,
    "open water": _open_water,
    "desert": _desert,
    "river": _river,
}
