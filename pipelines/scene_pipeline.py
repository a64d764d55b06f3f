# SPDX-License-Identifier: Apache-2.0
"""Objects in a whole georeferenced scene, as features on a map. Needs the extra `geodit[geo]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.georeference import MapReference
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.imagery import open_image
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.prediction import Prediction
from geodit.pipelines.rendering import Rendering

# Decimals of a degree in GeoJSON: 8 are about a millimetre, finer than any imagery.
_COORDINATE_DECIMALS = 8


@dataclass(frozen=True)
class SceneDetections:
    """What was found in a scene.

    Args:
        prediction: the detections in pixels of the scene; `prediction.map_boxes` has them on its own map.
        georeference: where the scene is on Earth.
    """

    prediction: Prediction
    georeference: MapReference

    def to_geojson(self) -> JsonObject:
        """Return the detections as a GeoJSON FeatureCollection (RFC 7946), ready for `json.dump`.

        Geometries are polygons in WGS 84, longitude first, counter-clockwise, cut at the antimeridian. The
        properties of a feature are `label`, `score` and `pixel_box`, `[x1, y1, x2, y2]` in the scene.

        Raises:
            ValueError: if the scene lies where its coordinate reference system has no longitude and latitude.
        """
        prediction = self.prediction
        rings = [self.georeference.corners(box) for box in prediction.boxes]
        return {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "geometry": geometry,
                    "properties": {"label": label, "score": score, "pixel_box": list(box)},
                }
                for geometry, label, score, box in zip(
                    _wgs84_polygons(rings, self.georeference.crs),
                    prediction.labels,
                    prediction.scores,
                    prediction.boxes,
                    strict=True,
                )
            ],
        }


class ScenePipeline:
    """Detects objects in georeferenced rasters of any size, of which only tiles are ever in memory.

    Example:
        >>> from geodit import GeoDiTPipeline, ScenePipeline
        >>> scenes = ScenePipeline(GeoDiTPipeline.from_pretrained("geodit-tiny", device="cpu"))
        >>> found = scenes("harbor.tif", "ship", tile_size=96)
        >>> found.prediction.labels
        ('ship', 'ship')
        >>> ship = found.to_geojson()["features"][0]
        >>> ship["geometry"]["coordinates"][0][0]  # longitude and latitude of a corner
        [4.309..., 51.938...]

    Args:
        pipeline: answers for each tile.
    """

    def __init__(self, pipeline: GeoDiTPipeline) -> None:
        self.pipeline = pipeline

    def __call__(
        self,
        path: str | PathLike[str],
        query: str,
        *,
        tile_size: int,
        task: str = "detect",
        overlap: float = 0.25,
        bands: Sequence[int] | None = None,
        rendering: Rendering | None = None,
        merge: MergeOptions | None = None,
        options: DecodingOptions | None = None,
        batch_size: int = 8,
        progress: Callable[[int, int], None] | None = None,
        **decoding: object,
    ) -> SceneDetections:
        """Detect all objects of a class.

        Args:
            path: a GeoTIFF with a coordinate reference system and a transform.
            query: the class to detect.
            tile_size: side of a tile in pixels; best what makes objects as large as in training.
            task: a task whose answer is a list of boxes.
            overlap: share of a tile's side that neighbouring tiles have in common. Objects up to that length
                are seen whole.
            bands: the band to show as gray, or the three to show as red, green and blue, counted from 1.
            rendering: how bands become 8-bit RGB. Boxes do not lie where the raster has no data.
            merge: how the detections of all tiles are merged.
            options: how to decode.
            batch_size: tiles that run at once.
            progress: called with the number of tiles done and of all tiles.
            **decoding: fields of [`~geodit.configuration.decoding_options.DecodingOptions`] that differ from
                `options`, as in [`GeoDiTPipeline`].

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it cannot be read or has no georeference, or an argument is out of range.
        """
        with open_image(path, bands, rendering) as source:
            if source.georeference is None:
                raise ValueError(
                    f"{path} has no place on Earth that can be read: it must be a GeoTIFF with a coordinate "
                    'reference system and a transform, and rasterio is needed (pip install "geodit[geo]")'
                )
            prediction = self.pipeline.detect_in_tiles(
                source,
                query,
                task,
                tile_size,
                overlap,
                options=(options or DecodingOptions()).with_changes(**decoding),
                merge=merge,
                batch_size=batch_size,
                progress=progress,
            )
            return SceneDetections(prediction, source.georeference)


def _wgs84_polygons(rings: Sequence[NDArray[np.float64]], crs: str) -> list[JsonObject]:
    """GeoJSON geometries of open rings (4, 2) of map coordinates."""
    if not rings:
        return []
    # CPLE_BaseError: what transform_geom lets through from GDAL, by no public name.
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError
    from rasterio.warp import transform_geom

    polygons = [{"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]} for ring in rings]
    try:
        geometries = transform_geom(crs, "EPSG:4326", polygons, precision=_COORDINATE_DECIMALS)
    except (CRSError, CPLE_BaseError) as error:
        raise ValueError(f"the detections have no longitude and latitude in {crs}: {error}") from error
    return [_checked(geometry) for geometry in geometries]


def _checked(geometry: JsonObject) -> JsonObject:
    """Return a Polygon or MultiPolygon with rings as RFC 7946 wants them."""
    single = geometry["type"] == "Polygon"
    parts = [geometry["coordinates"]] if single else geometry["coordinates"]
    turned = [[_counter_clockwise(ring) for ring in part] for part in parts]
    return {"type": geometry["type"], "coordinates": turned[0] if single else turned}


def _counter_clockwise(ring: ArrayLike) -> list[list[float]]:
    points = np.asarray(ring, dtype=np.float64)
    if not np.isfinite(points).all():
        raise ValueError("a detection lies where the scene's map has no longitude and latitude")
    x, y = (points - points[0]).T
    doubled_area = float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))
    result: list[list[float]] = points[:: 1 if doubled_area >= 0 else -1].tolist()
    return result
