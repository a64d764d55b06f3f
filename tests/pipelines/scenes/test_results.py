# SPDX-License-Identifier: Apache-2.0
"""What was found in a scene: objects to iterate over, layers, data sets, and a picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pyogrio
import pytest
import rasterio
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from rasterio.transform import Affine

from geodit.pipelines.answering import Inquiry
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.scene_pipeline import ScenePipeline
from geodit.pipelines.scenes.job import SceneJob, Tiling
from geodit.pipelines.scenes.objects import ModelName, SceneObject
from geodit.pipelines.scenes.results import SceneResult
from geodit.rasters.georeference import GeoReference

SQUARES = [(10.0, 12.0, 30.0, 28.0), (100.0, 90.0, 124.0, 110.0)]
Predict = Callable[..., SceneResult]


@pytest.fixture
def predict(pipe: GeoDiTPipeline, write_scene: Any) -> Predict:
    """Detect in a scene of two squares, in tiles of 64 pixels."""

    def run(queries: Any = ("ship",), name: str = "scene.tif", profile: Any = None, **options: Any) -> SceneResult:
        scenes = ScenePipeline(pipe, name=ModelName("red squares", "v1"))
        return scenes.predict(
            write_scene(name, **(profile or {})), queries, **({"tile_size": 64, "overlap": 0.5} | options)
        )

    return run


@pytest.fixture
def answers(answering_pipe: GeoDiTPipeline, write_scene: Any) -> SceneResult:
    """Of the question what there is, in six tiles of which three show red."""
    scenes = ScenePipeline(answering_pipe, name=ModelName("red squares"))
    return scenes.predict(write_scene(), "How many?", task="vqa", choices=["two", "none"], tile_size=64, overlap=0.0)


def near(box: tuple[float, ...]) -> Any:
    """A box as the model writes it, in whole pixels."""
    return pytest.approx(box, abs=0.51)


# Objects


def test_iteration_gives_one_object_after_the_other_best_first(predict: Predict) -> None:
    found = predict()
    assert len(found) == 2
    assert sorted(one.box for one in found) == [near(box) for box in SQUARES]
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert {(one.label, one.query, one.parsed) for one in found} == {("ship", "ship", True)}
    assert all(isinstance(one, SceneObject) for one in found)


def test_an_object_has_the_text_of_the_tile_that_has_found_it(predict: Predict) -> None:
    found = predict()
    for one in found:
        assert one.text == found.tiles[one.tile].answers[0].text
        assert one.text.startswith("<loc_")


def test_objects_are_query_by_query(predict: Predict) -> None:
    found = predict(("tank", "ship"))
    assert [one.query for one in found] == ["tank", "tank", "ship", "ship"]
    assert [prediction.query for prediction in found.predictions] == ["tank", "ship"]
    assert found.prediction == found.predictions[0]
    assert [one.box for one in found][:2] == list(found.predictions[0].boxes)


def test_an_image_seen_as_a_whole_has_its_answer_as_it_came(predict: Predict) -> None:
    found = predict(tile_size=None)
    assert [one.box for one in found] == [pytest.approx(box, abs=2.6) for box in SQUARES]
    assert len(found.tiles) == 1


def test_detections_are_merged_as_asked_for(predict: Predict) -> None:
    assert len(predict(merge=MergeOptions("none"))) > 2
    assert len(predict(merge=MergeOptions(min_size=18.0))) == 1


def test_boxes_lie_in_the_area_of_interest(predict: Predict, write_area: Any) -> None:
    # It touches tiles that show both squares.
    found = predict(aoi=write_area((0, 0, 64, 64), (90, 60, 105, 100)))
    assert [one.box for one in found] == [near(SQUARES[0])]
    assert list(found.prediction.boxes) == [near(SQUARES[0])]


def test_numbers_of_tiles_count_from_0_in_each_image(pipe: GeoDiTPipeline, write_scene: Any) -> None:
    images = str(write_scene("a.tif")), str(write_scene("b.tif"))
    first, second = ScenePipeline(pipe).run(SceneJob(images, Inquiry("detect", ("ship",)), Tiling(64, 0.5)))
    assert [one.tile for one in first] == [one.tile for one in second]


# Counts


def test_the_summary_counts_objects_and_tiles(predict: Predict) -> None:
    found = predict(("ship", "tank"), overlap=0.0)
    assert found.summary() == {
        "tiles": {"answered": 6},
        "unparsed": 0,
        "objects": {"ship": {"ship": 2}, "tank": {"tank": 2}},
    }


def test_the_summary_counts_answers(answers: SceneResult) -> None:
    assert answers.summary() == {
        "tiles": {"answered": 6},
        "unparsed": 0,
        "answers": {"How many?": {"two": 3, "none": 3}},
    }


def test_what_was_not_understood_or_has_no_data_is_counted(
    broken_model: Any, processor: Any, device: Any, write_scene: Any, draw: Any
) -> None:
    path = write_scene(nodata=1)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.full((3, 64, 64), 1, np.uint8), window=((0, 64), (0, 64)))
    scenes = ScenePipeline(GeoDiTPipeline(broken_model, processor, device))
    found = scenes.predict(path, "ship", tile_size=64, overlap=0.0, structured=False)
    assert found.summary()["tiles"] == {"no data": 1, "answered": 5}
    assert (found.num_unparsed, found.num_without_data, found.unreadable) == (5, 1, ())
    assert not found.prediction.parsed


# Layers


def test_layers_are_the_objects_and_the_tiles(predict: Predict) -> None:
    found = predict(("ship", "tank"), overlap=0.0)
    objects, tiles = found.layers()
    assert (objects.name, tiles.name) == ("objects", "tiles")
    assert objects.crs == tiles.crs == "EPSG:32617"
    assert objects.values("query") == ["ship", "ship", "tank", "tank"]
    assert set(objects.values("model")) == {"red squares"}
    assert set(objects.values("revision")) == {"v1"}
    assert set(objects.values("source")) == {found.image}
    # A row for each tile and query.
    assert tiles.values("tile") == [number for number in range(6) for _ in range(2)]
    assert tiles.values("query") == ["ship", "tank"] * 6
    # Two tiles show the second square.
    assert tiles.values("boxes") == [1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_a_geodataframe_is_in_the_reference_system_of_the_image(predict: Predict) -> None:
    frame = predict().to_geodataframe().sort_values("x1")
    assert frame.crs.to_epsg() == 32617
    x1, y1, x2, y2 = SQUARES[0]
    expected = (400000 + x1 / 2, 3285000 - y2 / 2, 400000 + x2 / 2, 3285000 - y1 / 2)
    assert frame.geometry.iloc[0].bounds == pytest.approx(expected, abs=0.26)


def test_without_a_place_layers_are_in_pixels(predict: Predict) -> None:
    found = predict(profile={"placed": False, "crs": None, "transform": None})
    assert found.georeference is None
    frame = found.to_geodataframe().sort_values("x1")
    assert frame.crs is None
    assert frame.geometry.iloc[0].bounds == near(SQUARES[0])
    with pytest.raises(ValueError, match="no place on Earth"):
        found.to_geojson()


def test_answers_are_tiles_with_text_and_score(answers: SceneResult) -> None:
    layer, tiles = answers.layers()
    assert layer.name == "answers"
    assert layer.values("label") == layer.values("text") == ["two", "none", "none", "none", "two", "two"]
    assert layer.values("score") == [0.75] * 6
    assert layer.values("p_two") == [0.75, 0.25, 0.25, 0.25, 0.75, 0.75]
    assert layer.values("p_none") == [0.25, 0.75, 0.75, 0.75, 0.25, 0.25]
    assert [(layer.values("x1")[index], layer.values("y1")[index]) for index in (0, 1, 2)] == [
        (0.0, 0.0),
        (64.0, 0.0),
        (96.0, 0.0),
    ]
    assert np.array_equal(layer.rings[1], tiles.rings[1])


def test_answers_without_choices_have_the_score_of_their_tokens(
    answering_pipe: GeoDiTPipeline, write_scene: Any
) -> None:
    found = ScenePipeline(answering_pipe).predict(write_scene(), "How many?", task="vqa", tile_size=64)
    assert all(one.score == pytest.approx(0.5) and one.probabilities is None for one in found)
    assert "p_two" not in found.layers()[0].columns


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet", ".fgb", ".shp", ".csv"])
def test_the_suffix_of_a_file_decides_on_its_format(predict: Predict, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ships{suffix}"
    assert predict().write(path) == 0
    if suffix in (".gpkg", ".geojson", ".fgb", ".shp"):
        assert pyogrio.read_info(path, layer=0)["features"] == 2
    if suffix == ".gpkg":
        assert [name for name, _ in pyogrio.list_layers(path)] == ["objects", "tiles"]
    assert path.stat().st_size > 0


def test_what_has_no_longitude_is_left_out_and_counted(predict: Predict, tmp_path: Path) -> None:
    disk = {
        "crs": "+proj=geos +h=35785831 +lon_0=0 +sweep=y",
        "transform": Affine(50000.0, 0.0, -6.2e6, 0.0, -50000.0, 1e6),
    }
    found = predict(profile=disk)
    assert len(found) == 2
    assert found.write(tmp_path / "ships.geojson") == 1
    assert len(json.loads((tmp_path / "ships.geojson").read_text())["features"]) == 1
    assert found.write(tmp_path / "ships.gpkg") == 0


class Camera(GeoReference):
    """Sees nothing on Earth to the right of column 90."""

    def to_map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points of the image in map coordinates."""
        return np.where(points[..., :1] > 90, np.nan, super().to_map(points))


def test_what_the_map_of_the_image_has_no_place_for_is_counted_in_every_format(
    predict: Predict, tmp_path: Path
) -> None:
    """Such as a box beyond the horizon of the camera that took the image."""
    found = predict()
    place = found.georeference
    assert isinstance(place, GeoReference)
    beyond = replace(found, georeference=Camera(place.crs, place.transform))
    assert beyond.write(tmp_path / "ships.csv") == 1
    assert len(beyond.to_geodataframe()) == 1


# Data sets


def test_coco_has_boxes_with_scores(predict: Predict) -> None:
    data = json.loads(json.dumps(predict(("tank", "ship")).to_coco()))
    assert [one["name"] for one in data["categories"]] == ["tank", "ship"]
    assert [(one["width"], one["height"]) for one in data["images"]] == [(160, 128)]
    assert [one["category_id"] for one in data["annotations"]] == [1, 1, 2, 2]
    x1, y1, x2, y2 = SQUARES[0]
    boxes = sorted(one["bbox"] for one in data["annotations"])
    assert boxes[0] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.51)


@pytest.fixture
def supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for the library: it keeps what it is given."""
    module = ModuleType("supervision")
    module.Detections = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", module)


@pytest.mark.usefixtures("supervision")
def test_supervision_has_boxes_in_pixels(predict: Predict) -> None:
    found = predict(("tank", "ship"))
    detections = found.to_supervision()
    assert detections.xyxy.shape == (4, 4)
    assert detections.xyxy.tolist() == [list(one.box) for one in found]
    assert detections.class_id.tolist() == [0, 0, 1, 1]
    assert detections.confidence == pytest.approx([one.score for one in found])
    assert detections.data["class_name"].tolist() == ["tank", "tank", "ship", "ship"]


def test_texts_are_no_boxes(answers: SceneResult) -> None:
    with pytest.raises(ValueError, match="COCO is for boxes, but vqa is answered by a text"):
        answers.to_coco()
    with pytest.raises(ValueError, match="supervision is for boxes"):
        answers.to_supervision()


# Pictures


@pytest.fixture
def ax() -> Any:
    mpl.use("Agg")
    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)


def rectangles(ax: Axes) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def legend_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_a_picture_shows_the_boxes_in_pixels_of_the_image(predict: Predict, ax: Axes) -> None:
    found = predict()
    assert found.plot(ax, max_side=80) is ax
    (image,) = ax.images
    assert image.get_array().shape == (64, 80, 3)
    assert image.get_extent() == [0, 160, 128, 0]
    drawn = [(*one.get_xy(), one.get_x() + one.get_width(), one.get_y() + one.get_height()) for one in rectangles(ax)]
    assert drawn == [pytest.approx(one.box) for one in found]
    assert all(one.get_facecolor()[3] == 0 for one in rectangles(ax))
    assert legend_of(ax) == ["ship"]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 160), (128, 0))


def test_a_picture_of_answers_fills_tiles_by_their_text(answers: SceneResult, ax: Axes) -> None:
    answers.plot(ax)
    colors = [one.get_facecolor() for one in rectangles(ax)]
    assert len(colors) == 6
    assert colors[0] == colors[4] != colors[1] == colors[2]
    assert all(0 < color[3] < 1 for color in colors)
    assert legend_of(ax) == ["two", "none"]


def test_a_picture_without_objects_has_no_legend(predict: Predict) -> None:
    mpl.use("Agg")
    ax = predict(profile={"squares": []}).plot()
    assert rectangles(ax) == []
    assert legend_of(ax) == []
    pyplot.close(ax.figure)
