# SPDX-License-Identifier: Apache-2.0
"""What RFC 7946 asks of a GeoJSON FeatureCollection of polygons."""

from __future__ import annotations

import json
from typing import Any

from shapely.geometry import LinearRing, shape

Position = list[float]

MEMBERS = {
    "FeatureCollection": {"type", "features"},
    "Feature": {"type", "geometry", "properties"},
}


def check_feature_collection(document: bytes, max_extent: float = 180.0) -> list[dict[str, Any]]:
    """Return the features of a GeoJSON text after checking each of them.

    Args:
        document: the text, as it is in a file.
        max_extent: degrees of longitude that a polygon may have. One that passes the antimeridian without being cut
            there seems to go around the Earth the other way.
    """
    collection = json.loads(document.decode("utf-8"), parse_constant=not_json)
    assert collection["type"] == "FeatureCollection"
    # No `crs` (section 4), and no members of our own.
    assert set(collection) == MEMBERS["FeatureCollection"]
    for feature in collection["features"]:
        assert set(feature) == MEMBERS["Feature"]
        assert feature["type"] == "Feature"
        assert isinstance(feature["properties"], dict)
        check_geometry(feature["geometry"], max_extent)
    features: list[dict[str, Any]] = collection["features"]
    return features


def check_geometry(geometry: dict[str, Any], max_extent: float = 180.0) -> None:
    assert set(geometry) == {"type", "coordinates"}
    coordinates = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        polygons = [coordinates]
    else:
        assert geometry["type"] == "MultiPolygon"
        assert len(coordinates) > 1
        polygons = coordinates
    for outer, *holes in polygons:
        check_ring(outer, counter_clockwise=True, max_extent=max_extent)
        for hole in holes:
            check_ring(hole, counter_clockwise=False, max_extent=max_extent)
    assert shape(geometry).is_valid


def check_ring(ring: list[Position], counter_clockwise: bool, max_extent: float) -> None:
    # Section 3.1.6: four or more positions, closed, right-hand rule.
    assert len(ring) >= 4
    assert ring[0] == ring[-1]
    assert LinearRing(ring).is_ccw == counter_clockwise
    # Section 4: longitude and latitude in degrees, in this order.
    assert all(len(position) == 2 for position in ring)
    longitudes = [position[0] for position in ring]
    assert min(longitudes) >= -180
    assert max(longitudes) <= 180
    assert all(-90 <= position[1] <= 90 for position in ring)
    # Section 3.1.9: cut at the antimeridian.
    assert max(longitudes) - min(longitudes) <= max_extent


def not_json(constant: str) -> None:
    raise AssertionError(f"JSON has no {constant}")
