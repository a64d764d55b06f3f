# SPDX-License-Identifier: Apache-2.0
"""An area of interest, in the pixels of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodit.data.windows import Window
from geodit.pipelines.tiling import Detection
from geodit.processing.polygons import box_corners
from geodit.rasters.georeference import MapReference

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["AreaOfInterest"]

# Edges are moved to another reference system in pieces of at most so many of the longer side of the area.
_PIECES = 256
# A box lies in the area with at least this share of its own.
_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class AreaOfInterest:
    """Polygons in pixels of an image.

    Args:
        polygons: Their union.
    """

    polygons: BaseGeometry

    @classmethod
    def read(cls, path: str, georeference: MapReference | None) -> AreaOfInterest:
        """Read the polygons of a file that pyogrio reads, such as GeoJSON, GeoPackage or a shapefile.

        Args:
            path: The file. One without a reference system is taken for WGS 84.
            georeference: Where the image is on Earth.

        Raises:
            ValueError: If the file cannot be read or holds no polygons, or it is not known where the image is.
        """
        import geopandas
        import shapely.affinity
        from pyogrio.errors import DataLayerError, DataSourceError
        from pyproj import CRS
        from pyproj.exceptions import CRSError, ProjError

        if georeference is None:
            raise ValueError(
                "it has no place on Earth that can be read, so that no area of interest can be found in it"
            )
        try:
            frame = geopandas.read_file(path)
        except (DataSourceError, DataLayerError) as error:
            raise ValueError(f"the area of interest {path} cannot be read: {error}") from error
        # A table without geometries is read as a data frame.
        geometry = frame.geometry if isinstance(frame, geopandas.GeoDataFrame) else geopandas.GeoSeries()
        polygons = geometry[geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
        if polygons.empty or polygons.is_empty.all():
            raise ValueError(f"the area of interest {path} holds no polygon")
        if polygons.crs is None:
            polygons = polygons.set_crs("EPSG:4326")
        united = polygons.make_valid().union_all()
        left, bottom, right, top = united.bounds
        longest = max(right - left, top - bottom)
        pieces = geopandas.GeoSeries([shapely.segmentize(united, longest / _PIECES)], crs=polygons.crs)
        try:
            (on_map,) = pieces.to_crs(georeference.crs)
        except (CRSError, ProjError) as error:
            raise ValueError(f"the area of interest {path} cannot be found in the image's own map: {error}") from error

        if CRS.from_user_input(georeference.crs).is_geographic:
            # Longitudes of an image may go on beyond 180 degrees, where the same place is a turn away.
            on_map = shapely.union_all([shapely.affinity.translate(on_map, turn) for turn in (-360.0, 0.0, 360.0)])

        def to_pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
            return georeference.to_pixels(points)

        points = shapely.get_coordinates(on_map)
        # Before a polygon is made of them: the ends of a ring are not the same if they are no numbers.
        if not (np.isfinite(points).all() and np.isfinite(to_pixels(points)).all()):
            raise ValueError(f"the area of interest {path} has a point that has no place in the image's own map")
        return cls(shapely.make_valid(shapely.transform(on_map, to_pixels)))

    def touches(self, windows: Sequence[Window]) -> list[bool]:
        """Return which windows share an area with it."""
        import shapely

        shapely.prepare(self.polygons)
        boxes = shapely.box(
            [window.left for window in windows],
            [window.top for window in windows],
            [window.left + window.width for window in windows],
            [window.top + window.height for window in windows],
        )
        touched = shapely.intersects(self.polygons, boxes) & ~shapely.touches(self.polygons, boxes)
        return [bool(one) for one in touched]

    def holds(self, detections: Sequence[Detection]) -> list[Detection]:
        """Return the detections of which at least half lies in it."""
        import shapely

        if not detections:
            return []
        shapely.prepare(self.polygons)
        outlines = [detection.corners or box_corners(detection.box) for detection in detections]
        boxes = shapely.polygons(np.array(outlines, dtype=np.float64))
        areas = shapely.area(boxes)
        shared = shapely.area(shapely.intersection(self.polygons, boxes))
        return [
            detection
            for detection, area, part in zip(detections, areas.tolist(), shared.tolist(), strict=True)
            if math.isfinite(part) and part >= _LEAST_SHARE * area
        ]
