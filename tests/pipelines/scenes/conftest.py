# SPDX-License-Identifier: Apache-2.0
"""Layers of boxes, scenes of red squares, and areas of interest in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from example_rasters import write_raster
from numpy.typing import NDArray
from rasterio.transform import from_origin

from geodit.pipelines.scenes.layers import Layer, Value
from geodit.rasters.georeference import GeoReference

Box = tuple[float, float, float, float]
MakeLayer = Callable[..., Layer]


def ring_of(box: Box) -> NDArray[np.float64]:
    """The corners of `(left, bottom, right, top)`: upper left, lower left, lower right, upper right."""
    left, bottom, right, top = box
    return np.array([[left, top], [left, bottom], [right, bottom], [right, top]], dtype=np.float64)


@pytest.fixture
def make_layer() -> MakeLayer:
    def make(
        crs: str | None,
        boxes: Sequence[Box],
        columns: Mapping[str, Sequence[Value]] | None = None,
        name: str = "objects",
    ) -> Layer:
        return Layer(name, crs, tuple(ring_of(box) for box in boxes), columns or {})

    return make


@pytest.fixture
def ships() -> Layer:
    """Three ships in UTM zone 31, with each type of column."""
    boxes = [(590000.0, 5754900.0, 590010.5, 5754950.0), (590100.0, 5754000.0, 590120.0, 5754040.25)]
    boxes.append((591000.0, 5753000.0, 591001.0, 5753001.0))
    columns: dict[str, Sequence[Value]] = {
        "label": ["ship", "Fähre", None],
        "score": [0.5, 1, 0.25],
        "tile": [0, None, 2**40],
        "well_formed": [True, False, None],
        "model_revision": ["main", "main", "main"],
        "model_resolution": [0.5, None, 0.5],
    }
    return Layer("objects", "EPSG:32631", tuple(ring_of(box) for box in boxes), columns)


@pytest.fixture
def tiles() -> Layer:
    boxes = [(590000.0, 5754000.0, 590100.0, 5754100.0)]
    return Layer("tiles", "EPSG:32631", tuple(ring_of(box) for box in boxes), {"state": ["unparsed"]})


# Pixels of the red squares in the scenes below.
SQUARES = [(10, 12, 30, 28), (100, 90, 124, 110)]
WriteScene = Callable[..., Path]


@pytest.fixture
def write_scene(tmp_path: Path, draw: Any) -> WriteScene:
    """Write a GeoTIFF of red squares, of 128 rows and 160 columns, in UTM with pixels of half a meter."""

    def write(name: str = "scene.tif", squares: Sequence[Box] = tuple(SQUARES), **profile: Any) -> Path:
        place = {"crs": "EPSG:32617", "transform": from_origin(400000.0, 3285000.0, 0.5, 0.5)}
        return write_raster(tmp_path / name, draw.scene(128, 160, squares), **(place | profile))

    return write


WriteArea = Callable[..., str]


@pytest.fixture
def write_area(tmp_path: Path) -> WriteArea:
    """Write a GeoPackage of boxes, in pixels of the scenes above, in any reference system."""

    def write(*boxes: Box, name: str = "area.gpkg", crs: str = "EPSG:4326") -> str:
        place = GeoReference("EPSG:32617", (0.5, 0.0, 400000.0, 0.0, -0.5, 3285000.0))
        shapes = [shapely.box(*place.bounds(box)) for box in boxes]
        geopandas.GeoDataFrame(geometry=shapes, crs=place.crs).to_crs(crs).to_file(tmp_path / name)
        return str(tmp_path / name)

    return write
