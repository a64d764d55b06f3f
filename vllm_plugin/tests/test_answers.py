# SPDX-License-Identifier: Apache-2.0
"""What an answer carries: the boxes and scores that `GeoDiTPipeline` gives, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig

from geodit import GeoDiTPipeline, bundled_checkpoint
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit_vllm.answers import facts_of, read_facts
from geodit_vllm.requests import RequestLimits, ServedDefaults, read_request


@pytest.fixture(scope="module")
def pipe():
    return GeoDiTPipeline.from_pretrained("geodit-tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def defaults(pipe):
    checkpoint = str(bundled_checkpoint())
    generation = GeoDiTGenerationConfig.from_pretrained(checkpoint)
    return ServedDefaults(pipe.processor, AutoConfig.from_pretrained(checkpoint), generation, RequestLimits(), 256)


@pytest.fixture(scope="module")
def image():
    path = Path(str(bundled_checkpoint())).parent / "demo_scenes" / "harbor.tif"
    return Image.open(path).convert("RGB").crop((0, 0, 120, 90))


def generated(pipe, defaults, image, **asked):
    """Facts of what `generate()` answers."""
    request = read_request(asked, defaults)
    inputs = pipe.processor(images=image, text=asked.get("query"), task=asked["task"], return_tensors="pt")
    output = pipe.model.generate(
        **inputs,
        max_new_tokens=request.length,
        answer_pattern=request.plan.rules.pattern,
        return_dict_in_generate=True,
    )
    probabilities = output.answer_probabilities
    return facts_of(
        pipe.processor,
        request,
        output.sequences[0, inputs["input_ids"].shape[1] :].tolist(),
        output.confidences[0].numpy(),
        output.end_probabilities[0].numpy(),
        steps=int(output.steps_made[0]),
        image_size=(image.height, image.width),
        commit_steps=output.commit_steps[0].numpy(),
        answer_probabilities=None if probabilities is None else probabilities[0].numpy(),
    )


def test_boxes_and_scores_are_those_of_the_pipeline(pipe, defaults, image):
    (expected,) = pipe(image, "detect", "ship", return_denoising=True)
    facts = generated(pipe, defaults, image, task="detect", query="ship")
    assert expected.boxes
    assert np.allclose(facts["boxes"], expected.boxes)
    assert np.allclose(facts["scores"], expected.scores, atol=1e-5)
    assert facts["labels"] == list(expected.labels)
    assert (facts["text"], facts["parsed"], facts["image_size"]) == (expected.text, expected.parsed, [90, 120])
    assert facts["commit_steps"] == list(expected.denoising.commit_steps)
    assert facts["steps"] == expected.denoising.num_steps
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_choices_have_probabilities(pipe, defaults, image):
    choices = ["harbor", "forest"]
    (expected,) = pipe(image, "classify", choices=choices)
    facts = generated(pipe, defaults, image, task="classify", choices=choices)
    assert facts["text"] == expected.text
    assert facts["choices"] == pytest.approx(expected.choice_probabilities, abs=1e-5)
    assert list(facts["choices"].values()) == facts["answer_probabilities"]


def facts_of_text(pipe, defaults, text, asked, **more):
    request = read_request(asked, defaults)
    ids = pipe.processor.encode_answer(text, request.length)
    ones = np.ones(request.length, dtype=np.float32)
    return facts_of(pipe.processor, request, ids, ones * 0.5, ones * 0.25, steps=8, **more)


def test_what_cannot_be_read_says_so(pipe, defaults):
    asked = {"task": "detect", "query": "ship"}
    facts = facts_of_text(pipe, defaults, "<loc_4><loc_6><loc_20><loc_22><loc_30>", asked, image_size=(64, 64))
    assert facts["parsed"] is False
    assert len(facts["boxes"]) == len(facts["scores"]) == 1


def test_without_a_task_there_is_the_text_and_how_sure_it_is(pipe, defaults):
    facts = facts_of_text(pipe, defaults, "two", {"max_new_tokens": 8})
    assert (facts["task"], facts["text"], facts["parsed"], facts["boxes"]) == (None, "two", None, [])
    assert facts["confidences"] == [0.5] * 8


def test_boxes_without_a_size_are_shares_of_the_sides(pipe, defaults):
    asked = {"task": "detect", "query": "ship"}
    text = "<loc_16><loc_32><loc_32><loc_48>"
    shares, pixels = (facts_of_text(pipe, defaults, text, asked, image_size=size) for size in (None, (200, 100)))
    assert shares["image_size"] is None
    assert np.allclose(np.array(shares["boxes"]) * [100, 200, 100, 200], pixels["boxes"])


def test_numbers_that_json_does_not_have_are_zero(pipe, defaults):
    request = read_request({"max_new_tokens": 2}, defaults)
    facts = facts_of(pipe.processor, request, [20, 0], np.array([np.nan, np.inf]), torch.zeros(2), steps=1)
    assert facts["confidences"] == [0.0, 0.0]


class TestReading:
    FACTS = {"boxes": [[1.0, 2.0, 3.0, 4.0]]}

    def test_a_dictionary(self):
        assert read_facts({"choices": [], "kv_transfer_params": {"geodit": self.FACTS}}) == self.FACTS

    def test_a_request_output(self):
        assert read_facts(SimpleNamespace(kv_transfer_params={"geodit": self.FACTS})) == self.FACTS

    def test_an_object_of_a_client_that_keeps_unknown_fields_aside(self):
        response = SimpleNamespace(model_extra={"kv_transfer_params": {"geodit": self.FACTS}})
        assert read_facts(response) == self.FACTS

    @pytest.mark.parametrize("response", [{}, {"kv_transfer_params": None}, SimpleNamespace(), "text", None])
    def test_nothing(self, response):
        with pytest.raises(ValueError, match="carries no boxes"):
            read_facts(response)
