# SPDX-License-Identifier: Apache-2.0
"""Boxes that are not upright stay so, from the answers about tiles to whatever results are written as."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from pyproj import Transformer

from geodit.cli.overlays import write_overlay
from geodit.data.windows import Window
from geodit.pipelines.answering import Inquiry
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.scenes.aoi import AreaOfInterest
from geodit.pipelines.scenes.job import SceneJob, Tiling
from geodit.pipelines.scenes.objects import ModelName
from geodit.pipelines.scenes.results import SceneResult
from geodit.pipelines.tile_answers import QueryAnswer, TileAnswers
from geodit.pipelines.tiling import Detection, scaled, to_image
from geodit.processing.polygons import surrounding_box
from geodit.processing.turned_boxes_geodit import OrientedBox, corners_of
from geodit.rasters.georeference import GeoReference

PLACE = GeoReference("EPSG:32617", (0.5, 0.0, 400000.0, 0.0, -0.5, 3285000.0))
SHIP = OrientedBox(100.0, 60.0, 40.0, 10.0, 30.0)
TANK = (10.0, 20.0, 30.0, 40.0)


def turned(box: OrientedBox, label: str = "ship", score: float = 0.9, tile: int | None = 0) -> Detection:
    corners = corners_of(box)
    return Detection(surrounding_box(corners), label, score, tile=tile, corners=corners)


FOUND = (turned(SHIP), Detection(TANK, "tank", 0.8, tile=0))


@pytest.fixture
def scene(write_scene: Any) -> SceneResult:
    """A turned ship and an upright tank, found in an image of 128 x 160 pixels that is one tile."""
    path = write_scene()
    tile = TileAnswers(0, Window(0, 0, 128, 160), "answered", (QueryAnswer("ship", "", True, 0.5, FOUND),))
    job = SceneJob((str(path),), Inquiry("detect", ("ship",)), Tiling(160))
    return SceneResult(str(path), (128, 160), PLACE, job, True, (tile,), MergeOptions(), ModelName("model"))


def on_map(box: OrientedBox) -> shapely.Polygon:
    return shapely.Polygon(PLACE.to_map(np.array(corners_of(box))))


def difference(one: shapely.Polygon, other: shapely.Polygon) -> float:
    area: float = one.symmetric_difference(other).area
    return area


def test_geojson_has_the_turned_rectangle_in_longitude_and_latitude(scene: SceneResult) -> None:
    ship, tank = scene.to_geojson()["features"]
    ring = np.array(ship["geometry"]["coordinates"][0])
    assert ship["geometry"]["type"] == "Polygon"
    assert ring.shape == (5, 2)
    assert shapely.LinearRing(ring).is_ccw
    back = Transformer.from_crs("EPSG:4326", "EPSG:32617", always_xy=True).transform(ring[:, 0], ring[:, 1])
    assert difference(shapely.Polygon(np.transpose(back)), on_map(SHIP)) < 0.1  # of 100 square meters
    # Properties are those of all objects: the upright box, in pixels.
    assert [ship["properties"][name] for name in ("x1", "y1", "x2", "y2")] == pytest.approx(FOUND[0].box)
    assert set(ship["properties"]) == set(tank["properties"])


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".shp", ".parquet"])
def test_vector_files_have_it_in_the_reference_system_of_the_image(
    scene: SceneResult, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"ships{suffix}"
    assert scene.write(path) == 0
    frame = geopandas.read_parquet(path) if suffix == ".parquet" else geopandas.read_file(path)
    frame = frame.set_index("label")
    assert difference(frame.geometry["ship"], on_map(SHIP)) < 1e-3
    assert difference(frame.geometry["tank"], shapely.box(*PLACE.bounds(TANK))) < 1e-3


def test_rings_go_the_same_way_around_whatever_the_order_of_corners(scene: SceneResult) -> None:
    corners = FOUND[0].corners
    assert corners is not None
    backwards = replace(FOUND[0], corners=(corners[0], corners[3], corners[2], corners[1]))
    answer = replace(scene.tiles[0].answers[0], detections=(backwards, FOUND[1]))
    other = replace(scene, tiles=(replace(scene.tiles[0], answers=(answer,)),))
    for one, two in zip(scene.layers()[0].rings, other.layers()[0].rings, strict=True):
        assert np.array_equal(one, two)
        assert shapely.LinearRing(one).is_ccw


def test_a_prediction_has_corners_in_pixels_and_on_the_map(scene: SceneResult) -> None:
    document = json.loads(json.dumps(scene.prediction.to_dict()))
    ship, tank = document["corners"]
    assert np.array(ship) == pytest.approx(np.array(corners_of(SHIP)))
    assert tank is None
    ship, tank = document["map_corners"]
    assert difference(shapely.Polygon(ship), on_map(SHIP)) < 1e-6
    assert tank is None
    assert document["boxes"] == [list(FOUND[0].box), list(TANK)]


def test_upright_answers_say_nothing_of_corners(scene: SceneResult) -> None:
    answer = replace(scene.tiles[0].answers[0], detections=FOUND[1:])
    tile = replace(scene.tiles[0], answers=(answer,))
    assert "corners" not in json.dumps(tile.to_dict())
    assert "corners" not in json.dumps(replace(scene, tiles=(tile,)).prediction.to_dict())


def test_coco_has_a_segmentation(scene: SceneResult) -> None:
    ship, tank = scene.to_coco()["annotations"]
    (ring,) = ship["segmentation"]
    assert ring == pytest.approx([value for point in corners_of(SHIP) for value in point])
    assert ship["area"] == pytest.approx(400)
    x1, y1, x2, y2 = FOUND[0].box
    assert ship["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1])
    assert "segmentation" not in tank


def test_supervision_has_the_corners_of_all(scene: SceneResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    corners = scene.to_supervision().data["xyxyxyxy"]
    assert corners.shape == (2, 4, 2)
    assert corners[0] == pytest.approx(np.array(corners_of(SHIP)), rel=1e-5)
    assert corners[1].tolist() == [[10, 20], [30, 20], [30, 40], [10, 40]]


def test_a_turned_box_lies_in_an_area_by_half_of_itself() -> None:
    # The upper right half of the box around a ship from the upper left to the lower right.
    area = AreaOfInterest(shapely.Polygon([(0, 0), (100, 0), (100, 100)]))
    inside, outside = turned(OrientedBox(53, 47, 80, 8, 45)), turned(OrientedBox(47, 53, 80, 8, 45))
    assert area.holds([inside, outside]) == [inside]
    assert area.holds([replace(outside, corners=None)]) == []


def test_answers_come_back_from_the_journal_with_corners(scene: SceneResult) -> None:
    (tile,) = scene.tiles
    assert TileAnswers.from_dict(json.loads(json.dumps(tile.to_dict()))) == tile
    broken = tile.to_dict()
    broken["answers"][0]["detections"][0]["corners"] = [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match="four corners"):
        TileAnswers.from_dict(broken)


def test_corners_go_from_the_pixels_of_a_tile_to_those_of_the_image() -> None:
    seen = scaled(turned(OrientedBox(20, 30, 16, 6, 30)), 2.0, 2.0)
    moved = to_image(seen, Window(100, 200, 64, 64), (512, 512), margin=1.0)
    expected = turned(OrientedBox(240, 160, 32, 12, 30))
    assert moved.corners is not None
    assert np.array(moved.corners) == pytest.approx(np.array(expected.corners))
    assert moved.box == pytest.approx(expected.box)


def test_pictures_show_it(scene: SceneResult, tmp_path: Path) -> None:
    ax: Axes = Figure().subplots()
    scene.plot(ax)
    ship, tank = ax.patches
    assert isinstance(tank, Rectangle)
    assert isinstance(ship, Polygon)
    assert ship.get_xy()[:4] == pytest.approx(np.array(corners_of(SHIP)))
    write_overlay(tmp_path / "ships.png", scene)
    assert (tmp_path / "ships.png").stat().st_size > 0
