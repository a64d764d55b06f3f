# SPDX-License-Identifier: Apache-2.0
"""The results of a job of several images, whoever has answered its chunks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyogrio
import pytest
from rasterio.transform import Affine, from_origin

from geodit.pipelines.answering import Inquiry
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.scene_pipeline import ScenePipeline
from geodit.pipelines.scenes.collecting import JobResult
from geodit.pipelines.scenes.job import SceneJob, Tiling
from geodit.pipelines.scenes.objects import ModelName
from geodit.pipelines.tile_answers import TileAnswers

# A box of columns 10 to 30 and rows 12 to 28.
SQUARE = (10, 12, 30, 28)
NOWHERE = {"placed": False, "crs": None, "transform": None}
DISK = {"crs": "+proj=geos +h=35785831 +lon_0=0 +sweep=y", "transform": Affine(50000.0, 0.0, -6.2e6, 0.0, -5e4, 1e6)}


@pytest.fixture
def scenes(pipe: GeoDiTPipeline) -> ScenePipeline:
    return ScenePipeline(pipe, name=ModelName("red squares", "v1"))


def job_of(*images: object, **options: Any) -> SceneJob:
    inquiry = Inquiry("detect", ("ship",))
    return SceneJob(tuple(map(str, images)), **({"inquiry": inquiry, "tiling": Tiling(64, 0.5)} | options))


@pytest.fixture
def three(scenes: ScenePipeline, write_scene: Any) -> JobResult:
    """Of three images, of which the second is none."""
    broken = write_scene("b.tif")
    broken.write_bytes(b"hello")
    images = [write_scene("a.tif", [SQUARE]), broken, write_scene("c.tif", [])]
    return scenes.run(job_of(*images, keep_going=True))


def test_there_is_a_result_for_each_image_that_could_be_opened(three: JobResult) -> None:
    assert [Path(scene.image).name for scene in three] == ["a.tif", "c.tif"]
    assert [len(scene) for scene in three] == [1, 0]
    assert len(three) == 2
    assert [Path(image).name for image in three.failures] == ["b.tif"]
    assert not three.is_complete


def test_a_document_names_what_failed(three: JobResult) -> None:
    document = json.loads(json.dumps(three.to_document()))
    assert (document["model"], document["revision"]) == ("red squares", "v1")
    assert (document["task"], document["query"]) == ("detect", "ship")
    assert [Path(one["image"]).name for one in document["predictions"]] == ["a.tif", "c.tif"]
    (failed,) = document["failed"]
    assert Path(failed["image"]).name == "b.tif"
    assert "b.tif" in failed["error"]


def test_a_document_lists_tiles_with_their_windows(three: JobResult) -> None:
    _, prediction = three.to_document()["predictions"]
    assert [tile["tile"] for tile in prediction["tiles"]] == list(range(12))
    assert prediction["tiles"][1]["window"] == [32, 0, 96, 64]
    assert {(tile["status"], tile["text"], tile["parsed"], tile["attempts"]) for tile in prediction["tiles"]} == {
        ("answered", "none", True, 1)
    }


def test_a_document_of_several_queries_has_a_prediction_each(scenes: ScenePipeline, write_scene: Any) -> None:
    result = scenes.run(job_of(write_scene(), inquiry=Inquiry("detect", ("ship", "tank")), tiling=Tiling()))
    document = result.to_document()
    assert document["query"] == ["ship", "tank"]
    assert [one["query"] for one in document["predictions"]] == ["ship", "tank"]
    assert "tiles" not in document["predictions"][0]


def test_a_document_has_the_probabilities_of_tiles(answering_pipe: GeoDiTPipeline, write_scene: Any) -> None:
    inquiry = Inquiry("vqa", ("How many?",), ("two", "none"))
    result = ScenePipeline(answering_pipe).run(job_of(write_scene("a.tif", [SQUARE]), inquiry=inquiry))
    (prediction,) = result.to_document()["predictions"]
    assert prediction["tiles"][0]["choice_probabilities"] == [0.75, 0.25]
    assert prediction["tiles"][4]["choice_probabilities"] == [0.25, 0.75]


def test_coco_holds_all_images(scenes: ScenePipeline, write_scene: Any) -> None:
    data = scenes.run(job_of(write_scene("a.tif", []), write_scene("b.tif", [SQUARE]))).to_coco()
    assert [Path(one["file_name"]).name for one in data["images"]] == ["a.tif", "b.tif"]
    assert [one["image_id"] for one in data["annotations"]] == [2]


def test_layers_of_one_reference_system_stay_in_it(three: JobResult) -> None:
    objects, tiles = three.layers()
    assert (objects.crs, len(objects)) == ("EPSG:32617", 1)
    assert (tiles.crs, len(tiles)) == ("EPSG:32617", 24)


def test_layers_of_several_reference_systems_are_joined_in_wgs_84(
    scenes: ScenePipeline, write_scene: Any, tmp_path: Path
) -> None:
    degrees = {"crs": "EPSG:4326", "transform": from_origin(10.0, 50.0, 1e-5, 1e-5)}
    result = scenes.run(job_of(write_scene("a.tif", [SQUARE]), write_scene("b.tif", [SQUARE], **degrees)))
    assert result.write(tmp_path / "ships.gpkg") == 0
    info = pyogrio.read_info(tmp_path / "ships.gpkg", layer="objects")
    assert (info["crs"], info["features"]) == ("EPSG:4326", 2)
    objects, _ = result.layers()
    assert objects.rings[1].tolist()[0] == pytest.approx([10.000105, 49.999875], abs=1e-5)


def test_what_has_no_place_in_a_joined_layer_is_counted(
    scenes: ScenePipeline, write_scene: Any, tmp_path: Path
) -> None:
    """One square of the disk lies off the Earth."""
    result = scenes.run(job_of(write_scene("a.tif", [SQUARE]), write_scene("disk.tif", **DISK)))
    assert sum(map(len, result)) == 3
    assert result.write(tmp_path / "ships.gpkg") == 1
    assert pyogrio.read_info(tmp_path / "ships.gpkg", layer="objects")["features"] == 2
    assert result.write(tmp_path / "ships.geojson") == 1


def test_images_with_and_without_a_place_have_no_common_layer(scenes: ScenePipeline, write_scene: Any) -> None:
    result = scenes.run(job_of(write_scene("a.tif"), write_scene("b.tif", **NOWHERE)))
    with pytest.raises(ValueError, match="no place on Earth"):
        result.layers()


def test_without_any_image_there_are_no_layers(scenes: ScenePipeline) -> None:
    result = scenes.run(job_of("missing.tif", keep_going=True))
    assert (len(result), list(result.failures)) == (0, ["missing.tif"])
    assert result.to_document()["predictions"] == []
    with pytest.raises(ValueError, match="no image could be opened"):
        result.layers()


def test_answers_are_put_together_in_any_order(scenes: ScenePipeline, write_scene: Any) -> None:
    plan = scenes.plan(job_of(write_scene("a.tif"), write_scene("b.tif"), tiling=Tiling(16, 0.5)))
    answers = scenes.answer(plan)
    assert len(answers) > 2
    fresh = scenes.plan(plan.job)
    assert scenes.collect(fresh, reversed(answers)).to_document() == scenes.collect(plan, answers).to_document()


def test_whole_images_that_others_have_asked_about_are_looked_at(scenes: ScenePipeline, write_scene: Any) -> None:
    plan = scenes.plan(job_of(write_scene(), tiling=Tiling()))
    answers = scenes.answer(plan)
    fresh = scenes.plan(plan.job)
    assert fresh.images == {}
    (scene,) = scenes.collect(fresh, answers)
    assert scene.image_size == (128, 160)
    assert scene.georeference is not None


def test_a_job_that_is_not_finished_has_no_result(scenes: ScenePipeline, write_scene: Any) -> None:
    plan = scenes.plan(job_of(write_scene(), tiling=Tiling(16, 0.5)))
    answers: list[list[TileAnswers]] = scenes.answer(plan, plan.chunks()[:1])
    with pytest.raises(ValueError, match="no answer about tile 64: the job is not finished"):
        scenes.collect(plan, answers)


def test_progress_counts_the_tiles_of_all_images(scenes: ScenePipeline, write_scene: Any) -> None:
    told: list[tuple[int, int]] = []
    scenes.run(
        job_of(write_scene("a.tif"), write_scene("b.tif")), progress=lambda done, total: told.append((done, total))
    )
    assert told == [(number, 24) for number in range(1, 25)]


def test_an_area_that_misses_an_image_gives_it_an_empty_result(
    scenes: ScenePipeline, write_scene: Any, write_area: Any, tmp_path: Path
) -> None:
    elsewhere = write_scene("elsewhere.tif", crs="EPSG:32633")
    tiling = Tiling(64, aoi=write_area((0, 0, 64, 64)))
    result = scenes.run(job_of(elsewhere, write_scene("here.tif", [SQUARE]), tiling=tiling))
    missed, found = result
    assert (missed.tiles, len(missed), missed.prediction.num_tiles) == ((), 0, 0)
    assert len(found) == 1
    assert missed.summary() == {"tiles": {}, "unparsed": 0, "objects": {"ship": {}}}
    assert missed.to_geojson()["features"] == []
    assert result.write(tmp_path / "ships.geojson") == 0
