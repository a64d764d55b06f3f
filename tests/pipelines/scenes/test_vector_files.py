# SPDX-License-Identifier: Apache-2.0
"""What GDAL reads in the files that a layer was written to."""

from __future__ import annotations

import sqlite3
import warnings
from contextlib import closing

import geopandas
import numpy as np
import pyarrow.parquet
import pyogrio
import pytest
import shapely
from pyproj import CRS

from geodit.pipelines.scenes.tables import to_geodataframe
from geodit.pipelines.scenes.vector_files import (
    shapefile_field_names,
    write_flatgeobuf,
    write_geopackage,
    write_geoparquet,
    write_shapefile,
)

GEOSTATIONARY = "+proj=geos +h=35785831 +lon_0=0 +sweep=y"


def write_one_geopackage(path, layer):
    write_geopackage(path, [layer])


WRITERS = {
    "gpkg": write_one_geopackage,
    "fgb": write_flatgeobuf,
    "shp": write_shapefile,
    "parquet": write_geoparquet,
}


def read(path):
    """The frame in a file, in an order that all formats share."""
    frame = geopandas.read_parquet(path) if path.suffix == ".parquet" else pyogrio.read_dataframe(path)
    return frame.sort_values("score").reset_index(drop=True)


def values(column):
    return [None if missing else value for value, missing in zip(column.tolist(), column.isna(), strict=True)]


@pytest.fixture(params=WRITERS)
def suffix(request):
    return request.param


def test_frame_is_the_one_that_was_written(tmp_path, ships, suffix):
    path = tmp_path / f"ships.{suffix}"
    WRITERS[suffix](path, ships)
    frame = read(path)
    expected = to_geodataframe(ships).sort_values("score").reset_index(drop=True)
    if suffix == "shp":
        expected = expected.rename(columns=shapefile_field_names(list(ships.columns)))
    assert list(frame.columns) == list(expected.columns)
    assert frame.crs == expected.crs == CRS("EPSG:32631")
    assert set(frame.geometry.geom_type) == {"Polygon"}
    assert all(frame.geometry.geom_equals(expected.geometry))
    for name in expected.columns.drop("geometry"):
        assert values(frame[name]) == values(expected[name])


def test_fields_are_the_same_without_polygons(tmp_path, ships, suffix):
    full, empty = tmp_path / f"full.{suffix}", tmp_path / f"empty.{suffix}"
    WRITERS[suffix](full, ships.take([0]))
    WRITERS[suffix](empty, ships.take([]))
    if suffix == "parquet":
        schemas = [pyarrow.parquet.read_schema(path).remove_metadata() for path in (full, empty)]
        assert schemas[0] == schemas[1]
    else:
        infos = [pyogrio.read_info(path) for path in (full, empty)]
        for key in ("crs", "geometry_type", "dtypes", "fields", "encoding"):
            assert np.array_equal(infos[0][key], infos[1][key])
        assert infos[1]["geometry_type"] == "Polygon"
    frame = geopandas.read_parquet(empty) if suffix == "parquet" else pyogrio.read_dataframe(empty)
    assert len(frame) == 0
    assert frame.crs == CRS("EPSG:32631")


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2193", "EPSG:3832", GEOSTATIONARY])
def test_reference_system_is_kept(tmp_path, make_layer, suffix, crs):
    path = tmp_path / f"ships.{suffix}"
    WRITERS[suffix](path, make_layer(crs, [(10, 50, 11, 52)], {"score": [1.0]}))
    frame = read(path)
    wanted, got = CRS(crs), CRS(frame.crs)
    assert wanted.equals(got, ignore_axis_order=True) or wanted.to_dict() == got.to_dict()
    # x before y, also where the reference system names the northing or the latitude first.
    assert frame.geometry[0].bounds == (10, 50, 11, 52)


def test_pixels_have_no_reference_system_and_no_warning(tmp_path, make_layer, suffix):
    path = tmp_path / f"ships.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WRITERS[suffix](path, make_layer(None, [(0, 0, 1, 1)], {"score": [0.5]}))
    assert read(path).crs is None


def test_text_that_c_cannot_hold_is_written(tmp_path, make_layer, suffix):
    path = tmp_path / f"ships.{suffix}"
    texts = ["caf\udce9 \0 end", "second\nline"]
    layer = make_layer("EPSG:4326", [(0, 0, 1, 1), (1, 1, 2, 2)], {"score": [0.1, 0.2], "text": texts})
    WRITERS[suffix](path, layer)
    assert read(path)["text"].tolist() == ["caf\\udce9 \N{REPLACEMENT CHARACTER} end", "second\nline"]


def test_same_layer_gives_the_same_bytes(tmp_path, ships, suffix):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        WRITERS[suffix](tmp_path / folder / f"ships.{suffix}", ships)
    first, second = (sorted((tmp_path / folder).iterdir()) for folder in ("first", "second"))
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_geopackage_holds_several_layers(tmp_path, ships, tiles):
    path = tmp_path / "ships.gpkg"
    write_geopackage(path, [ships, tiles])
    assert pyogrio.list_layers(path).tolist() == [["objects", "Polygon"], ["tiles", "Polygon"]]
    frame = pyogrio.read_dataframe(path, layer="tiles")
    assert frame["state"].tolist() == ["unparsed"]
    assert frame.geometry[0].equals(shapely.Polygon(tiles.rings[0]))
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"GPKG"),)
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        # Nothing in it tells when it was written.
        assert database.execute("SELECT DISTINCT last_change FROM gpkg_contents").fetchall() == [
            ("2000-01-01T00:00:00.000Z",)
        ]
        assert database.execute("SELECT count(*) FROM rtree_objects_geom_rowid").fetchone() == (3,)


def test_flatgeobuf_can_be_searched(tmp_path, ships):
    path = tmp_path / "ships.fgb"
    write_flatgeobuf(path, ships)
    frame = pyogrio.read_dataframe(path, bbox=(590900, 5752900, 591100, 5753100))
    assert frame["score"].tolist() == [0.25]


class TestShapefile:
    def test_is_several_files(self, tmp_path, ships):
        write_shapefile(tmp_path / "my.ships.shp", ships)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [f"my.ships.{suffix}" for suffix in ("cpg", "dbf", "prj", "shp", "shx")]
        # The date of the table.
        assert (tmp_path / "my.ships.dbf").read_bytes()[1:4] == bytes([100, 1, 1])

    def test_texts_end_after_254_bytes(self, tmp_path, make_layer):
        layer = make_layer("EPSG:4326", [(0, 0, 1, 1)], {"text": ["a" + "é" * 200]})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            write_shapefile(tmp_path / "ships.shp", layer)
        assert pyogrio.read_dataframe(tmp_path / "ships.shp")["text"].tolist() == ["a" + "é" * 126]

    def test_field_names_are_short_and_unique(self):
        names = {
            "label": "label",
            "model_revision": "model_rev",
            "well_formed": "wellformed",
            "pixel_box_left": "pixelboxl2",
            "pixel_box_lower": "pixelboxlo",
            "pixelboxle": "pixelboxle",
            "größenordnung": "größenor",
        }
        assert shapefile_field_names(list(names)) == names

    def test_field_names_stay_unique_in_any_number(self, tmp_path, make_layer):
        columns = {f"Probability_{number}": [number] for number in range(30)}
        columns |= {f"probability_of_{number}": [number] for number in range(30)}
        write_shapefile(tmp_path / "ships.shp", make_layer("EPSG:4326", [(0, 0, 1, 1)], columns))
        fields = pyogrio.read_info(tmp_path / "ships.shp")["fields"].tolist()
        assert fields == list(shapefile_field_names(list(columns)).values())
        assert len({name.lower() for name in fields}) == 60
