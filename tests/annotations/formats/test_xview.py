# SPDX-License-Identifier: Apache-2.0
"""xView's GeoJSON comes out with the names of its classes."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pytest
from shapely.geometry import box

from geodit.annotations.formats.xview import XVIEW_CLASSES


def feature(bounds="1,2,30,40", type_id=18, image_id="a.png", **more):
    return {
        "type": "Feature",
        "properties": {"bounds_imcoords": bounds, "type_id": type_id, "image_id": image_id, "cat_id": "x"} | more,
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
    }


@pytest.fixture
def write(folder):
    def write_file(*features):
        path = folder / "xView_train.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "crs": {}, "features": features}))
        return path

    return write_file


def test_objects_are_gathered_by_image(write, read):
    images, bad = read(write(feature(), feature(image_id="b.png", type_id=73), feature("5,6,7,8", 94)))
    assert bad == []
    assert [(found.label, found.box, found.line) for found in images["a.png"].objects] == [
        ("Small Car", (1, 2, 30, 40), 1),
        ("Tower", (5, 6, 7, 8), 3),
    ]
    assert images["b.png"].objects[0].label == "Building"


def test_what_geopandas_writes_is_read(folder, read):
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 40, (30, 2, 2)), axis=1).reshape(30, 4)
    types = rng.choice(list(XVIEW_CLASSES), 30)
    table = geopandas.GeoDataFrame(
        {
            "bounds_imcoords": [",".join(map(str, bounds)) for bounds in corners],
            "type_id": types,
            "image_id": np.where(np.arange(30) % 2, "a.png", "b.png"),
        },
        geometry=[box(*bounds) for bounds in corners / 1000],
        crs="EPSG:4326",
    )
    table.to_file(folder / "xView_train.geojson", driver="GeoJSON")
    images, bad = read(folder / "xView_train.geojson")
    assert bad == []
    for name, rows in table.groupby("image_id"):
        assert [found.label for found in images[name].objects] == [XVIEW_CLASSES[number] for number in rows["type_id"]]
        assert np.array_equal([found.box for found in images[name].objects], corners[rows.index])


def test_there_are_60_classes():
    assert len(XVIEW_CLASSES) == len(set(XVIEW_CLASSES.values())) == 60
    assert XVIEW_CLASSES[25] == "Truck w/Box"


def test_what_is_wrong_is_said_and_reading_goes_on(write, read):
    path = write(
        feature(type_id=75),
        feature("1,2,3"),
        feature("9,2,3,4"),
        feature("1,2,inf,4"),
        feature(image_id="gone.png"),
        feature(image_id="gone.png"),
        feature(type_id="18"),
        None,
        {"properties": []},
        feature(),
    )
    images, bad = read(path)
    assert [found.line for found in images["a.png"].objects] == [10]
    assert images["a.png"].partial_labels == {"Small Car"}
    assert [line.partition(":")[0] for line in bad] == [f"feature {number}" for number in (1, 2, 3, 4, 5, 7, 8, 9)]
    assert bad[0] == "feature 1: xView has no class 75"


def test_a_file_that_is_cut_off_is_one_error(write, read):
    path = write(feature(), feature())
    path.write_text(path.read_text()[:-60])
    with pytest.raises(ValueError, match="damaged") as caught:
        read(path)
    assert "Download" not in str(caught.value)
