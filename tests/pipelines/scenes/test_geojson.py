# SPDX-License-Identifier: Apache-2.0
"""GeoJSON that any reader of RFC 7946 takes."""

from __future__ import annotations

import json

import pytest

from geodit.pipelines.scenes.geojson import geojson_bytes, to_geojson
from geodit.pipelines.scenes.layers import Layer
from rfc7946 import check_feature_collection


def test_features_have_the_columns_as_properties(ships):
    collection = to_geojson(ships)
    features = check_feature_collection(geojson_bytes(collection))
    assert features == collection["features"]
    assert [feature["properties"] for feature in features] == [
        {
            "label": "ship",
            "score": 0.5,
            "tile": 0,
            "well_formed": True,
            "model_revision": "main",
            "model_resolution": 0.5,
        },
        {
            "label": "Fähre",
            "score": 1.0,
            "tile": None,
            "well_formed": False,
            "model_revision": "main",
            "model_resolution": None,
        },
        {
            "label": None,
            "score": 0.25,
            "tile": 2**40,
            "well_formed": None,
            "model_revision": "main",
            "model_resolution": 0.5,
        },
    ]
    assert features[0]["geometry"]["type"] == "Polygon"


def test_properties_stay_with_their_geometry_where_others_are_left_out(make_layer):
    layer = make_layer("EPSG:4326", [(0, 91, 1, 92), (179, 0, 181, 1), (5, 5, 6, 6)], {"name": ["a", "b", "c"]})
    features = check_feature_collection(geojson_bytes(to_geojson(layer)))
    assert [(feature["properties"]["name"], feature["geometry"]["type"]) for feature in features] == [
        ("b", "MultiPolygon"),
        ("c", "Polygon"),
    ]


def test_nothing_found_is_an_empty_collection(make_layer):
    assert check_feature_collection(geojson_bytes(to_geojson(make_layer("EPSG:32631", [])))) == []


def test_there_is_one_feature_per_line(ships):
    lines = geojson_bytes(to_geojson(ships)).decode().splitlines()
    assert len(lines) == 1 + len(ships) + 1
    assert json.loads(lines[1].rstrip(","))["properties"]["label"] == "ship"


def test_file_names_that_are_no_text_become_escapes(make_layer):
    name = b"har\xffbor.tif".decode(errors="surrogateescape")
    layer = make_layer("EPSG:4326", [(0, 0, 1, 1)], {"source": [name]})
    (feature,) = check_feature_collection(geojson_bytes(to_geojson(layer)))
    assert feature["properties"]["source"] == name


def test_pixels_are_not_longitude_and_latitude(make_layer):
    with pytest.raises(ValueError, match="the image has no place on Earth"):
        to_geojson(make_layer(None, [(0, 0, 1, 1)]))


def test_types_of_a_checker_that_refuses():
    """The checker of these tests finds what is wrong."""
    square = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]

    def document(ring, **more):
        geometry = {"type": "Polygon", "coordinates": [ring]}
        feature = {"type": "Feature", "geometry": geometry, "properties": {}}
        return json.dumps({"type": "FeatureCollection", "features": [feature], **more}).encode()

    assert len(check_feature_collection(document(square))) == 1
    wrong = [
        document(square, crs={"type": "name"}),
        document(square[::-1]),
        document(square[:-1]),
        document([[x + 179.5, y] for x, y in square]),
        document([[x, y + 89.5] for x, y in square]),
        document([[-170, 0], [170, 0], [170, 1], [-170, 1], [-170, 0]]),
        document([[0, 0], [2, 2], [2, 0], [0, 1], [0, 0]]),
        document([[x, y, 0] for x, y in square]),
        document([[float("nan"), 0], *square[1:]]),
    ]
    for text in wrong:
        with pytest.raises(AssertionError):
            check_feature_collection(text)


def test_columns_of_floats_have_floats():
    layer = Layer("objects", "EPSG:4326", (), {"score": []}, {"score": float})
    assert geojson_bytes(to_geojson(layer)) == b'{"type": "FeatureCollection", "features": [\n\n]}\n'
