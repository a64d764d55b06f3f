# SPDX-License-Identifier: Apache-2.0
"""The rasters that users bring, asked about on the command line: the ships of the harbor, where they are."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
from example_rasters import BAD_BLOCK, BLOCK_SIDE, GCP_BOUNDS, HIDDEN_COLUMNS, PLACE, write_example_rasters

from geodit.pipelines.scene_pipeline import ScenePipeline

# The harbor has two ships, and each raster four harbors.
SHIPS = 8
TILES = ("--tile-size", 96, "--overlap", 0)
FAST = ("--max-denoising-steps", 2)
REFLECTANCE = ("--stretch", "300,2850")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rasters")
    write_example_rasters(folder)
    return folder


@pytest.fixture
def boxes_in(folder, predict):
    """The boxes of ships in a raster, from left to right; and what is said of them."""

    def run(name, *options, exit_code=0):
        tiles = () if "--tile-size" in options else TILES
        result = predict(str(name).format(folder), *tiles, *FAST, *options, "--json", exit_code=exit_code)
        (prediction,) = json.loads(result.stdout)["predictions"]
        return np.array(sorted(prediction["boxes"])), prediction, result.stderr

    return run


@pytest.fixture(scope="module")
def harbor(folder, bundled):
    """The boxes of ships in the raster that all others show."""
    found = ScenePipeline(bundled).predict(
        folder / "uint8.tif", "ship", tile_size=96, overlap=0.0, max_denoising_steps=2
    )
    assert len(found) == SHIPS
    return np.array(sorted(one.box for one in found))


def test_the_size_of_the_tiles_is_that_of_the_training(boxes_in, harbor):
    boxes, prediction, _ = boxes_in("{}/uint8.tif", "--tile-size", "auto", "--overlap", 0)
    assert np.array_equal(boxes, harbor)
    assert prediction["num_tiles"] == 4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("{}/float32_0_255.tif", ["--stretch", "none"]),
        ("{}/uint16_reflectance.tif", REFLECTANCE),
        ("{}/uint16_zero_collar_untagged.tif", [*REFLECTANCE, "--nodata", 0]),
        ("{}/bgr_by_color_interpretation.tif", []),
        ("{}/rgbn_tagged_alpha_by_default.tif", []),
        ("{}/gcps_only.tif", []),
        ("{}/lossless.jp2", []),
        ("/vsizip/{}/zipped.zip/in/a.tif", []),
        ("zip://{}/zipped.zip!in/a.tif", []),
    ],
)
def test_the_same_pixels_give_the_same_boxes(boxes_in, harbor, name, options):
    boxes, *_ = boxes_in(name, *options)
    assert np.array_equal(boxes, harbor)


@pytest.mark.parametrize(("name", "options"), [("uint16_cloud.tif", REFLECTANCE), ("world_file.jpg", [])])
def test_nearly_the_same_pixels_give_nearly_the_same_boxes(boxes_in, harbor, name, options):
    boxes, *_ = boxes_in(f"{{}}/{name}", *options)
    assert len(boxes) == len(harbor)
    away = np.abs(boxes[:, None] - harbor).max(axis=2)
    assert away.min(axis=0).max() < 4
    assert away.min(axis=1).max() < 4


def test_a_stretch_by_percentiles_shows_ships_too(boxes_in, harbor):
    """With other contrasts, the smallest checkpoint finds some of them."""
    boxes, *_ = boxes_in("{}/uint16_reflectance.tif", "--stretch", "p2,98")
    assert len(boxes) >= SHIPS / 2
    assert all(share_of(box, harbor) > 0.1 for box in boxes)


def share_of(box, others):
    """The greatest intersection over union of a box with others."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    return (shared / (areas + np.prod(box[2:] - box[:2]) - shared)).max()


def test_a_collar_that_may_be_no_data_is_warned_of(folder, predict, caplog):
    predict(folder / "uint16_zero_collar_untagged.tif", *FAST, "--json")
    assert any("is 0: if that means no data" in message for message in caplog.messages)


def test_a_band_that_is_called_alpha_can_be_shown(boxes_in):
    _, prediction, _ = boxes_in("{}/rgbn_tagged_alpha_by_default.tif", "--bands", "4,1,2")
    assert prediction["num_tiles"] == 4


def test_nothing_is_found_where_alpha_hides_it(boxes_in, harbor):
    boxes, *_ = boxes_in("{}/objects_under_alpha_0.tif")
    assert np.array_equal(boxes, harbor[harbor[:, 0] >= HIDDEN_COLUMNS])


def test_control_points_give_boxes_on_the_map(boxes_in, harbor):
    _, prediction, _ = boxes_in("{}/gcps_only.tif")
    left, top, right, bottom = GCP_BOUNDS
    width, height = (right - left) / 192, (bottom - top) / 192
    x1, y1, x2, y2 = harbor.T
    expected = np.stack([left + x1 * width, top + y2 * height, left + x2 * width, top + y1 * height], axis=1)
    assert np.allclose(sorted(prediction["map_boxes"]), sorted(expected.tolist()), atol=1e-8)


@pytest.mark.parametrize("with_prj", [True, False])
def test_a_photograph_with_a_world_file_has_boxes_on_the_map(folder, tmp_path, boxes_in, with_prj):
    for suffix in (".jpg", ".jgw", ".prj") if with_prj else (".jpg", ".jgw"):
        (tmp_path / f"a{suffix}").write_bytes((folder / f"world_file{suffix}").read_bytes())
    boxes, prediction, _ = boxes_in(tmp_path / "a.jpg", *([] if with_prj else ["--crs", "EPSG:32631"]))
    assert prediction["crs"] == "EPSG:32631"
    x1, y1, x2, y2 = boxes.T
    expected = np.stack([PLACE.c + x1 / 2, PLACE.f - y2 / 2, PLACE.c + x2 / 2, PLACE.f - y1 / 2], axis=1)
    assert np.allclose(sorted(prediction["map_boxes"]), sorted(expected.tolist()), atol=1e-6)


def test_a_damaged_block_is_named_and_the_others_are_answered(boxes_in):
    boxes, prediction, stderr = boxes_in(
        "{}/bad_block.tif", *REFLECTANCE, "--tile-size", BLOCK_SIDE, "--overlap", 0, exit_code=3
    )
    left, top = (number * BLOCK_SIDE for number in BAD_BLOCK)
    (damaged,) = [tile for tile in prediction["tiles"] if tile["status"] != "answered"]
    assert damaged["status"] == "unreadable"
    assert damaged["window"] == [left, top, left + BLOCK_SIDE, top + BLOCK_SIDE]
    assert "X offset 1, Y offset 1" in damaged["error"]
    assert (len(prediction["tiles"]), prediction["num_tiles"]) == (9, 8)
    (line,) = stderr.splitlines()
    assert "bad_block.tif: 64 x 64 pixels at 64, 64 could not be read: " in line
    x1, y1, x2, y2 = boxes.T
    inside = (x1 < left + BLOCK_SIDE) & (x2 > left) & (y1 < top + BLOCK_SIDE) & (y2 > top)
    assert len(boxes) > 0
    assert not inside.any()


def test_a_damaged_image_is_not_drawn_and_the_answers_are_written(folder, predict, tmp_path):
    out, picture = tmp_path / "ships.json", tmp_path / "ships.png"
    asked = (*FAST, *REFLECTANCE, "--tile-size", 64, "--overlap", 0, "--out", out, "--overlay", picture)
    result = predict(folder / "bad_block.tif", *asked, exit_code=3)
    assert f"geodit: warning: {picture} is not drawn: " in result.stderr
    assert json.loads(out.read_text())["predictions"][0]["num_tiles"] == 8
    assert f"wrote {out}" in result.stdout
    assert f"wrote {picture}" not in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["ships.json"]


def test_a_folder_gives_an_answer_for_each_image(folder, predict, harbor):
    result = predict(folder / "folder", *TILES, *FAST, "--json")
    document = json.loads(result.stdout)
    assert [Path(one["image"]).name for one in document["predictions"]] == ["scene0.tif", "scene1.tif", "scene2.tif"]
    for one in document["predictions"]:
        assert np.array_equal(sorted(one["boxes"]), harbor)
    assert result.stderr == ""


def test_boxes_off_the_earth_are_left_out_and_counted(folder, predict, tmp_path):
    scene, ships = folder / "geostationary.tif", tmp_path / "ships.geojson"
    result = predict(scene, *TILES, *FAST, "--out", ships)
    features = json.loads(ships.read_text())["features"]
    (line,) = result.stderr.splitlines()
    assert (
        line
        == f"geodit: warning: {SHIPS - len(features)} objects are left out, as they have no longitude and latitude"
    )
    assert 0 < len(features) < SHIPS
    # In the scene's own reference system nothing is.
    result = predict(scene, *TILES, *FAST, "--out", tmp_path / "ships.gpkg")
    assert result.stderr == ""
    assert len(geopandas.read_file(tmp_path / "ships.gpkg", layer="objects")) == SHIPS
