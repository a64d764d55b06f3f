# SPDX-License-Identifier: Apache-2.0
"""Answers by boxes, and answers that a user restricts; the network has random weights and answers anything."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.scene_pipeline import ScenePipeline
from geodit.processing import answer_patterns, regular_expressions
from geodit.processing.boxes_geodit import BOX_FORMATS
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.tasks_geodit import DEFAULT_TASKS, Task

IMAGES = [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8) for seed in range(4)]


@pytest.fixture(scope="module")
def pipe(checkpoint: Path, device: torch.device) -> GeoDiTPipeline:
    return GeoDiTPipeline.from_pretrained(checkpoint, device=device)


def pipe_of(box_format, pipe):
    """The same network, with answers in another box format."""
    if box_format != "location_tokens":
        pytest.importorskip("outlines_core")
    parts = pipe.processor
    processor = GeoDiTProcessor(
        parts.image_processor,
        parts.tokenizer,
        parts.chat_template,
        tasks={**DEFAULT_TASKS, "detect": Task("detect", "Detect: {query}.", 72, "boxes")},
        box_format=box_format,
        num_image_tokens=parts.num_image_tokens,
    )
    return GeoDiTPipeline(pipe.model, processor, pipe.model.device)


@pytest.mark.parametrize("temperature", [0.0, 20.0])
def test_every_answer_is_one_of_the_choices(pipe, temperature):
    choices = ["airport", "harbor", "port"]
    predictions = pipe(IMAGES, "classify", choices=choices, temperature=temperature, seed=0, batch_size=3)
    answers = {prediction.text for prediction in predictions}
    assert answers <= set(choices)
    assert all(prediction.parsed for prediction in predictions)
    if temperature:
        assert len(answers) > 1


def test_choices_have_probabilities_and_one_step_takes_the_likeliest(pipe):
    predictions = pipe(IMAGES, "classify", choices=[" harbor", "forest", "airport"], max_denoising_steps=1)
    for prediction in predictions:
        probabilities = prediction.choice_probabilities
        assert list(probabilities) == ["harbor", "forest", "airport"]
        assert sum(probabilities.values()) == pytest.approx(1)
        assert prediction.text == max(probabilities, key=probabilities.get)
        assert prediction.to_dict()["choice_probabilities"] == probabilities


def test_other_answers_have_no_probabilities_of_choices(pipe):
    (prediction,) = pipe(IMAGES[0], "classify")
    assert prediction.choice_probabilities is None
    assert "choice_probabilities" not in prediction.to_dict()


def test_a_drawn_choice_does_not_depend_on_the_batch(pipe):
    options = {"choices": ["a", "b", "c", "d"], "temperature": 20.0, "seed": 3}
    texts = [[one.text for one in pipe(IMAGES, "vqa", "Which?", batch_size=size, **options)] for size in (1, 4)]
    assert texts[0] == texts[1]


def test_every_answer_matches_the_expression(pipe):
    pytest.importorskip("outlines_core")
    expression = "[1-9][0-9]{0,2}|none"
    plain = pipe(IMAGES, "vqa", "How many?")
    assert not any(re.fullmatch(expression, one.text) for one in plain)
    for prediction in pipe(IMAGES, "vqa", "How many?", pattern=expression, max_denoising_steps=2):
        assert re.fullmatch(expression, prediction.text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "classify", "choices": []}, "one or more strings"),
        ({"task": "classify", "choices": ["a"], "pattern": "a"}, "give one of them"),
        ({"task": "classify", "choices": ["very " * 30]}, "an answer at most"),
        ({"task": "detect", "query": "ship", "choices": ["a"]}, "choices is for tasks that are answered by a text"),
        ({"task": "detect", "query": "ship", "pattern": "a", "tile_size": 32}, "pattern is for tasks"),
        ({"task": "classify", "pattern": "a{300}"}, "has at most"),
    ],
)
def test_what_no_answer_can_be_is_refused_before_an_image_is_read(pipe, arguments, message):
    if message == "has at most":
        pytest.importorskip("outlines_core")
    with pytest.raises(ValueError, match=message):
        pipe("no-such-image.png", **arguments)


def test_without_the_library_choices_work_and_expressions_say_what_is_missing(pipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "outlines_core", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert pipe(IMAGES[0], "classify", choices=["harbor"])[0].text == "harbor"
    with pytest.raises(ModuleNotFoundError, match=r"geodit\[structured\]"):
        pipe(IMAGES[0], "classify", pattern="harbor")


@pytest.mark.parametrize("box_format", BOX_FORMATS)
class TestBoxes:
    @pytest.mark.parametrize("options", [{}, {"temperature": 5.0, "seed": 1}, {"remasking": "random", "seed": 2}])
    def test_every_answer_parses_but_for_boxes_without_area(self, pipe, box_format, options):
        pipe = pipe_of(box_format, pipe)
        codec = pipe.processor.box_codec
        for prediction in pipe(IMAGES, "detect", "ship", max_denoising_steps=6, batch_size=3, **options):
            assert re.fullmatch(codec.answer_expression, prediction.text)
            assert prediction.parsed == (len(prediction.boxes) == len(codec.box_ends(prediction.text)))
            assert len(prediction.scores) == len(prediction.boxes)
            if box_format == "location_tokens":
                assert prediction.parsed

    def test_the_free_answer_is_that_of_the_network_alone(self, pipe, box_format):
        pipe = pipe_of(box_format, pipe)
        model, processor = pipe.model, pipe.processor
        free = pipe(IMAGES, "detect", "ship", max_denoising_steps=4, structured=False)
        inputs = processor(images=IMAGES, text=["ship"] * 4, task="detect", return_tensors="pt").to(model.device)
        output = model.generate(**inputs, max_new_tokens=72, max_denoising_steps=4)
        texts = processor.decode_canvas(output[:, inputs["input_ids"].shape[1] :])
        assert [one.text for one in free] == [text.strip() for text in texts]
        assert not any(one.parsed for one in free)

    def test_tiles(self, pipe, box_format, monkeypatch):
        pipe = pipe_of(box_format, pipe)
        compiled = []
        compile_expression = regular_expressions._compile

        def count(expression, *arguments):
            compiled.append(expression)
            return compile_expression(expression, *arguments)

        monkeypatch.setattr(regular_expressions, "_compile", count)
        image = np.concatenate(IMAGES[:2], axis=1)
        codec = pipe.processor.box_codec
        for _ in range(2):
            (prediction,) = pipe(
                image, "detect", "ship", max_denoising_steps=4, tile_size=32, overlap=0.0, batch_size=1
            )
            texts = prediction.text.split("\n")
            assert prediction.num_tiles == 2
            assert prediction.parsed
            assert all(re.fullmatch(codec.answer_expression, text) for text in texts)
        assert compiled == ([] if box_format == "location_tokens" else [codec.answer_expression])
        (free,) = pipe(image, "detect", "ship", max_denoising_steps=4, tile_size=32, overlap=0.0, structured=False)
        assert free.num_unparsed_tiles == 2

    def test_several_classes_are_answered_freely(self, pipe, box_format):
        pipe = pipe_of(box_format, pipe)
        structured, free = (
            pipe(IMAGES, "detect", "ship, harbor", max_denoising_steps=4, structured=structured)
            for structured in (True, False)
        )
        assert [one.text for one in structured] == [one.text for one in free]

    def test_a_box_that_fits_no_canvas_is_refused_before_an_image_is_read(self, pipe, box_format):
        pipe = pipe_of(box_format, pipe)
        if box_format == "location_tokens":
            pipe.processor.tasks["ground"] = Task("ground", "Locate: {query}.", 3, "boxes")
        with pytest.raises(ValueError, match="give the task a larger max_new_tokens"):
            pipe("no-such-image.png", "ground", "the ship")

    def test_without_the_library_answers_are_free_and_a_warning_says_so_once(self, pipe, box_format, monkeypatch):
        warnings = []
        monkeypatch.setattr(answer_patterns.logger, "warning", warnings.append)
        pipe = pipe_of(box_format, pipe)
        free = pipe(IMAGES, "detect", "ship", max_denoising_steps=4, structured=False)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        for _ in range(2):
            answers = pipe(IMAGES, "detect", "ship", max_denoising_steps=4)
        if box_format == "location_tokens":
            assert warnings == []
            assert all(one.parsed for one in answers)
        else:
            assert len(warnings) == 1
            assert [one.text for one in answers] == [one.text for one in free]


def test_scenes(pipe, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "scene.tif"
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10.0, 0.0, 5e5, 0.0, -10.0, 5e6)}
    with rasterio.open(path, "w", driver="GTiff", width=32, height=32, count=3, dtype="uint8", **place) as file:
        file.write(np.moveaxis(IMAGES[0], 2, 0))
    scenes = ScenePipeline(pipe)
    assert scenes(path, "ship", tile_size=32).prediction.parsed
    assert not scenes(path, "ship", tile_size=32, structured=False).prediction.parsed
