# SPDX-License-Identifier: Apache-2.0
"""Where the tiles of an image lie, and at which resolution the model sees them."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from geodit.data.windows import Window
from geodit.pipelines.scenes.grid import GridTile, plan_tiles, whole_image
from geodit.pipelines.scenes.job import Tiling
from geodit.rasters.georeference import GeoReference, MapReference
from geodit.rasters.image_source import ArraySource, GeoImage

UTM = GeoReference("EPSG:32617", (0.5, 0.0, 400000.0, 0.0, -0.5, 3285000.0))
# Half the scale of the map is an error of 0.04% at the central meridian of UTM.
UTM_SCALE = 0.9996


def source(height: int, width: int, place: MapReference | None = UTM) -> ArraySource:
    return ArraySource(GeoImage(np.zeros((height, width, 3), np.uint8), place))


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
