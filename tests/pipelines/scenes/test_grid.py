# SPDX-License-Identifier: Apache-2.0
"""Where the tiles of an image lie, and at which resolution the model sees them."""

from __future__ import annotations

import math
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from geodit.data.windows import Window
from geodit.pipelines.scenes.grid import GridTile, ground_sampling_distance, plan_tiles, whole_image
from geodit.pipelines.scenes.job import Tiling
from geodit.rasters.georeference import GeoReference, MapReference
from geodit.rasters.image_source import ArraySource, GeoImage

UTM = GeoReference("EPSG:32617", (0.5, 0.0, 400000.0, 0.0, -0.5, 3285000.0))
# Half the scale of the map is an error of 0.04% at the central meridian of UTM.
UTM_SCALE = 0.9996


def source(height: int, width: int, place: MapReference | None = UTM) -> ArraySource:
    return ArraySource(GeoImage(np.zeros((height, width, 3), np.uint8), place))


def degrees(latitude: float, side: float) -> GeoReference:
    return GeoReference("EPSG:4326", (side, 0.0, 10.0, 0.0, -side, latitude))


def test_pixels_are_taken_as_they_are_unless_asked_for() -> None:
    assert plan_tiles(source(64, 96), Tiling(64, 0.5), 64) == [
        GridTile(Window(0, 0, 64, 64)),
        GridTile(Window(0, 32, 64, 64)),
    ]


def test_without_a_tile_size_the_image_is_seen_as_a_whole() -> None:
    assert plan_tiles(source(100, 200), Tiling(), 64) == [GridTile(Window(0, 0, 100, 200))]
    # Of a large one a smaller copy is read.
    assert whole_image((1000, 2000), 64) == GridTile(Window(0, 0, 1000, 2000), (128, 256))


def test_auto_has_to_be_resolved() -> None:
    with pytest.raises(ValueError, match="resolve"):
        plan_tiles(source(64, 64), Tiling("auto"), 64)


@pytest.mark.parametrize(
    ("place", "expected", "tolerance"),
    [
        (UTM, 0.5 / UTM_SCALE, 2e-3),
        # A US survey foot is 1200/3937 meters.
        (GeoReference("EPSG:2236", (1.0, 0.0, 700000.0, 0.0, -1.0, 600000.0)), 1200 / 3937, 1e-3),
        # At 60 degrees north a degree of longitude is half as long as one of latitude.
        (degrees(60.0, 1e-5), math.sqrt(1.11412 * 0.55800), 1e-3),
        # Web Mercator stretches the map by 1 / cos(60 degrees) there.
        (GeoReference("EPSG:3857", (1.0, 0.0, 1e6, 0.0, -1.0, 8399737.9)), 0.5, 4e-3),
        # Turned by 30 degrees, with pixels that are no squares.
        (GeoReference("EPSG:32617", (0.866, 1.0, 5e5, 0.5, -1.732, 3285000.0)), math.sqrt(2) / UTM_SCALE, 1e-3),
    ],
)
def test_ground_sampling_distance_is_in_meters_on_the_ground(
    place: MapReference, expected: float, tolerance: float
) -> None:
    assert ground_sampling_distance(place, (100, 100)) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(
    "place",
    [
        GeoReference('LOCAL_CS["a yard",UNIT["metre",1]]', UTM.transform),
        GeoReference("+proj=geos +h=35785831 +lon_0=0 +sweep=y", (3000.0, 0.0, -9e6, 0.0, -3000.0, 9e6)),
        degrees(150.0, 1e-3),
    ],
)
def test_off_the_earth_there_is_no_ground(place: MapReference) -> None:
    with pytest.raises(ValueError, match="its middle has no longitude and latitude"):
        ground_sampling_distance(place, (100, 100))


def test_pixels_without_a_size_have_no_distance() -> None:
    with pytest.raises(ValueError, match="no size"):
        ground_sampling_distance(GeoReference("EPSG:32617", (0.0, 0.0, 5e5, 0.0, 0.0, 3285000.0)), (100, 100))


def test_a_raster_is_resampled_to_the_distance_asked_for() -> None:
    """Pixels of half a meter to those of one: a tile of 64 pixels as the model sees it takes 128 of the image."""
    tiles = plan_tiles(source(256, 256), Tiling(64, 0.5, gsd=1.0 / UTM_SCALE), 64)
    assert {(tile.window.height, tile.window.width, tile.shape) for tile in tiles} == {(128, 128, (64, 64))}
    assert [(tile.window.top, tile.window.left) for tile in tiles] == [
        (top, left) for top in (0, 64, 128) for left in (0, 64, 128)
    ]


def test_coarse_pixels_are_enlarged() -> None:
    (first, *_) = plan_tiles(source(64, 64), Tiling(64, 0.0, gsd=0.125), 64)
    assert first == GridTile(Window(0, 0, 16, 16), (64, 64))


def test_a_small_image_is_resampled_in_proportion() -> None:
    (tile,) = plan_tiles(source(50, 100), Tiling(96, gsd=1.0 / UTM_SCALE), 64)
    assert tile == GridTile(Window(0, 0, 50, 100), (25, 50))


def test_without_a_place_there_is_no_ground_sampling_distance() -> None:
    with pytest.raises(ValueError, match="ground sampling distance"):
        plan_tiles(source(64, 64, None), Tiling(64, gsd=0.5), 64)


def test_the_whole_image_comes_last_reduced_to_a_tile() -> None:
    tiles = plan_tiles(source(128, 256), Tiling(64, 0.0, full_image=True), 64)
    assert len(tiles) == 9
    assert tiles[-1] == GridTile(Window(0, 0, 128, 256), (32, 64))
    assert all(tile.shape is None for tile in tiles[:-1])


def test_an_image_of_one_tile_is_not_seen_twice() -> None:
    assert plan_tiles(source(64, 64), Tiling(64, full_image=True), 64) == [GridTile(Window(0, 0, 64, 64))]


def test_tiles_outside_the_area_of_interest_are_left_out(tmp_path: Path) -> None:
    left, bottom, right, top = UTM.bounds((70, 10, 100, 20))
    path = tmp_path / "area.gpkg"
    geopandas.GeoDataFrame(geometry=[shapely.box(left, bottom, right, top)], crs=UTM.crs).to_file(path)
    tiles = plan_tiles(source(128, 256), Tiling(64, 0.0, full_image=True, aoi=str(path)), 64)
    assert tiles == [GridTile(Window(0, 64, 64, 64)), GridTile(Window(0, 0, 128, 256), (32, 64))]
