# SPDX-License-Identifier: Apache-2.0
"""Labels on a map, over rasters: each feature becomes a box in every raster that it touches.

Needs the extra `geodit[geo]`. Features are moved to the reference system of a raster with points added along their
edges, which bend there, and from there into its pixels, by its transform, control points or camera.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodit.annotations.records import BadRecord, LabeledImage, LabeledObject
from geodit.annotations.rectangles import Corners, turned_corners
from geodit.annotations.vector_features import VectorFeatures, read_features
from geodit.rasters.georeference import GeoReference, MapReference
from geodit.rasters.ground_sampling import pixel_sizes
from geodit.rasters.imagery import open_image

if TYPE_CHECKING:
    from shapely import STRtree

__all__ = ["read_vector_labels"]

_Geometries = NDArray[np.object_]
_Indices = NDArray[np.intp]

_POINT, _POLYGON = 0, 3  # as shapely numbers its types
# Edges of a feature are moved in pieces of at most this share of the longer side of the feature.
_PIECES = 8
# Points along each edge of a raster, between which its outline on the map may bend.
_OUTLINE_POINTS = 32
# Share of its size by which the place of a raster is widened that has no affine transform, whose inverse is only near.
_WIDENED = 0.05
_MOST_NAMED = 5
_ELSEWHERE, _MENDED = "outside all images that can be read", "invalid"
# Faults that nothing is left out for which would be seen.
_KINDS = {_ELSEWHERE: "elsewhere", _MENDED: "mended"}


def read_vector_labels(
    images: Sequence[str],
    labels: str,
    *,
    label_field: str | None = None,
    default_label: str | None = None,
    point_size: float | None = None,
    layer: str | None = None,
    crs: str | None = None,
) -> Iterator[LabeledImage | BadRecord]:
    """Read the features of a vector file as the objects of rasters.

    A polygon becomes the upright box around it, also where it reaches beyond the raster, and keeps its corners if it
    is a turned rectangle in the raster. Each part of a multipolygon is an object. A point becomes a square.

    Args:
        images: Rasters, as [`~geodit.rasters.imagery.open_image`] takes them. All of them were labeled: one without
            features shows no object.
        labels: The vector file, see [`~geodit.annotations.vector_features.read_features`]. One without a reference
            system is taken for WGS 84.
        label_field: The field with the class of a feature.
        default_label: The class of features for which the field says none, or of all.
        point_size: Side of the square around a point, in meters on the ground.
        layer: Name of the layer, where the file has several.
        crs: Reference system of images that have a transform and none.

    Yields:
        One record per image, in their order, each in a group of its own; then one bad record for each thing that is
        wrong with features, or that they lie outside all images, with their number and the first of them, counted
        from 1. An image that cannot be opened, or has no place on Earth, is a bad record in its place.

    Raises:
        ModuleNotFoundError: If the extra is not installed.
        ValueError: If the file cannot be read, lacks the layer or field, or has points and `point_size` is not given,
            or not above 0.
    """
    if point_size is not None and not 0 < point_size < float("inf"):
        raise ValueError(f"point_size must be a number of meters above 0, got {point_size}")
    faults = _Faults(labels)
    features = read_features(labels, label_field=label_field, default_label=default_label, layer=layer)
    parts = _Parts.of(features, faults, label_field)
    if point_size is None and (parts.types == _POINT).any():
        raise ValueError(f"{labels} has points: give the side of their boxes in meters by --point-size (point_size)")
    placed = np.zeros(len(parts.geometries), dtype=bool)
    moved: dict[str, _MovedParts | str] = {}
    some_image = False
    for image in images:
        try:
            with open_image(image, crs=crs) as source:
                image_size, place = source.image_size, source.georeference
            if place is None:
                raise ValueError(f"{image} has no place on Earth, so that no features can be found in it")
            if place.crs not in moved:
                moved[place.crs] = parts.move_to(place.crs)
            layer_there = moved[place.crs]
            if isinstance(layer_there, str):
                raise ValueError(f"the features of {labels} cannot be found in the map of {image}: {layer_there}")
            found = layer_there.objects_in(place, image_size, point_size)
        except (ValueError, OSError) as error:
            yield BadRecord(image, str(error))
            continue
        some_image = True
        indices = [index for index, _ in found]
        placed[indices] = True
        yield LabeledImage(
            image=image,
            origin=labels,
            image_size=image_size,
            objects=tuple(one for _, one in found),
            group=image,
        )
    if some_image:
        # A feature of several parts is outside if all of them are.
        inside = set(parts.numbers[placed].tolist())
        for number in dict.fromkeys(parts.numbers.tolist()):
            if number not in inside:
                faults.add(_ELSEWHERE, number)
    yield from faults.records(len(features))


@dataclass
class _Faults:
    """What is wrong with features, by kind.

    Args:
        path: The vector file.
        numbers: Of the features, by what they are.
        details: Of the first of a kind.
    """

    path: str
    numbers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    details: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, number: int, detail: str = "") -> None:
        self.numbers[kind].append(number)
        self.details.setdefault(kind, detail)

    def records(self, num_features: int) -> Iterator[BadRecord]:
        for kind, numbers in self.numbers.items():
            named = ", ".join(f"{number:,}" for number in numbers[:_MOST_NAMED])
            if len(numbers) > _MOST_NAMED:
                named += ", ..."
            origin = f"{self.path}, feature{'s' if len(numbers) > 1 else ''} {named}"
            detail = f" ({self.details[kind]})" if self.details[kind] else ""
            reason = f"{len(numbers):,} of {num_features:,} features {_be(numbers)} {kind}{detail}"
            yield BadRecord(origin, reason, _KINDS.get(kind, "record"))


def _be(numbers: Sequence[int]) -> str:
    return "is" if len(numbers) == 1 else "are"


@dataclass(frozen=True)
class _Parts:
    """Points and polygons of the features.

    Args:
        geometries: (N,), valid and not empty.
        types: (N,), `_POINT` or `_POLYGON`.
        numbers: (N,), the feature of each, counted from 1.
        labels: The class of each.
        crs: Their reference system, as pyproj takes it.
    """

    geometries: _Geometries
    types: NDArray[np.int64]
    numbers: NDArray[np.int64]
    labels: tuple[str, ...]
    crs: object

    @classmethod
    def of(cls, features: VectorFeatures, faults: _Faults, label_field: str | None) -> _Parts:
        """Take features apart, and note those that cannot be used."""
        import shapely

        geometries = np.asarray(features.geometries.array, dtype=object)
        missing = shapely.is_missing(geometries) | shapely.is_empty(geometries)
        usable = np.zeros(len(geometries), dtype=bool)
        for index, label in enumerate(features.labels):
            if missing[index]:
                faults.add("without a geometry", index + 1)
            elif not label:
                faults.add(f"without a class in the field {label_field}", index + 1)
            else:
                usable[index] = True
        (kept,) = np.nonzero(usable)
        parts, owners = shapely.get_parts(geometries[kept], return_index=True)
        types = shapely.get_type_id(parts)
        readable = np.isin(types, (_POINT, _POLYGON))
        for owner in dict.fromkeys(owners[~readable].tolist()):
            first = parts[~readable & (owners == owner)][0]
            faults.add("neither polygon nor point", int(kept[owner]) + 1, f"a {first.geom_type}")
        owners = kept[owners[readable]]
        parts, types = parts[readable], types[readable].astype(np.int64)
        # The box around an outline that crosses itself is right all the same.
        (crossed,) = np.nonzero(~shapely.is_valid(parts))
        for index in crossed.tolist():
            faults.add(_MENDED, int(owners[index]) + 1, str(shapely.is_valid_reason(parts[index])))
        parts[crossed] = shapely.convex_hull(parts[crossed])
        flat = shapely.get_type_id(parts) != types
        for owner in dict.fromkeys(owners[flat].tolist()):
            faults.add("without area", int(owner) + 1)
        parts, types, owners = parts[~flat], types[~flat], owners[~flat]
        return cls(
            parts,
            types,
            owners + 1,
            tuple(features.labels[owner] for owner in owners.tolist()),
            features.geometries.crs,
        )

    def move_to(self, crs: str) -> _MovedParts | str:
        """Return them in another reference system, or why there are none."""
        import geopandas
        import shapely
        from pyproj.exceptions import CRSError, ProjError

        left, bottom, right, top = shapely.bounds(self.geometries).T
        longest = np.maximum(right - left, top - bottom)
        dense = shapely.segmentize(self.geometries, np.where(longest > 0, longest / _PIECES, 1.0))
        (four,) = np.nonzero(_has_four_corners(self.geometries, self.types))
        try:
            on_map = geopandas.GeoSeries(dense, crs=self.crs).to_crs(crs)
            turned = geopandas.GeoSeries(self.geometries[four], crs=self.crs).to_crs(crs)
        except (CRSError, ProjError, ValueError) as error:
            return " ".join(str(error).split())
        shapes = np.asarray(on_map.array, dtype=object)
        shapes[~_are_finite(shapes)] = None
        corners = np.full((len(shapes), 4, 2), np.nan)
        if len(four):
            corners[four] = shapely.get_coordinates(np.asarray(turned.array, dtype=object)).reshape(-1, 5, 2)[:, :4]
        return _MovedParts(self, shapes, corners, shapely.STRtree(shapes))


@dataclass(frozen=True)
class _MovedParts:
    """Parts in the reference system of rasters.

    Args:
        parts: What they were.
        shapes: (N,) where they are; `None` where they have no place.
        corners: (N, 4, 2) of polygons with four corners; else NaN.
        tree: Of the shapes.
    """

    parts: _Parts
    shapes: _Geometries
    corners: NDArray[np.float64]
    tree: STRtree

    def objects_in(
        self, place: MapReference, image_size: tuple[int, int], point_size: float | None
    ) -> list[tuple[int, LabeledObject]]:
        """Return the parts that touch an image as its objects, each with its index, in the order of the file."""
        import shapely

        height, width = image_size
        frame = shapely.box(0, 0, width, height)
        indices, shapes, turns = self._near(place, image_size)
        if not len(indices):
            return []

        def to_pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
            # The ends of a ring are not the same if they are NaN.
            return np.nan_to_num(place.to_pixels(points), nan=np.inf)

        pixels = shapely.transform(shapes, to_pixels)
        known = _are_finite(pixels)
        indices, pixels, turns = indices[known], pixels[known], turns[known]
        broken = ~shapely.is_valid(pixels)
        pixels[broken] = shapely.make_valid(pixels[broken])
        points = self.parts.types[indices] == _POINT
        boxes = shapely.bounds(pixels).reshape(-1, 4)
        seen = (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= (width, height)).all(axis=1)
        (over,) = np.nonzero(~seen & ~points)
        seen[over] = shapely.area(shapely.intersection(pixels[over], frame)) > 0
        indices, boxes, points, turns = indices[seen], boxes[seen], points[seen], turns[seen]
        if point_size is not None and points.any():
            half = point_size / 2 / pixel_sizes(place, boxes[points, :2])
            if not np.isfinite(half).all():
                raise ValueError("a point in it has no size, as its pixels have none on the ground")
            boxes[points] += np.concatenate([-half, half], axis=1)
        corners = self.corners[indices]
        corners[..., 0] += turns[:, None]
        four = np.isfinite(corners).all(axis=(1, 2))
        if four.any():
            corners[four] = place.to_pixels(corners[four])
        return [
            (index, self._object(index, box, turned))
            for index, box, turned in zip(indices.tolist(), boxes.tolist(), corners, strict=True)
        ]

    def _object(self, index: int, box: list[float], corners: NDArray[np.float64]) -> LabeledObject:
        x1, y1, x2, y2 = box
        turned: Corners | None = turned_corners([(x, y) for x, y in corners.tolist()])
        return LabeledObject(self.parts.labels[index], (x1, y1, x2, y2), turned, line=int(self.parts.numbers[index]))

    def _near(
        self, place: MapReference, image_size: tuple[int, int]
    ) -> tuple[_Indices, _Geometries, NDArray[np.float64]]:
        """Return the shapes that may touch an image, where it has them.

        Returns:
            Their indices, ascending; the shapes; and by how much each has been moved to the east.
        """
        import shapely
        from pyproj import CRS

        outline = place.to_map(_outline(image_size))
        outline = outline[np.isfinite(outline).all(axis=1)]
        if not len(outline):
            raise ValueError("its outline has no place on the map")
        low, high = outline.min(axis=0), outline.max(axis=0)
        affine = isinstance(place, GeoReference)
        margin = 0.0 if affine else _WIDENED * (high - low)
        # Longitudes of an image may go on beyond 180 degrees, where the same place is a turn away.
        offsets = (-360.0, 0.0, 360.0) if CRS.from_user_input(place.crs).is_geographic else (0.0,)
        east = np.array([1.0, 0.0])
        found = [
            self.tree.query(shapely.box(*(low - margin - offset * east), *(high + margin - offset * east)))
            for offset in offsets
        ]
        indices = np.concatenate(found)
        turns = np.repeat(offsets, [len(some) for some in found])
        order = np.argsort(indices, kind="stable")
        indices, turns = indices[order], turns[order]
        shapes = self.shapes[indices]
        for offset in set(offsets) - {0.0}:
            moved = turns == offset
            shapes[moved] = shapely.transform(shapes[moved], lambda points, by=offset * east: points + by)
        if not affine:
            # Far outside, control points and cameras put things anywhere: boxes reach beyond by the image's size.
            shapes = _clipped(shapes, shapely.box(*(low - (high - low)), *(high + (high - low))))
        return indices, shapes, turns


def _clipped(shapes: _Geometries, frame: object) -> _Geometries:
    """Clip the shapes that reach out of a frame."""
    import shapely

    out = ~shapely.within(shapes, frame)
    clipped = shapes.copy()
    clipped[out] = shapely.intersection(shapely.make_valid(shapes[out]), frame)
    return clipped


def _outline(image_size: tuple[int, int]) -> NDArray[np.float64]:
    """Return points (N, 2) along the edges of an image, in pixels."""
    height, width = image_size
    steps = np.linspace(0.0, 1.0, _OUTLINE_POINTS)[:, None]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height], [0, 0]], dtype=np.float64)
    edges = [start + steps * (end - start) for start, end in pairwise(corners)]
    return np.concatenate(edges)


def _has_four_corners(geometries: _Geometries, types: NDArray[np.int64]) -> NDArray[np.bool_]:
    import shapely

    closed = (types == _POLYGON) & (shapely.get_num_coordinates(geometries) == 5)
    four: NDArray[np.bool_] = closed & (shapely.get_num_interior_rings(geometries) == 0)
    return four


def _are_finite(geometries: _Geometries) -> NDArray[np.bool_]:
    """Return which geometries have points, all of them finite; none are finite of `None`."""
    import shapely

    points, owners = shapely.get_coordinates(geometries, return_index=True)
    count = np.bincount(owners, minlength=len(geometries))
    finite = np.bincount(owners, weights=np.isfinite(points).all(axis=1), minlength=len(geometries))
    result: NDArray[np.bool_] = (count > 0) & (count == finite)
    return result
