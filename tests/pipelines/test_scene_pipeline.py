# SPDX-License-Identifier: Apache-2.0
"""From a georeferenced raster to features on a map."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform

from geodit.configuration.decoding_options import DecodingOptions
from geodit.pipelines.answering import Inquiry
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.scene_pipeline import ScenePipeline
from geodit.pipelines.scenes.job import SceneJob
from geodit.processing.box_scores import BOX_SCORES
from geodit.rasters.raster import RasterSource

SQUARES = [(10, 12, 30, 28), (100, 90, 124, 110)]


def write_scene(path: Path, pixels: NDArray[np.uint8], crs: str = "EPSG:32617", affine: Affine | None = None) -> Path:
    profile = {
        "driver": "GTiff",
        "count": 3,
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "dtype": "uint8",
    }
    place = from_origin(400000.0, 3285000.0, 0.5, 0.5) if affine is None else affine
    with rasterio.open(path, "w", crs=crs, transform=place, **profile) as dataset:
        dataset.write(np.moveaxis(pixels, -1, 0))
    return path


@pytest.fixture
def scene(tmp_path: Path, draw: Any) -> Path:
    return write_scene(tmp_path / "scene.tif", draw.scene(128, 160, SQUARES))


def signed_area(ring: list[list[float]]) -> float:
    x, y = np.array(ring).T
    x, y = x - x[0], y - y[0]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def test_detections_are_in_pixels_and_on_the_scenes_own_map(pipe: GeoDiTPipeline, scene: Path) -> None:
    found = ScenePipeline(pipe)(scene, "ship", tile_size=64, overlap=0.5)
    boxes = sorted(found.prediction.boxes)
    assert np.allclose(boxes, SQUARES, atol=0.51)
    assert found.georeference.crs == "EPSG:32617"
    assert found.prediction.map_boxes is not None
    expected = [(400005.0, 3284986.0, 400015.0, 3284994.0), (400050.0, 3284945.0, 400062.0, 3284955.0)]
    assert np.allclose(sorted(found.prediction.map_boxes), expected, atol=0.26)


def test_geojson_follows_rfc_7946(pipe: GeoDiTPipeline, scene: Path) -> None:
    collection = json.loads(json.dumps(ScenePipeline(pipe)(scene, "ship", tile_size=64, overlap=0.5).to_geojson()))
    assert sorted(collection) == ["features", "type"]
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == 2
    for feature in collection["features"]:
        assert sorted(feature) == ["geometry", "properties", "type"]
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert len(ring) == 5
        assert ring[0] == ring[-1]
        assert signed_area(ring) > 0
        x1, y1 = feature["properties"]["x1"], feature["properties"]["y1"]
        (longitude,), (latitude,) = transform("EPSG:32617", "EPSG:4326", [400000 + x1 / 2], [3285000 - y1 / 2])
        # The first corner is the upper left one. A degree in the eighth decimal is a millimetre.
        assert ring[0] == pytest.approx([longitude, latitude], abs=2e-8)
        assert feature["properties"]["label"] == "ship"
        assert 0 < feature["properties"]["score"] <= 1


def test_rings_of_a_turned_raster_run_counter_clockwise_too(pipe: GeoDiTPipeline, tmp_path: Path, draw: Any) -> None:
    # South up: rows run to the north, which turns the rings round.
    south_up = Affine(0.5, 0.0, 400000.0, 0.0, 0.5, 3285000.0)
    path = write_scene(tmp_path / "scene.tif", draw.scene(64, 64, SQUARES[:1]), affine=south_up)
    (feature,) = ScenePipeline(pipe)(path, "ship", tile_size=64).to_geojson()["features"]
    assert signed_area(feature["geometry"]["coordinates"][0]) > 0


def test_scene_in_longitude_and_latitude(pipe: GeoDiTPipeline, tmp_path: Path, draw: Any) -> None:
    degrees = from_origin(10.0, 50.0, 0.001, 0.001)
    path = write_scene(tmp_path / "scene.tif", draw.scene(64, 64, SQUARES[:1]), "EPSG:4326", degrees)
    (feature,) = ScenePipeline(pipe)(path, "ship", tile_size=64).to_geojson()["features"]
    assert feature["geometry"]["coordinates"][0][0] == pytest.approx([10.0105, 49.9875], abs=1e-6)


def test_nothing_found(pipe: GeoDiTPipeline, tmp_path: Path, draw: Any) -> None:
    path = write_scene(tmp_path / "scene.tif", draw.scene(64, 64, []))
    assert ScenePipeline(pipe)(path, "ship", tile_size=64).to_geojson()["features"] == []


def test_only_tiles_are_read(pipe: GeoDiTPipeline, scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = []
    read = RasterSource._read

    def spy(source: RasterSource, window: Any) -> Any:
        windows.append(window)
        return read(source, window)

    monkeypatch.setattr(RasterSource, "_read", spy)
    progress: list[tuple[int, int]] = []
    ScenePipeline(pipe)(
        scene,
        "ship",
        tile_size=64,
        overlap=0.0,
        batch_size=4,
        options=DecodingOptions(max_denoising_steps=2),
        progress=lambda done, total: progress.append((done, total)),
    )
    assert {(window.height, window.width) for window in windows} == {(64, 64)}
    assert progress == [(count, 6) for count in range(1, 7)]


def test_image_without_a_place_is_refused(pipe: GeoDiTPipeline, tmp_path: Path, draw: Any) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(draw.scene(64, 64, [])).save(path)
    with pytest.raises(ValueError, match=r"photo\.png has no place on Earth"):
        ScenePipeline(pipe)(path, "ship", tile_size=64)


class TestPredict:
    def test_has_boxes_of_all_queries(self, pipe: GeoDiTPipeline, scene: Path) -> None:
        found = ScenePipeline(pipe).predict(scene, queries=["ship", "tank"], tile_size=64, overlap=0.5)
        assert [one.query for one in found] == ["ship", "ship", "tank", "tank"]

    def test_sees_tiles_of_the_size_of_the_training(self, pipe: GeoDiTPipeline, scene: Path) -> None:
        found = ScenePipeline(pipe).predict(scene, "ship", overlap=0.5)
        assert {tile.window[2:] for tile in found.tiles} == {(64, 64)}
        assert np.allclose(sorted(one.box for one in found), SQUARES, atol=0.51)

    def test_needs_no_place_on_earth(self, pipe: GeoDiTPipeline, tmp_path: Path, draw: Any) -> None:
        path = tmp_path / "photo.png"
        Image.fromarray(draw.scene(64, 64, SQUARES[:1])).save(path)
        found = ScenePipeline(pipe).predict(path, "ship")
        assert [one.box for one in found] == [pytest.approx(SQUARES[0], abs=0.51)]
        assert found.georeference is None

    @pytest.mark.parametrize("full_image", [False, True])
    def test_an_object_larger_than_a_tile_is_found_once(
        self, pipe: GeoDiTPipeline, tmp_path: Path, draw: Any, full_image: bool
    ) -> None:
        """Its pieces are joined, and a look at the whole image adds no second box."""
        large, small = (4, 4, 156, 116), (200, 40, 220, 60)
        path = write_scene(tmp_path / "scene.tif", draw.scene(128, 240, [large, small]))
        found = ScenePipeline(pipe).predict(path, "ship", tile_size=64, overlap=0.0, full_image=full_image)
        boxes = sorted(one.box for one in found)
        assert boxes == [pytest.approx(large, abs=4), pytest.approx(small, abs=4)]
        assert len(found.tiles) == 8 + full_image

    def test_a_task_of_one_box_is_about_the_whole_image(self, pipe: GeoDiTPipeline, scene: Path) -> None:
        with pytest.raises(ValueError, match="tile_size is for tasks that list objects"):
            ScenePipeline(pipe).predict(scene, "the ship", task="ground")
        assert len(ScenePipeline(pipe).predict(scene, "the ship", task="ground", tile_size=None).tiles) == 1

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"queries": []}, "nothing to ask"),
            ({"queries": ["ship", "ship"]}, "twice"),
            ({"queries": ""}, "detect"),
            ({"queries": "ship", "task": "segment"}, "segment"),
            ({"queries": "ship", "choices": ["yes"]}, "answered by boxes"),
            ({"queries": "ship", "overlap": 1.0}, "overlap"),
            ({"queries": "ship", "batch_size": 0}, "batch_size"),
            ({"queries": "ship", "gsd": -1.0}, "gsd"),
            ({"queries": "ship", "aoi": "missing.geojson"}, "missing.geojson cannot be read"),
            ({"queries": "ship", "bands": [7, 8, 9]}, "bands"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, pipe: GeoDiTPipeline, scene: Path, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            ScenePipeline(pipe).predict(scene, **options)


def test_a_pipeline_has_its_device_already(pipe: GeoDiTPipeline) -> None:
    with pytest.raises(ValueError, match="leave out device"):
        ScenePipeline(pipe, device="cpu")


def test_answers_depend_on_how_boxes_are_scored(model: Any, processor: Any, device: Any, scene: Path) -> None:
    job = SceneJob((str(scene),), Inquiry("detect", ("ship",)))
    first, second = (
        ScenePipeline(GeoDiTPipeline(model, processor, device, box_score=name)) for name in sorted(BOX_SCORES)[:2]
    )
    assert first.fingerprint(first.plan(job)) != second.fingerprint(second.plan(job))
    assert first.fingerprint(first.plan(job)) == first.fingerprint(first.plan(job))
