# SPDX-License-Identifier: Apache-2.0
"""The answer about one image goes to a map and to COCO as that about a scene does, and its picture as well."""

from importlib.resources import files

import numpy as np
import pytest

import geodit
from geodit.pipelines.scene_pipeline import ScenePipeline
from geodit.pipelines.scenes.map_picture import map_picture
from geodit.pipelines.scenes.objects import ModelName
from geodit.pipelines.scenes.predictions import prediction_coco, prediction_geojson
from geodit.rasters.georeference import GeoReference
from geodit.rasters.image_source import ArraySource, GeoImage
from geodit.rasters.imagery import open_image

pytest.importorskip("rasterio")

HARBOR = str(files("geodit") / "tiny" / "demo_scenes" / "harbor.tif")
NAME = ModelName("geodit-tiny")


@pytest.fixture(scope="module")
def scenes():
    return ScenePipeline(geodit.bundled_checkpoint(), device="cpu", name=NAME)


@pytest.mark.parametrize(
    ("task", "query"), [("detect", "ship"), ("detect", "none of these"), ("ground", "the rightmost tank")]
)
def test_boxes_are_those_of_a_scene_seen_as_a_whole(scenes, task, query):
    (prediction,) = scenes.pipeline(HARBOR, task, query)
    found = scenes.predict(HARBOR, query, task=task, tile_size=None)
    assert prediction_geojson(prediction, HARBOR, NAME, has_boxes=True) == found.to_geojson()
    ours, theirs = prediction_coco(prediction, HARBOR), found.to_coco()
    assert (ours["images"], ours["annotations"]) == (theirs["images"], theirs["annotations"])


def test_a_text_has_the_outline_of_the_image(scenes):
    (prediction,) = scenes.pipeline(HARBOR, "vqa", "Is there a ship?", choices=["yes", "no"])
    (ours,) = prediction_geojson(prediction, HARBOR, NAME, has_boxes=False)["features"]
    (theirs,) = scenes.predict(
        HARBOR, "Is there a ship?", task="vqa", choices=["yes", "no"], tile_size=None
    ).to_geojson()["features"]
    assert ours == theirs


def test_no_place_no_geojson(scenes):
    (prediction,) = scenes.pipeline(np.zeros((32, 32, 3), np.uint8), "caption")
    with pytest.raises(ValueError, match="no place on Earth"):
        prediction_geojson(prediction, "black.png", NAME, has_boxes=False)


def source(reference, side=64):
    rows, columns = np.mgrid[:side, :side]
    pixels = np.stack([rows * 4 % 256, columns * 4 % 256, 0 * rows], axis=-1).astype(np.uint8)
    return ArraySource(GeoImage(pixels, reference))


def test_the_picture_of_a_map_shows_each_place_where_it_is():
    from pyproj import Transformer

    with open_image(HARBOR) as image:
        drawn = map_picture(image, 384)
        pixels = image.read().pixels
        reference = image.georeference
    to_crs = Transformer.from_crs("EPSG:4326", reference.crs, always_xy=True)
    to_mercator = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    west, south, east, north = drawn.bounds
    (left, bottom), (right, top) = to_mercator.transform(west, south), to_mercator.transform(east, north)
    back = Transformer.from_crs("EPSG:3857", "EPSG:4326", always_xy=True)
    height, width = drawn.pixels.shape[:2]
    for row, column in ((height // 2, width // 2), (height // 3, width // 4), (height - 40, width // 2)):
        x = left + (column + 0.5) * (right - left) / width
        y = top - (row + 0.5) * (top - bottom) / height
        at_x, at_y = reference.to_pixels(np.array(to_crs.transform(*back.transform(x, y))))
        assert drawn.pixels[row, column].tolist() == [*pixels[int(at_y), int(at_x)].tolist(), 255]
    assert (drawn.pixels[..., 3] == 0).any()  # grid north is not north


def test_what_has_no_data_is_seen_through():
    reference = GeoReference("EPSG:3857", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    image = source(reference)
    valid = np.ones((64, 64), bool)
    valid[:32] = False
    drawn = map_picture(ArraySource(GeoImage(image.read().pixels, reference, valid)), 64)
    assert (drawn.pixels[:32, :, 3] == 0).all()
    assert (drawn.pixels[32:, :, 3] == 255).all()


@pytest.mark.parametrize(
    "reference",
    [
        None,
        GeoReference("EPSG:4326", (1.0, 0.0, -10.0, 0.0, -1.0, 100.0)),  # over the pole
        GeoReference("EPSG:4326", (10.0, 0.0, -320.0, 0.0, -0.1, 3.0)),  # around the Earth
    ],
)
def test_what_web_mercator_does_not_show(reference):
    assert map_picture(source(reference)) is None
