# SPDX-License-Identifier: Apache-2.0
"""Example predictions: what the model answers, kept and shown."""

import json
import re

import pytest
import torch
from PIL import Image

from geodit.hub_cards.card.examples import EXAMPLES_FILE, examples_table, read_examples, write_examples
from geodit.hub_cards.card.model_card import build_model_card
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.pipelines.visualization import draw_answer
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.tasks_geodit import DEFAULT_TASKS, Task
from geodit.weights.bundled import bundled_checkpoint


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """The answers of the bundled checkpoint, in a folder of their own."""
    model = GeoDiTForMaskedDiffusion.from_pretrained(bundled_checkpoint(), dtype=torch.float32)
    processor = GeoDiTProcessor.from_pretrained(bundled_checkpoint())
    folder = tmp_path_factory.mktemp("examples")
    return folder, write_examples(folder, model, processor, draw_answer)


def test_every_question_about_every_bundled_scene_is_answered(answered):
    _, examples = answered
    assert len(examples) == 15
    assert {example.scene for example in examples} == {"harbor", "airport", "residential"}
    scenes = {example.scene: example for example in examples if example.task == "classify"}
    assert scenes["harbor"].answer == scenes["harbor"].truth == "harbor"
    (ships,) = [example for example in examples if example.query == "How many ships are there?"]
    assert ships.truth == "2"


def test_what_was_kept_is_read_back(answered):
    folder, examples = answered
    assert read_examples(folder) == examples
    table = examples_table(examples)
    assert table.header == ("scene", "task", "question", "answer", "truth")
    assert len(table.rows) == 15


def test_detections_are_drawn_at_a_size_for_a_card(answered):
    folder, examples = answered
    pictures = [example.picture for example in examples if example.picture]
    assert sorted(pictures) == [f"assets/example-{name}.jpg" for name in ("airport", "harbor", "residential")]
    for picture in pictures:
        assert (folder / picture).stat().st_size < 100_000
        with Image.open(folder / picture) as image:
            assert image.format == "JPEG"


def test_they_stand_in_the_card(bare, answered):
    folder, _ = answered
    (bare / "assets").mkdir()
    for path in (folder / "assets").iterdir():
        (bare / "assets" / path.name).write_bytes(path.read_bytes())
    text = build_model_card(bare).text
    assert "![harbor: boxes that the model gives for tank, and the true ones](assets/example-harbor.jpg)" in text
    assert "| harbor | vqa | How many ships are there? | `" in text


def test_without_examples_there_is_no_table(tmp_path):
    assert read_examples(tmp_path) == []
    assert examples_table([]) is None


def test_a_second_call_replaces_the_first(checkpoint, tmp_path):
    model = GeoDiTForMaskedDiffusion.from_pretrained(checkpoint)
    processor = GeoDiTProcessor.from_pretrained(checkpoint)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "example-old.jpg").touch()
    (tmp_path / "assets" / "mine.png").touch()
    write_examples(tmp_path, model, processor)
    assert {path.name for path in (tmp_path / "assets").iterdir()} == {"examples.json", "mine.png"}
    assert all(example.picture is None for example in read_examples(tmp_path))


@pytest.fixture
def number_processor(checkpoint):
    """Boxes are written as numbers; the canvas of `ground` has no room for one."""
    parts = GeoDiTProcessor.from_pretrained(checkpoint)
    return GeoDiTProcessor(
        parts.image_processor,
        parts.tokenizer,
        parts.chat_template,
        tasks={**DEFAULT_TASKS, "detect": Task("detect", "Detect: {query}.", 48, "boxes")},
        box_format="integers_100",
        num_image_tokens=parts.num_image_tokens,
    )


def test_boxes_are_answered_by_their_pattern(checkpoint, number_processor, tmp_path, monkeypatch):
    pytest.importorskip("outlines_core")
    model = GeoDiTForMaskedDiffusion.from_pretrained(checkpoint)
    location_tokens = write_examples(tmp_path, model, GeoDiTProcessor.from_pretrained(checkpoint))
    boxes = r"none|\[\d+, \d+, \d+, \d+\](?: \[\d+, \d+, \d+, \d+\])*"
    for example in location_tokens:
        if example.task in ("detect", "ground"):
            assert re.fullmatch(boxes, example.answer)
    # Numbers may be boxes without an area, which stand here as they were written.
    structured = [one for one in write_examples(tmp_path, model, number_processor) if one.task == "detect"]
    assert structured
    assert all(re.fullmatch(boxes, one.answer) for one in structured)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    free = [one for one in write_examples(tmp_path, model, number_processor) if one.task == "detect"]
    assert not any(re.fullmatch(boxes, one.answer) for one in free)


@pytest.mark.parametrize("picture", ["/etc/passwd", "assets/../config.json", "assets/missing.jpg", "README.md"])
def test_a_picture_elsewhere_is_refused(tmp_path, picture):
    example = {"scene": "a", "task": "detect", "query": "", "answer": "", "truth": "", "picture": picture}
    (tmp_path / "assets").mkdir()
    (tmp_path / "README.md").touch()
    (tmp_path / "config.json").touch()
    (tmp_path / EXAMPLES_FILE).write_text(json.dumps({"examples": [example]}))
    with pytest.raises(ValueError, match=r"examples\[0\]\.picture is no file in assets"):
        read_examples(tmp_path)
