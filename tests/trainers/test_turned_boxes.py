# SPDX-License-Identifier: Apache-2.0
"""A turned box, all the way: from a file of DOTA to a model that answers with its angle, and a polygon on a map."""

import json
import math

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image, ImageDraw

from geodit.annotations.formats.registry import find_format
from geodit.annotations.importing import ImportOptions, import_annotations
from geodit.annotations.stored import read_split
from geodit.annotations.tiles import TileOptions
from geodit.data.schema import QuestionDataset
from geodit.evaluation.answers import AnswerRecord, read_answer
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.scene_pipeline import ScenePipeline
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.tasks_geodit import DEFAULT_TASKS, Task
from geodit.processing.turned_boxes_geodit import oriented_box_of
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.runs.canvas_lengths import longest_answers

SIDE = 96
# Of a ship, in pixels: 60 long and 15 wide, its right end lower.
SHIP = ((26.0, 30.0), (77.96, 60.0), (70.46, 72.99), (18.5, 42.99))
ANSWER = "{<19><46><81><61>|<30>}"
PLACE = rasterio.Affine(0.5, 0, 590000, 0, -0.5, 5755000)


@pytest.fixture
def dota(tmp_path):
    """A GeoTIFF of one ship, and what DOTA writes of it."""
    image = Image.new("RGB", (SIDE, SIDE), (60, 80, 90))
    ImageDraw.Draw(image).polygon(SHIP, (240, 240, 230))
    folder = tmp_path / "dota"
    for name in ("images", "labelTxt"):
        (folder / name).mkdir(parents=True)
    profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": 3, "dtype": "uint8"}
    with rasterio.open(folder / "images/a.tif", "w", crs="EPSG:32631", transform=PLACE, **profile) as dataset:
        dataset.write(np.moveaxis(np.asarray(image), -1, 0))
    numbers = " ".join(f"{value}" for point in SHIP for value in point)
    (folder / "labelTxt/a.txt").write_text(f"imagesource:GoogleEarth\ngsd:0.5\n{numbers} ship 0\n")
    return folder


@pytest.fixture
def questions(dota, tmp_path):
    """The data set that is made of it: one question about the tile that the image is."""
    options = ImportOptions(TileOptions(size=SIDE), tasks=("detect",), shares={"train": 1.0}, find_duplicates=False)
    import_annotations(find_format(dota).read(dota, images=None), tmp_path / "ships", options)
    return QuestionDataset(read_split(tmp_path / "ships", "train"))


@pytest.fixture
def model_and_processor(make_model):
    """A tiny model that writes boxes as GeoChat does."""
    model, parts = make_model()
    tasks = {**DEFAULT_TASKS, "detect": Task("detect", "Detect: {query}.", 32, "boxes")}
    processor = GeoDiTProcessor(
        parts.image_processor,
        parts.tokenizer,
        parts.chat_template,
        tasks=tasks,
        box_format="geochat",
        num_image_tokens=parts.num_image_tokens,
    )
    return model, processor


def overlap(one, other):
    return one.intersection(other).area / one.union(other).area


def test_the_data_set_has_the_corners_of_the_source(questions):
    (item,) = questions
    question = item["question"]
    assert question.query == "ship"
    assert np.array(question.corners[0]) == pytest.approx(np.array(SHIP))
    assert question.boxes[0] == pytest.approx(shapely.Polygon(SHIP).bounds)


def test_a_batch_has_the_angle(questions, model_and_processor):
    _, processor = model_and_processor
    (item,) = questions
    batch = GeoDiTDataCollator(processor)([item])
    canvas = batch["labels"][batch["labels"] != -100]
    assert processor.decode_canvas(canvas) == ANSWER


def test_canvases_are_long_enough_for_the_angle(questions, model_and_processor):
    _, processor = model_and_processor
    length = len(processor.tokenizer(ANSWER, add_special_tokens=False)["input_ids"])
    assert longest_answers(questions.dataset, processor) == {"detect": length}


def test_an_answer_is_kept_with_its_corners(questions, model_and_processor):
    _, processor = model_and_processor
    (item,) = questions
    record = read_answer(processor, item, ANSWER, 1)
    (corners,) = record.corners
    assert overlap(shapely.Polygon(corners), shapely.Polygon(SHIP)) > 0.95
    assert AnswerRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    upright = read_answer(processor, item, "{<10><20><30><40>|<0>}", 1)
    assert upright.corners == ()
    assert "corners" not in upright.to_dict()
    assert AnswerRecord.from_dict(json.loads(json.dumps(upright.to_dict()))) == upright


def test_a_model_learns_the_angle_and_puts_the_ship_on_the_map(
    questions, model_and_processor, make_trainer, dota, device, tmp_path
):
    model, processor = model_and_processor
    items = [questions[0]] * 16
    trainer = make_trainer(
        model,
        processor,
        items,
        tmp_path / "run",
        per_device_train_batch_size=16,
        max_steps=150,
        learning_rate=5e-3,
        lr_scheduler_type="constant",
        warmup_steps=0,
        logging_steps=50,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert all(map(math.isfinite, losses))

    scenes = ScenePipeline(GeoDiTPipeline(model, processor, device))
    # With the pattern of boxes, where there is a library for it, and without.
    for structured in (True, False):
        found = scenes.predict(dota / "images/a.tif", "ship", tile_size=None, structured=structured)
        (ship,) = found
        assert ship.text == ANSWER
    assert oriented_box_of(ship.corners).angle == pytest.approx(30)
    assert ship.box == pytest.approx(shapely.Polygon(ship.corners).bounds)

    corners = np.array(SHIP) @ np.array([[0.5, 0.0], [0.0, -0.5]]) + np.array([590000, 5755000])
    on_map = geopandas.GeoSeries([shapely.Polygon(corners)], crs="EPSG:32631").to_crs("EPSG:4326")[0]
    (feature,) = found.to_geojson()["features"]
    polygon = shapely.geometry.shape(feature["geometry"])
    assert len(polygon.exterior.coords) == 5
    assert polygon.exterior.is_ccw
    assert overlap(polygon, on_map) > 0.95
    assert overlap(polygon, shapely.box(*on_map.bounds)) < 0.5
