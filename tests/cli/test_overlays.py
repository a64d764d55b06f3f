# SPDX-License-Identifier: Apache-2.0
"""Pictures of scenes with the boxes that were found."""

from dataclasses import replace

import numpy as np
import pytest
from example_rasters import write_raster
from PIL import Image

from geodit.cli import overlays
from geodit.cli.overlays import plan_overlays, write_overlay
from geodit.data.windows import Window
from geodit.pipelines.answering import Inquiry
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.scenes.job import SceneJob
from geodit.pipelines.scenes.objects import ModelName
from geodit.pipelines.scenes.results import SceneResult
from geodit.pipelines.tile_answers import QueryAnswer, TileAnswers
from geodit.pipelines.tiling import Detection

# Of an image of 600 columns and 300 rows.
BOX = (300.0, 100.0, 500.0, 200.0)


@pytest.fixture
def scene(tmp_path):
    path = write_raster(tmp_path / "scene.tif", np.full((300, 600, 3), 90, np.uint8))
    answer = QueryAnswer("ship", "", True, 0.5, (Detection(BOX, "ship", 0.9, tile=0),))
    tile = TileAnswers(0, Window(0, 0, 300, 600), "answered", (answer,))
    job = SceneJob((str(path),), Inquiry("detect", ("ship",)))
    return SceneResult(str(path), (300, 600), None, job, True, (tile,), MergeOptions(), ModelName("model"))


def drawn_in(path):
    """The size of a picture, and the box around all that was drawn in it."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - 90).max(axis=2) > 20)
    return pixels.shape[:2], (columns.min(), rows.min(), columns.max(), rows.max())


def test_boxes_are_drawn_where_they_are(scene, tmp_path):
    write_overlay(tmp_path / "ships.png", scene)
    (height, width), (_, _, right, bottom) = drawn_in(tmp_path / "ships.png")
    scale = width / 600
    assert height == 300 * scale
    assert (right, bottom) == pytest.approx((500 * scale, 200 * scale), abs=4)


def test_a_large_image_is_drawn_smaller(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(overlays, "_MAX_SIDE", 300)
    write_overlay(tmp_path / "small.png", scene)
    (height, width), (_, _, right, bottom) = drawn_in(tmp_path / "small.png")
    scale = width / 600
    assert height == 300 * scale
    assert (right, bottom) == pytest.approx((500 * scale, 200 * scale), abs=4)


def test_an_answer_by_a_text_is_not_drawn(scene, tmp_path):
    write_overlay(tmp_path / "plain.png", replace(scene, has_boxes=False))
    with Image.open(tmp_path / "plain.png") as picture:
        assert np.ptp(np.asarray(picture.convert("RGB"))) == 0


def test_addresses_have_pictures_too(tmp_path):
    images = ["https://example.org/a.tif", "/vsizip/scenes.zip/b.tif"]
    assert plan_overlays(images, tmp_path / "new") == {
        images[0]: tmp_path / "new" / "a.png",
        images[1]: tmp_path / "new" / "b.png",
    }
