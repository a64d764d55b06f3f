# SPDX-License-Identifier: Apache-2.0
"""Layers as data frames and as CSV."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas
import pytest
import shapely
from pyproj import CRS

from geodit.pipelines.scenes.layers import Layer
from geodit.pipelines.scenes.tables import csv_bytes, to_geodataframe


class TestGeoDataFrame:
    def test_has_columns_polygons_and_reference_system(self, ships):
        frame = to_geodataframe(ships)
        assert list(frame.columns) == [*ships.columns, "geometry"]
        assert frame.crs == CRS("EPSG:32631")
        assert frame.geometry[0].equals(shapely.box(590000.0, 5754900.0, 590010.5, 5754950.0))
        assert frame["label"].tolist()[:2] == ["ship", "Fähre"]
        assert frame["score"].tolist() == [0.5, 1.0, 0.25]
        assert frame["tile"].tolist()[::2] == [0, 2**40]
        for column, missing in [("label", 2), ("tile", 1), ("well_formed", 2), ("model_resolution", 1)]:
            assert frame[column].isna().tolist() == [row == missing for row in range(3)]

    def test_numbers_without_missing_values_are_plain(self, ships):
        frame = to_geodataframe(ships.take([0]))
        assert [str(frame[name].dtype) for name in ("score", "tile", "well_formed")] == ["float64", "int64", "bool"]

    def test_without_polygons_it_has_the_same_types(self, ships):
        frame = to_geodataframe(ships.take([]))
        assert len(frame) == 0
        assert frame.crs == CRS("EPSG:32631")
        assert [str(frame[name].dtype) for name in ("score", "tile", "well_formed")] == ["float64", "int64", "bool"]
        assert pandas.api.types.is_string_dtype(frame["label"])

    def test_pixels_have_no_reference_system(self, make_layer):
        assert to_geodataframe(make_layer(None, [(0, 0, 1, 1)])).crs is None

    def test_rings_may_have_any_length(self):
        triangle, square = [[0, 0], [1, 0], [0, 1]], [[0, 0], [1, 0], [1, 1], [0, 1]]
        rings = tuple(np.array(ring, dtype=np.float64) for ring in (triangle, square))
        frame = to_geodataframe(Layer("objects", None, rings, {}))
        assert frame.geometry.tolist() == [shapely.Polygon(triangle), shapely.Polygon(square)]


class TestCsv:
    def test_has_polygons_columns_and_reference_system(self, ships):
        rows = list(csv.DictReader(io.StringIO(csv_bytes(ships).decode())))
        assert list(rows[0]) == ["WKT", *ships.columns, "reference_system"]
        for row, ring in zip(rows, ships.rings, strict=True):
            assert shapely.from_wkt(row["WKT"]) == shapely.Polygon(ring)
            assert row["reference_system"] == "EPSG:32631"
        assert [row["label"] for row in rows] == ["ship", "Fähre", ""]
        assert [row["score"] for row in rows] == ["0.5", "1.0", "0.25"]
        assert [row["tile"] for row in rows] == ["0", "", str(2**40)]
        assert [row["well_formed"] for row in rows] == ["true", "false", ""]

    @pytest.mark.parametrize("text", ['a "quoted", text', "two\nlines", "caf\udce9"])
    def test_any_text_is_one_cell(self, make_layer, text):
        layer = make_layer(None, [(0, 0, 1, 1)], {"text": [text]})
        (row,) = csv.DictReader(io.StringIO(csv_bytes(layer).decode(), newline=""))
        assert row["text"] == text.encode(errors="backslashreplace").decode()
        assert row["reference_system"] == ""
