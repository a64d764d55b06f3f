# SPDX-License-Identifier: Apache-2.0
"""vLLM in place of the model: what pipelines ask is asked the same way, and the answers are the same.

The engine is stood in for by `generate()`, asked one request at a time as the worker reads it.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from geodit import GeoDiTPipeline, ScenePipeline
from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.pipelines.answering import AnswererLostError, Inquiry
from geodit.pipelines.scenes.job import SceneJob, Tiling
from geodit.processing.asking import ImageQuestion
from geodit_vllm.answerer import VllmAnswerer, VllmSpec
from geodit_vllm.answers import facts_of
from geodit_vllm.requests import RequestLimits, ServedDefaults, read_request

pytest.importorskip("vllm")
from vllm.exceptions import VLLMValidationError
from vllm.v1.engine.exceptions import EngineDeadError


@pytest.fixture(scope="module")
def pipe():
    return GeoDiTPipeline.from_pretrained("geodit-tiny", device="cpu", dtype="float32")


class StandIn:
    """Answers like an engine of vLLM."""

    def __init__(self, pipe):
        self.pipe = pipe
        generation = GeoDiTGenerationConfig.from_generation_config(pipe.model.generation_config)
        self.defaults = ServedDefaults(pipe.processor, pipe.model.config, generation, RequestLimits(), 256)
        self.calls = []

    def generate(self, prompts, params, use_tqdm):
        self.calls.append(len(prompts))
        return [self.answer(prompt, one) for prompt, one in zip(prompts, params, strict=True)]

    def answer(self, prompt, params):
        assert prompt["prompt"] == "<image>"
        image = prompt["multi_modal_data"]["image"]
        request = read_request(params.extra_args, self.defaults)
        inputs = self.pipe.processor(images=image, text=request.query, task=request.task, return_tensors="pt")
        output = self.pipe.model.generate(
            **inputs,
            generation_config=request.plan.config,
            answer_pattern=request.plan.rules.pattern,
            return_dict_in_generate=True,
        )
        probabilities = output.answer_probabilities
        facts = facts_of(
            self.pipe.processor,
            request,
            output.sequences[0, inputs["input_ids"].shape[1] :].tolist(),
            output.confidences[0].numpy(),
            output.end_probabilities[0].numpy(),
            steps=int(output.steps_made[0]),
            commit_steps=output.commit_steps[0].numpy(),
            answer_probabilities=None if probabilities is None else probabilities[0].numpy(),
        )
        return SimpleNamespace(kv_transfer_params={"geodit": facts})


@pytest.fixture
def engine(pipe):
    return StandIn(pipe)


@pytest.fixture
def answerer(pipe, engine):
    return VllmAnswerer(pipe.processor, VllmSpec("geodit-tiny"), engine)


def pictures(count=3, size=(70, 90)):
    random = np.random.default_rng(0)
    return [
        ImageQuestion(Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)), number=number)
        for number in range(count)
    ]


def by_number(answers):
    return {(number, query): answer for number, query, answer in answers}


INQUIRIES = {
    "boxes": Inquiry("detect", ("ship", "storage tank"), options=DecodingOptions(max_denoising_steps=4)),
    "boxes of any form": Inquiry(
        "detect", ("ship",), options=DecodingOptions(max_denoising_steps=2, structured=False)
    ),
    "several classes": Inquiry("detect", ("ship; harbor", "ship"), options=DecodingOptions(max_denoising_steps=2)),
    "text": Inquiry("caption", options=DecodingOptions(max_denoising_steps=3)),
    "choices": Inquiry("classify", choices=("harbor", "forest")),
    "drawn": Inquiry("vqa", ("How many ships?",), options=DecodingOptions(temperature=1.0, seed=7)),
    "random order": Inquiry("vqa", ("How many?",), options=DecodingOptions(remasking="random", seed=3)),
    "threshold": Inquiry("caption", options=DecodingOptions(confidence_threshold=0.5)),
}


@pytest.mark.parametrize("name", INQUIRIES)
def test_answers_are_those_of_the_model(pipe, answerer, name):
    inquiry = INQUIRIES[name]
    expected = by_number(pipe.answerer.answer(pictures(), inquiry))
    found = by_number(answerer.answer(pictures(), inquiry))
    assert found.keys() == expected.keys()
    for key, answer in found.items():
        want = expected[key]
        assert (answer.text, answer.parsed, answer.image_size) == (want.text, want.parsed, want.image_size)
        assert [one.box for one in answer.detections] == [one.box for one in want.detections]
        assert np.allclose([one.score for one in answer.detections], [one.score for one in want.detections], atol=1e-5)
        assert answer.denoising.commit_steps == want.denoising.commit_steps
        assert np.allclose(answer.denoising.confidences, want.denoising.confidences, atol=1e-5)
        assert (answer.choice_probabilities is None) == (want.choice_probabilities is None)
        if want.choice_probabilities is not None:
            assert np.allclose(answer.choice_probabilities, want.choice_probabilities, atol=1e-5)


def test_an_expression(pipe, answerer):
    pytest.importorskip("outlines_core")
    inquiry = Inquiry("vqa", ("How many ships?",), pattern="[0-9]+")
    (found,) = answerer.answer(pictures(1), inquiry)
    assert found.answer.text.isdigit()


def test_many_questions_go_to_the_engine_at_once(answerer, engine):
    inquiry = Inquiry("detect", ("ship", "tank"), options=DecodingOptions(max_denoising_steps=1))
    list(answerer.answer(pictures(40, (8, 8)), inquiry))
    assert engine.calls == [64, 16]


class TestSceneJob:
    @pytest.fixture
    def job(self, tmp_path):
        random = np.random.default_rng(1)
        for name in "ab":
            Image.fromarray(random.integers(0, 256, (96, 200, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
        damaged = tmp_path / "c.png"
        damaged.write_bytes((tmp_path / "a.png").read_bytes()[:3000])
        inquiry = Inquiry("detect", ("ship",), options=DecodingOptions(max_denoising_steps=2))
        images = tuple(str(tmp_path / f"{name}.png") for name in "acb")
        return SceneJob(images, inquiry, Tiling(96, 0.0), batch_size=2, keep_going=True)

    def test_the_result_is_that_of_the_model_and_a_damaged_image_a_record_in_it(self, pipe, answerer, job):
        ours, theirs = ScenePipeline(pipe).run(job), ScenePipeline(answerer).run(job)
        assert [len(scene) for scene in theirs] == [len(scene) for scene in ours]
        for scene, expected in zip(theirs, ours, strict=True):
            assert [one.box for one in scene] == [one.box for one in expected]
        assert theirs.failures == ours.failures
        assert len(theirs.failures) >= 1

    def test_a_journal_says_which_engine_has_answered(self, pipe, answerer, job):
        ours, theirs = ScenePipeline(pipe), ScenePipeline(answerer)
        assert theirs.fingerprint(theirs.plan(job))["engine"] == "vllm"
        assert "engine" not in ours.fingerprint(ours.plan(job))


class TestSpec:
    def test_a_refused_question_is_an_error_of_the_job(self, pipe):
        def generate(*args, **kwargs):
            raise VLLMValidationError("too long")

        answerer = VllmAnswerer(pipe.processor, VllmSpec("geodit-tiny"), SimpleNamespace(generate=generate))
        with pytest.raises(VLLMValidationError):
            list(answerer.answer(pictures(1), Inquiry("caption")))

    def test_it_reads_the_processor_only_until_something_is_asked(self):
        spec = VllmSpec("geodit-tiny", engine={"tensor_parallel_size": 2, "dtype": "bfloat16"})
        answerer = spec.load_answerer()
        assert (spec.num_gpus, answerer.dtype, answerer.tile_side) == (2, "bfloat16", 96)
        assert answerer._llm is None

    @pytest.mark.parametrize("options", [{"guidance_scale": 2.0}, {"prefix_refresh_steps": 4}])
    def test_options_that_are_not_served_are_refused_before_the_job(self, answerer, options):
        with pytest.raises(ValueError, match="vLLM"):
            answerer.check(Inquiry("caption", options=DecodingOptions(**options)))

    @pytest.mark.parametrize("error", [EngineDeadError(), RuntimeError("out of memory")])
    def test_an_engine_that_has_ended_is_lost_and_let_go(self, pipe, error):
        def generate(*args, **kwargs):
            raise error

        answerer = VllmAnswerer(pipe.processor, VllmSpec("geodit-tiny"), SimpleNamespace(generate=generate))
        with pytest.raises(AnswererLostError):
            list(answerer.answer(pictures(1), Inquiry("caption")))
        assert answerer._llm is None
