# SPDX-License-Identifier: Apache-2.0
"""Layers in longitude and latitude, as GeoJSON wants them (RFC 7946)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.scenes.layers import Layer

if TYPE_CHECKING:
    from pyproj import CRS
    from shapely.geometry import Polygon
    from shapely.geometry.base import BaseGeometry

__all__ = ["WGS84", "Wgs84Geometries", "check_crs", "check_has_wgs84", "concatenate_in_wgs84", "to_wgs84"]

WGS84 = "EPSG:4326"

# Decimals of a degree: 8 are about a millimeter, finer than any imagery.
_DECIMALS = 8
# Points per edge that are transformed to see whether a polygon is small and its edges stay straight, and for those of
# which this is not so: 16 keep the steps of an edge around the whole Earth far below half a turn.
_COARSE, _FINE = 2, 16
# Degrees of longitude. A polygon of that extent cannot enclose a pole.
_SMALL = 30.0
# Share of a polygon's extent by which an edge may bend before it gets points of its own.
_BEND = 0.01
# Map units, and share of the coordinate, by which a point may return from longitude and latitude to another northing.
# Far outside the area of a projection, its inverse gives longitudes and latitudes of somewhere else.
_RETURN, _RETURN_SHARE = 1.0, 1e-6
# Degrees from a pole at which longitude has no meaning.
_AT_POLE = 1e-9


@dataclass(frozen=True)
class Wgs84Geometries:
    """The polygons of a layer as GeoJSON geometries.

    Args:
        geometries: A Polygon per ring, or a MultiPolygon where the ring crosses the antimeridian.
        indices: Index into the layer of each geometry, ascending.
        num_left_out: How many polygons have no longitude and latitude, or no area there.
    """

    geometries: tuple[JsonObject, ...]
    indices: tuple[int, ...]
    num_left_out: int


def check_crs(crs: str) -> None:
    """Check whether a reference system can be read, as a code, WKT or another notation of PROJ.

    Raises:
        ValueError: If it cannot.
    """
    _read_crs(crs)


def check_has_wgs84(crs: str | None) -> None:
    """Check whether a reference system has longitude and latitude on Earth; call this before long work.

    Args:
        crs: Reference system; None is pixels of an image.

    Raises:
        ValueError: If the reference system cannot be read, or is pixels, local, vertical or of another celestial body.
    """
    _Projection(crs)


def to_wgs84(layer: Layer) -> Wgs84Geometries:
    """Transform a layer to GeoJSON geometries in WGS 84, longitude first, rounded to 8 decimals.

    Rings are closed and run counter-clockwise. What crosses the antimeridian is cut there, and latitudes end at the
    poles. Edges that bend by more than 1% of the size of their polygon get 15 points in between. Polygons of which
    a corner has no longitude and latitude are left out.

    Raises:
        ValueError: If the layer is in pixels, or its reference system has no longitude and latitude.
    """
    rings = _continuous_rings(layer)
    kept = [index for index, ring in enumerate(rings) if ring is not None]
    geometries = _geometries([ring for ring in rings if ring is not None])
    indices = tuple(index for index, geometry in zip(kept, geometries, strict=True) if geometry is not None)
    return Wgs84Geometries(
        tuple(geometry for geometry in geometries if geometry is not None), indices, len(layer) - len(indices)
    )


def concatenate_in_wgs84(layers: Sequence[Layer]) -> tuple[Layer, int]:
    """Join layers in different reference systems to one in EPSG:4326.

    Rings that cross the antimeridian stay whole: their longitudes go on beyond 180 degrees.

    Args:
        layers: At least one, with the same name and columns.

    Returns:
        The layer, and how many polygons were left out because they have no longitude and latitude.

    Raises:
        ValueError: If the layers do not agree, or one has no longitude and latitude.
    """
    joined, num_left_out = [], 0
    for layer in layers:
        rings = _continuous_rings(layer)
        kept = [index for index, ring in enumerate(rings) if ring is not None]
        num_left_out += len(rings) - len(kept)
        some = layer.take(kept)
        joined.append(
            Layer(layer.name, WGS84, tuple(ring for ring in rings if ring is not None), some.columns, some.types)
        )
    return Layer.concatenate(joined), num_left_out


class _Projection:
    """Longitudes and latitudes of map coordinates.

    Args:
        crs: Reference system of the map.

    Raises:
        ValueError: If it has no longitude and latitude.
    """

    def __init__(self, crs: str | None) -> None:
        from pyproj import Transformer
        from pyproj.exceptions import ProjError

        if crs is None:
            raise ValueError(
                "the image has no place on Earth, and its polygons no longitude and latitude: name its reference "
                "system, or write a format that can be in pixels, such as .gpkg or .json"
            )
        source = _read_crs(crs)
        base = _horizontal(source)
        what = f"the reference system {source.name if len(crs) > 60 else crs}"
        if not (base.is_geographic or base.is_projected):
            raise ValueError(
                f"{what} ({base.type_name}) has no longitude and latitude: write a format in the reference system of "
                "the image, such as .gpkg"
            )
        try:
            self._transformer = Transformer.from_crs(source, WGS84, always_xy=True)
        except ProjError as error:
            raise ValueError(
                f"{what} has no longitude and latitude on Earth: write a format in the reference system of the image, "
                f"such as .gpkg ({error})"
            ) from error
        # Degrees per unit of the map, and of its prime meridian, where map coordinates are longitudes and latitudes.
        self.unit: float | None = None
        self._prime_meridian = 0.0
        if base.is_geographic and not base.is_derived:
            self.unit = float(np.degrees(base.axis_info[0].unit_conversion_factor))
            meridian = base.prime_meridian
            if meridian is not None:
                self._prime_meridian = float(np.degrees(meridian.longitude * float(meridian.unit_conversion_factor)))

    def to_lonlat(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Transform points (..., 2) to degrees of longitude and latitude; infinite where there are none.

        Where the map has longitudes, results are on the same turn around the Earth; otherwise from -180 to 180.
        """
        x, y = points[..., 0], points[..., 1]
        if self.unit is not None:
            y = np.clip(y, -90.0 / self.unit, 90.0 / self.unit)
        longitude, latitude = self._transformer.transform(x, y)
        if self.unit is not None:
            turns = np.round((x * self.unit + self._prime_meridian - longitude) / 360.0)
            longitude = longitude + 360.0 * np.where(np.isfinite(turns), turns, 0.0)
            latitude = np.clip(latitude, -90.0, 90.0)
        else:
            # Only the northing: an easting that passes the antimeridian rightly returns on the other side of the map.
            _, returned = self._transformer.transform(longitude, latitude, direction="INVERSE")
            with np.errstate(invalid="ignore"):
                astray = ~(np.abs(returned - y) <= _RETURN + _RETURN_SHARE * np.abs(y))
            longitude, latitude = np.where(astray, np.inf, longitude), np.where(astray, np.inf, latitude)
        result: NDArray[np.float64] = np.stack([longitude, latitude], axis=-1)
        return result


def _read_crs(crs: str) -> CRS:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return CRS.from_user_input(crs)
    except CRSError as error:
        raise ValueError(f"the reference system {crs} cannot be read: give a code such as EPSG:32617") from error


def _horizontal(crs: CRS) -> CRS:
    """Return what a reference system says about x and y."""
    while crs.is_bound or crs.is_compound:
        inner = crs.source_crs if crs.is_bound else crs.sub_crs_list[0]
        if inner is None:
            break
        crs = inner
    return crs


def _continuous_rings(layer: Layer) -> list[NDArray[np.float64] | None]:
    """Return the rings in longitude and latitude, with no jump at the antimeridian; None for those without any."""
    projection = _Projection(layer.crs)
    result: list[NDArray[np.float64] | None] = [None] * len(layer)
    lengths = np.array([len(ring) for ring in layer.rings], dtype=np.int64)
    for length in np.unique(lengths).tolist():
        (members,) = np.nonzero(lengths == length)
        rings = np.stack([layer.rings[index] for index in members])
        points = projection.to_lonlat(_with_points_between(rings, _COARSE))
        finite = np.isfinite(points).all(axis=(1, 2))
        points[~finite] = 0.0
        if projection.unit is None:
            points[..., 0] = np.unwrap(points[..., 0], period=360.0, axis=1)
            straight = _is_small_and_straight(points)
        else:
            straight = np.ones(len(points), dtype=bool)  # edges are straight in degrees whatever their length
        for index, ring, is_finite, is_straight in zip(
            members.tolist(), points, np.asarray(finite), straight, strict=True
        ):
            if is_finite:
                result[index] = ring[::_COARSE] if is_straight else _bent_ring(layer.rings[index], projection)
    return result


def _with_points_between(rings: NDArray[np.float64], num_steps: int) -> NDArray[np.float64]:
    """Return rings (R, N * num_steps, 2) with the edges of rings (R, N, 2) divided into equal steps."""
    steps = np.arange(num_steps)[:, None] / num_steps
    edges = np.roll(rings, -1, axis=1) - rings
    points: NDArray[np.float64] = rings[:, :, None, :] + edges[:, :, None, :] * steps
    return points.reshape(len(rings), -1, 2)


def _is_small_and_straight(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for rings (R, 2 N, 2), every second point of which halves an edge, whether the corners suffice (R,)."""
    corners, middles = points[:, ::2], points[:, 1::2]
    bend = np.abs(middles - (corners + np.roll(corners, -1, axis=1)) / 2).max(axis=(1, 2))
    extent = np.ptp(points, axis=1)
    straight: NDArray[np.bool_] = (extent[:, 0] < _SMALL) & (bend <= _BEND * extent.max(axis=1))
    return straight


def _bent_ring(ring: NDArray[np.float64], projection: _Projection) -> NDArray[np.float64] | None:
    """Return a ring (M, 2) that follows bent edges, and that encloses a pole by running along it."""
    points = projection.to_lonlat(_with_points_between(ring[None], _FINE))[0]
    if not np.isfinite(points).all():
        return None
    (away,) = np.nonzero(np.abs(points[:, 1]) < 90.0 - _AT_POLE)
    if not len(away):
        return None
    # From a point that has a longitude, so that each pole in the ring has one before and after it.
    points = np.roll(points, -away[0], axis=0)
    longitudes, latitudes = [points[0, 0]], [points[0, 1]]
    pole = 0.0
    for longitude, latitude in [*points[1:].tolist(), points[0].tolist()]:
        if abs(latitude) >= 90.0 - _AT_POLE:
            pole = float(np.copysign(90.0, latitude))
            continue
        last = longitudes[-1]
        longitude = last + (longitude - last + 180.0) % 360.0 - 180.0
        if pole:  # reached on one meridian, left on another one
            longitudes += [last, longitude]
            latitudes += [pole, pole]
            pole = 0.0
        longitudes.append(longitude)
        latitudes.append(latitude)
    if abs(longitudes[-1] - longitudes[0]) > 180.0:  # once around
        pole = float(np.copysign(90.0, np.mean(latitudes)))
        longitudes += [longitudes[-1], longitudes[0]]
        latitudes += [pole, pole]
    else:
        longitudes.pop()
        latitudes.pop()
    result: NDArray[np.float64] = np.stack([longitudes, latitudes], axis=-1)
    return result


def _geometries(rings: Sequence[NDArray[np.float64]]) -> list[JsonObject | None]:
    """Return GeoJSON geometries of open rings with continuous longitudes; None for those without an area."""
    if not rings:
        return []
    lengths = [len(ring) for ring in rings]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    points = np.concatenate(rings)
    turns = np.floor((np.minimum.reduceat(points[:, 0], starts) + 180.0) / 360.0)
    points[:, 0] -= np.repeat(360.0 * turns, lengths)
    points = _rounded(points)
    inside = np.maximum.reduceat(points[:, 0], starts) <= 180.0
    return [
        _polygon(points[start : start + length]) if is_inside else _cut(points[start : start + length])
        for start, length, is_inside in zip(starts.tolist(), lengths, inside.tolist(), strict=True)
    ]


def _rounded(points: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.round(points, _DECIMALS) + 0.0  # -0.0 becomes 0.0
    return rounded


def _polygon(ring: NDArray[np.float64]) -> JsonObject | None:
    """Return the GeoJSON geometry of an open ring (N, 2) from -180 to 180 degrees; None if it has no area."""
    points = _closed(ring)
    return None if points is None else {"type": "Polygon", "coordinates": [points]}


def _closed(ring: NDArray[np.float64]) -> list[list[float]] | None:
    """Close an open ring and make it run counter-clockwise; None if it has no area."""
    points: list[list[float]] = ring.tolist()
    (x0, y0), doubled_area = points[0], 0.0  # relative to a corner, for the precision of small rings
    for (x1, y1), (x2, y2) in pairwise(points[1:]):
        doubled_area += (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    if doubled_area == 0.0:
        return None
    points.append(points[0])
    # Whichever way it runs, it begins with the same point.
    return points if doubled_area > 0 else points[::-1]


def _cut(ring: NDArray[np.float64]) -> JsonObject | None:
    """Cut a ring that begins between -180 and 180 degrees and goes on to the east."""
    import shapely
    from shapely.affinity import translate

    polygon = shapely.make_valid(shapely.Polygon(ring))
    parts: list[BaseGeometry] = []
    for turn in range(int((ring[:, 0].max() + 180.0) // 360.0) + 1):
        offset = 360.0 * turn
        part = shapely.intersection(polygon, shapely.box(offset - 180.0, -90.0, offset + 180.0, 90.0))
        parts.append(translate(part, -offset))
    polygons = []
    # Joined, as parts of what goes around the Earth touch or overlap.
    for part in _polygons_of(shapely.union_all(parts)):
        outer, *holes = [
            _closed(_rounded(shapely.get_coordinates(one)[:-1])) for one in [part.exterior, *part.interiors]
        ]
        if outer is not None:
            polygons.append([outer, *(hole[::-1] for hole in holes if hole is not None)])
    if not polygons:
        return None
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _polygons_of(geometry: BaseGeometry) -> Iterator[Polygon]:
    """Yield the polygons of nested collections, and not the points and lines where something only touches."""
    from shapely.geometry import Polygon

    if isinstance(geometry, Polygon):
        if not geometry.is_empty:
            yield geometry
    else:
        for part in getattr(geometry, "geoms", ()):
            yield from _polygons_of(part)
