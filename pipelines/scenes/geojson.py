# SPDX-License-Identifier: Apache-2.0
"""Layers as GeoJSON (RFC 7946)."""

from __future__ import annotations

import json

from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.scenes.geography import Wgs84Geometries, to_wgs84
from geodit.pipelines.scenes.layers import Layer

__all__ = ["feature_collection", "geojson_bytes", "to_geojson"]


def to_geojson(layer: Layer) -> JsonObject:
    """Return a layer as a FeatureCollection in WGS 84, ready for `json.dump`.

    Polygons that have no longitude and latitude are left out; `to_wgs84` of `geography` counts them.

    Raises:
        ValueError: If the layer is in pixels, or its reference system has no longitude and latitude.
    """
    return feature_collection(layer, to_wgs84(layer))


def feature_collection(layer: Layer, geometries: Wgs84Geometries) -> JsonObject:
    """Join the columns of a layer and its geometries in WGS 84 to a FeatureCollection."""
    columns = {name: layer.values(name) for name in layer.columns}
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": geometry,
                "properties": {name: values[index] for name, values in columns.items()},
            }
            for index, geometry in zip(geometries.indices, geometries.geometries, strict=True)
        ],
    }


def geojson_bytes(collection: JsonObject) -> bytes:
    """Encode a FeatureCollection as UTF-8 with one feature per line."""
    features = ",\n".join(
        json.dumps(feature, ensure_ascii=False, allow_nan=False) for feature in collection["features"]
    )
    text = f'{{"type": "FeatureCollection", "features": [\n{features}\n]}}\n'
    # Bytes of a file name that are no text are half a surrogate pair; this makes an escape of JSON of each.
    return text.encode(errors="backslashreplace")
