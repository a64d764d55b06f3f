# SPDX-License-Identifier: Apache-2.0
"""Where tiles lie, on one map or each in its image, and which of them share pixels. Needs the extra `geodit[geo]`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from geodit.annotations.tiles import LabeledTile

__all__ = ["Footprints", "are_near", "locate_tiles", "shared_area"]

_Shapes = NDArray[np.object_]
_Mask = NDArray[np.bool_]

# Points along each edge of a tile, between which its outline may bend on the map.
_EDGE_POINTS = 8
# Tiles share pixels if they share more than this part of the smaller one: edges that meet differ by rounding.
_ROUNDING = 1e-6
_WEB_MERCATOR = 3857
_DEGREES = "EPSG:4326"


@dataclass(frozen=True)
class Footprints:
    """Outlines of tiles.

    Args:
        shapes: (N,) polygons.
        frames: (N,) what the coordinates of each are of: one number for the map, one for each image without a place.
        on_map: Whether coordinates are meters of a map, and y grows upward; else they are pixels.
    """

    shapes: _Shapes
    frames: NDArray[np.int64]
    on_map: bool

    def members(self) -> list[NDArray[np.intp]]:
        """Return the indices of the tiles of each frame."""
        order = np.argsort(self.frames, kind="stable")
        _, starts = np.unique(self.frames[order], return_index=True)
        return np.split(order, starts[1:].tolist())


def locate_tiles(tiles: Sequence[LabeledTile]) -> Footprints:
    """Find the outlines of tiles.

    Tiles with a place on Earth are put on one map: their own if they all have the same, and it is in meters, else an
    equal-area map around their middle. The others are in pixels, each image by itself.

    Args:
        tiles: All of them with a place on Earth, or none.

    Raises:
        ValueError: If only some of them have one, or one cannot be found.
    """
    import shapely

    placed = [tile.place is not None for tile in tiles]
    if any(placed) and not all(placed):
        nowhere = tiles[placed.index(False)].image
        raise ValueError(
            f"some images have a place on Earth and others, such as {nowhere}, have none: split them by image or group"
        )
    if any(placed):
        shapes = shapely.polygons(_outlines_on_map(tiles))
        broken = ~shapely.is_valid(shapes)
        shapes[broken] = shapely.make_valid(shapes[broken])
        return Footprints(shapes, np.zeros(len(tiles), dtype=np.int64), True)
    numbers: dict[str, int] = {}
    frames = [numbers.setdefault(tile.image, len(numbers)) for tile in tiles]
    windows = np.array([tile.window for tile in tiles], dtype=np.float64).reshape(-1, 4)
    top, left, height, width = windows.T
    return Footprints(shapely.box(left, top, left + width, top + height), np.array(frames, dtype=np.int64), False)


def are_near(shapes: _Shapes, others: _Shapes, margin: float) -> _Mask:
    """Return which shapes share an area with one of others, or are nearer to one than a margin."""
    import shapely

    near = np.zeros(len(shapes), dtype=bool)
    if not len(shapes) or not len(others):
        return near
    tree = shapely.STRtree(others)
    if margin > 0:
        indices, _ = tree.query(shapes, predicate="dwithin", distance=margin * (1.0 - _ROUNDING))
        near[indices] = True
        return near
    indices, found = tree.query(shapes, predicate="intersects")
    shared = shapely.area(shapely.intersection(shapes[indices], others[found]))
    smaller = np.minimum(shapely.area(shapes[indices]), shapely.area(others[found]))
    near[indices[shared > _ROUNDING * smaller]] = True
    return near


def shared_area(tiles: Sequence[LabeledTile], splits: Sequence[str | None], *, train: str = "train") -> float:
    """Return the share of what is held out, by area, that is seen in training, too.

    Args:
        tiles: As [`locate_tiles`] takes them.
        splits: The split of each; `None` if it is left out.
        train: The split that is trained on. All others are held out.

    Returns:
        0 if nothing leaks, or nothing is held out; 1 if all does.

    Raises:
        ValueError: As [`locate_tiles`] does.
    """
    import shapely

    footprints = locate_tiles(tiles)
    held_out, leaked = 0.0, 0.0
    for members in footprints.members():
        shapes = footprints.shapes[members]
        names = [splits[index] for index in members.tolist()]
        trained = shapes[[name == train for name in names]]
        others = shapes[[name not in (train, None) for name in names]]
        held_out += float(shapely.area(others).sum())
        if not len(trained) or not len(others):
            continue
        indices, found = shapely.STRtree(trained).query(others, predicate="intersects")
        parts = defaultdict(list)
        for index, part in zip(indices.tolist(), shapely.intersection(others[indices], trained[found]), strict=True):
            parts[index].append(part)
        leaked += sum(float(shapely.area(shapely.union_all(seen))) for seen in parts.values())
    return leaked / held_out if held_out else 0.0


def _outlines_on_map(tiles: Sequence[LabeledTile]) -> NDArray[np.float64]:
    """Return closed rings (N, M, 2) in meters of one map.

    Raises:
        ValueError: If one has no place that can be found.
    """
    from pyproj import CRS
    from pyproj.exceptions import CRSError, ProjError

    indices = defaultdict(list)
    outlines = np.empty((len(tiles), 4 * _EDGE_POINTS + 1, 2))
    for index, tile in enumerate(tiles):
        if tile.place is not None:
            outlines[index] = tile.place.to_map(_outline(tile.shape))
            indices[tile.place.crs].append(index)
    try:
        (only, *others) = (CRS.from_user_input(crs) for crs in indices)
        if others or not _is_in_meters(only):
            outlines = _around_their_middle(outlines, indices)
    except (CRSError, ProjError) as error:
        raise ValueError(f"images cannot be put on one map, split them by image: {error}") from error
    unknown = ~np.isfinite(outlines).all(axis=(1, 2))
    if unknown.any():
        image = tiles[int(np.argmax(unknown))].image
        raise ValueError(f"{image} has a part that has no place on the map: split by image or group")
    return outlines


def _around_their_middle(outlines: NDArray[np.float64], indices: dict[str, list[int]]) -> NDArray[np.float64]:
    """Return outlines in reference systems of their own on one equal-area map in meters."""
    from pyproj import Transformer

    degrees = np.empty_like(outlines)
    for crs, members in indices.items():
        points = Transformer.from_crs(crs, _DEGREES, always_xy=True).transform(*np.moveaxis(outlines[members], -1, 0))
        degrees[members] = np.stack(points, axis=-1)
    longitudes, latitudes = np.radians(degrees[np.isfinite(degrees).all(axis=(1, 2)), 0]).T
    x, y, z = np.cos(latitudes) * np.cos(longitudes), np.cos(latitudes) * np.sin(longitudes), np.sin(latitudes)
    # Sorted, as sums depend on the order of tiles in their last digits.
    x, y, z = (float(np.sort(values).sum()) for values in (x, y, z))
    latitude, longitude = np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))
    equal_area = f"+proj=laea +lat_0={latitude:.3f} +lon_0={longitude:.3f} +datum=WGS84 +units=m"
    to_map = Transformer.from_crs(_DEGREES, equal_area, always_xy=True)
    return np.stack(to_map.transform(degrees[..., 0], degrees[..., 1]), axis=-1)


def _is_in_meters(crs: object) -> bool:
    from pyproj import CRS

    if not isinstance(crs, CRS) or not crs.is_projected or crs.to_epsg() == _WEB_MERCATOR:
        return False
    return all(axis.unit_name in ("metre", "meter") for axis in crs.axis_info[:2])


def _outline(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the closed outline (M, 2) of a tile in its pixels."""
    height, width = shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height], [0, 0]], dtype=np.float64)
    steps = np.arange(_EDGE_POINTS)[:, None] / _EDGE_POINTS
    return np.concatenate([*(start + steps * (end - start) for start, end in pairwise(corners)), corners[:1]])
