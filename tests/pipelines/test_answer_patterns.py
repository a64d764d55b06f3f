# SPDX-License-Identifier: Apache-2.0
"""Answers that a user restricts; the network has random weights and answers anything."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from geodit.pipelines.image_pipeline import GeoDiTPipeline

IMAGES = [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8) for seed in range(4)]


@pytest.fixture(scope="module")
def pipe(checkpoint: Path, device: torch.device) -> GeoDiTPipeline:
    return GeoDiTPipeline.from_pretrained(checkpoint, device=device)


@pytest.mark.parametrize("temperature", [0.0, 20.0])
def test_every_answer_is_one_of_the_choices(pipe, temperature):
    choices = ["airport", "harbor", "port"]
    predictions = pipe(IMAGES, "classify", choices=choices, temperature=temperature, seed=0, batch_size=3)
    answers = {prediction.text for prediction in predictions}
    assert answers <= set(choices)
    assert all(prediction.parsed for prediction in predictions)
    if temperature:
        assert len(answers) > 1


def test_a_drawn_choice_does_not_depend_on_the_batch(pipe):
    options = {"choices": ["a", "b", "c", "d"], "temperature": 20.0, "seed": 3}
    texts = [[one.text for one in pipe(IMAGES, "vqa", "Which?", batch_size=size, **options)] for size in (1, 4)]
    assert texts[0] == texts[1]


def test_every_answer_matches_the_expression(pipe):
    pytest.importorskip("outlines_core")
    expression = "[1-9][0-9]{0,2}|none"
    plain = pipe(IMAGES, "vqa", "How many?")
    assert not any(re.fullmatch(expression, one.text) for one in plain)
    for prediction in pipe(IMAGES, "vqa", "How many?", pattern=expression, steps=2):
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
