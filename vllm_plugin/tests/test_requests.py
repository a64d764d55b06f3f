# SPDX-License-Identifier: Apache-2.0
"""What a request asks for: the names of `generate()`, checked, with a sentence for everything that is wrong."""

from __future__ import annotations

import contextlib
import json
import re
import time

import pytest
from transformers import AutoConfig

from geodit import bundled_checkpoint
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.regular_expressions import CompileTimeoutError, regular_expression_pattern
from geodit_vllm import requests
from geodit_vllm.requests import (
    ADMITTED,
    RequestLimits,
    ServedDefaults,
    check_names,
    pack_expression,
    read_request,
    served_defaults,
)

NAN, INFINITY = float("nan"), float("inf")


def make_defaults(limits=None, **generation):
    checkpoint = str(bundled_checkpoint())
    return ServedDefaults(
        GeoDiTProcessor.from_pretrained(checkpoint),
        AutoConfig.from_pretrained(checkpoint),
        GeoDiTGenerationConfig.from_pretrained(checkpoint, **generation),
        limits or RequestLimits(),
        256,
    )


@pytest.fixture(scope="module")
def defaults():
    return make_defaults()


class TestWhatIsLeftOpen:
    def test_the_checkpoint_decides(self, defaults):
        request = read_request(None, defaults)
        assert (request.length, request.plan.config.max_denoising_steps) == (32, 8)
        assert (request.task, request.query, request.choices) == (None, "", ())
        assert request.plan.rules.pattern is None
        assert not request.draws

    def test_a_task_decides_on_the_length_and_the_form(self, defaults):
        request = read_request({"task": "ground", "query": " the largest ship "}, defaults)
        assert (request.length, request.task, request.query) == (8, "ground", "the largest ship")
        assert request.plan.rules.pattern == defaults.processor.answer_pattern("ground", "ship")

    def test_boxes_of_several_classes_have_no_pattern(self, defaults):
        assert read_request({"task": "detect", "query": "ship; harbor"}, defaults).plan.rules.pattern is None

    def test_boxes_of_any_form(self, defaults):
        assert (
            read_request({"task": "detect", "query": "ship", "structured": False}, defaults).plan.rules.pattern is None
        )

    def test_a_length_that_is_given_goes_before_that_of_the_task(self, defaults):
        assert read_request({"task": "vqa", "query": "How many?", "max_new_tokens": 12}, defaults).length == 12


class TestDecoding:
    def test_all_that_generate_takes(self, defaults):
        request = read_request(
            {
                "max_new_tokens": 24,
                "max_denoising_steps": 12,
                "block_length": 4,
                "initial_canvas_length": 8,
                "fill_after_eos": False,
                "remasking": "low_margin",
                "confidence_threshold": 0.8,
                "temperature": 0.5,
                "seed": 3,
                "suppress_tokens": [20, 21],
            },
            defaults,
        )
        config = request.plan.config
        assert (config.block_length, config.initial_canvas_length, config.fill_after_eos) == (4, 8, False)
        assert (config.remasking, config.confidence_threshold, config.temperature) == ("low_margin", 0.8, 0.5)
        assert (request.seed, request.draws, config.suppress_tokens) == (3, True, [20, 21])
        assert len(request.plan.blocks) == config.num_blocks

    def test_truth_values_may_come_as_numbers(self, defaults):
        assert read_request({"fill_after_eos": 0}, defaults).plan.config.fill_after_eos is False

    def test_what_vllm_and_admission_add_changes_nothing(self, defaults):
        added = {"diffusion_canvas_length": 99, ADMITTED: {"image_size": [30, 40]}}
        request = read_request(added, defaults)
        assert (request.length, request.image_size) == (32, (30, 40))

    def test_a_request_goes_to_another_process_and_is_read_there_as_here(self, defaults):
        asked = {"task": "detect", "query": "ship", "remasking": "random", "seed": 5}
        here, there = read_request(asked, defaults), read_request(json.loads(json.dumps(asked)), make_defaults())
        assert here.plan.rules.pattern == there.plan.rules.pattern
        assert here.plan.blocks == there.plan.blocks
        assert (here.length, here.seed) == (there.length, there.seed)


class TestPatterns:
    def test_choices(self, defaults):
        request = read_request({"task": "classify", "choices": ["harbor", "forest"]}, defaults)
        assert request.choices == ("harbor", "forest")
        assert request.plan.num_answers == 2

    def test_the_same_choices_are_one_pattern_that_is_made_once(self, defaults):
        asked = {"choices": ["harbor", "forest"]}
        first, second = read_request(asked, defaults), read_request(asked, defaults)
        assert first.plan.rules.pattern is second.plan.rules.pattern

    def test_an_expression_is_compiled_once_and_sent_along(self, defaults, monkeypatch):
        asked = {"pattern": "[0-9]{1,3}"}
        here = read_request(asked, defaults)
        assert here.plan.rules.pattern == regular_expression_pattern("[0-9]{1,3}", defaults.processor.tokenizer)
        sent = {**asked, ADMITTED: {"automaton": pack_expression(asked, defaults)}}
        worker = make_defaults()
        monkeypatch.setattr(requests, "compile_expression", None)
        there = read_request(sent, worker)
        assert there.plan.rules.pattern == here.plan.rules.pattern

    def test_an_expression_in_use_is_sent_along_however_many_come_between(self):
        defaults = make_defaults(RequestLimits(max_patterns=2))
        for expression in ("a", "b", "a", "c", "a"):
            read_request({"pattern": expression}, defaults)
            assert pack_expression({"pattern": expression}, defaults) is not None
        with pytest.raises(ValueError, match="ask again"):
            pack_expression({"pattern": "b"}, defaults)

    def test_a_slow_moment_is_no_refusal_for_good(self, monkeypatch):
        defaults = make_defaults()

        def be_slow(*args, **kwargs):
            raise CompileTimeoutError("too large an automaton")

        with monkeypatch.context() as patch:
            patch.setattr(requests, "compile_expression", be_slow)
            with pytest.raises(ValueError, match="too large"):
                read_request({"pattern": "[ab]"}, defaults)
        assert read_request({"pattern": "[ab]"}, defaults).plan.rules.pattern is not None

    def test_few_patterns_are_kept(self):
        defaults = make_defaults(RequestLimits(max_patterns=2))
        for text in ("a", "b", "c", "d"):
            read_request({"choices": [text]}, defaults)
        assert len(defaults.patterns._kept) == 2

    def test_a_refusal_is_kept_as_well(self, monkeypatch):
        defaults = make_defaults()
        with pytest.raises(ValueError, match="is invalid"):
            read_request({"pattern": "("}, defaults)
        monkeypatch.setattr(requests, "compile_expression", None)
        with pytest.raises(ValueError, match="is invalid"):
            read_request({"pattern": "("}, defaults)

    @pytest.mark.parametrize(
        "expression",
        ["(a+)+$", "(?:a|b)*a(?:a|b){14}", "(?:[a-z]{1,50}){1,50}", ".{1,499}", "(" * 200, "[0-9a-z]{1,300}"],
    )
    def test_expressions_that_explode_are_refused_soon_or_harmless(self, expression):
        defaults = make_defaults(RequestLimits(compile_seconds=3, max_states=300))
        began = time.monotonic()
        with contextlib.suppress(ValueError):
            pattern = read_request({"pattern": expression}, defaults).plan.rules.pattern
            assert pattern.num_states <= 300
        assert time.monotonic() - began < 20  # of which 3 are the compiler's

    def test_a_compiler_that_fails_is_the_requests_fault(self, monkeypatch):
        def fail(*args, **kwargs):
            raise RuntimeError("killed")

        monkeypatch.setattr(requests, "compile_expression", fail)
        with pytest.raises(ValueError, match="does not compile"):
            read_request({"pattern": "a"}, make_defaults())


WRONG = {
    "unknown": ({"max_denoising_stepz": 4}, "Did you mean max_denoising_steps"),
    "guidance": ({"guidance_scale": 2.0}, "guidance is not served"),
    "caches": ({"use_cache": True}, "leave it out"),
    "length 0": ({"max_new_tokens": 0}, "max_new_tokens must be an integer >= 1"),
    "negative length": ({"max_new_tokens": -5}, "max_new_tokens must be an integer >= 1"),
    "huge length": ({"max_new_tokens": 2**40}, "at most 256"),
    "length as text": ({"max_new_tokens": "32"}, "max_new_tokens must be an integer"),
    "length as float": ({"max_new_tokens": 32.0}, "max_new_tokens must be an integer"),
    "truth for a number": ({"max_new_tokens": True}, "max_new_tokens must be an integer"),
    "huge steps": ({"max_denoising_steps": 10**9, "block_length": 1}, "at most 1024"),
    "NaN steps": ({"max_denoising_steps": NAN}, "max_denoising_steps must be an integer"),
    "too few steps": ({"block_length": 1}, "too few"),
    "block 0": ({"block_length": 0}, "block_length must be"),
    "start": ({"initial_canvas_length": 64}, "initial_canvas_length must be at most"),
    "remasking": ({"remasking": "nothing"}, "remasking must be one of"),
    "long remasking": ({"remasking": "x" * 10_000}, "remasking has 10000 characters"),
    "NaN threshold": ({"confidence_threshold": NAN}, "confidence_threshold must be a finite number"),
    "infinite bound": ({"entropy_bound": INFINITY, "remasking": "high_entropy"}, "entropy_bound must be a finite"),
    "bound without entropy": ({"entropy_bound": 0.1}, "entropy_bound needs remasking"),
    "infinite temperature": ({"temperature": INFINITY}, "temperature must be a finite number"),
    "negative temperature": ({"temperature": -1}, "temperature must be a finite number"),
    "tiny temperature": ({"temperature": 1e-300}, "at least 0.01"),
    "negative seed": ({"seed": -2}, "seed must be an integer"),
    "seed of a float": ({"seed": 1.5}, "seed must be an integer"),
    "truth value": ({"fill_after_eos": "no"}, "fill_after_eos must be True or False"),
    "many suppressed": ({"suppress_tokens": list(range(65))}, "suppress_tokens has 65 entries"),
    "a million suppressed": ({"suppress_tokens": [1] * 1_000_000}, "suppress_tokens has 1000000 entries"),
    "suppressed outside": ({"suppress_tokens": [100_000]}, "the vocabulary has the ids"),
    "suppressed texts": ({"suppress_tokens": ["a"]}, "token ids"),
    "suppressed number": ({"suppress_tokens": 7}, "must be a list"),
    "a list for a number": ({"temperature": [0.0] * 1000}, "single value, but is a list of 1000"),
    "a dictionary": ({"task": {"a": 1}}, "single value"),
    "unknown task": ({"task": "segment"}, "Unknown task"),
    "task of a number": ({"task": 3}, "task must be a string"),
    "no query": ({"task": "detect"}, "needs a query"),
    "a query too many": ({"task": "caption", "query": "ship"}, "takes no query"),
    "query without task": ({"query": "ship"}, "give a task"),
    "special token": ({"task": "vqa", "query": "a<image>b"}, "special token '<image>'"),
    "mask token": ({"task": "vqa", "query": "a<|mdm_mask|>b"}, "special token"),
    "long query": ({"task": "vqa", "query": "a" * 10_001}, "query has 10001 characters"),
    "many choices": ({"choices": [str(number) for number in range(10_000)]}, "choices has 10000 entries"),
    "no choices": ({"choices": []}, "`choices` must be one or more"),
    "one choice as text": ({"choices": "ship"}, "choices must be a list"),
    "number as a choice": ({"choices": [1]}, "list of texts"),
    "empty choice": ({"choices": [" "]}, "is empty"),
    "twice": ({"choices": ["a", "a"]}, "twice"),
    "long choice": ({"choices": ["ship " * 100]}, "but an answer at most 32"),
    "very long choice": ({"choices": ["a" * 20_000]}, "a text of 20000 characters"),
    "choice with a token": ({"choices": ["a<|endoftext|>"]}, "special token"),
    "choices of boxes": ({"task": "detect", "query": "ship", "choices": ["a"]}, "answered by boxes"),
    "long expression": ({"pattern": "a" * 501}, "pattern has 501 characters"),
    "broken expression": ({"pattern": "["}, "is invalid"),
    "expression of nothing": ({"pattern": r"[^\s\S]"}, "matches"),
    "expression too long": ({"pattern": "(?:ship ){40}"}, "but the canvas 32"),
    "number as expression": ({"pattern": 5}, "pattern must be a string"),
    "two forms": ({"pattern": "a", "choices": ["a"]}, "two descriptions"),
    "expression of boxes": ({"task": "detect", "query": "ship", "pattern": "[0-9]+"}, "answered by boxes"),
    "structure": ({"structured": 2}, "structured must be true or false"),
    "short canvas": ({"task": "detect", "query": "ship", "max_new_tokens": 0}, "max_new_tokens must be"),
}


class TestRefusals:
    @pytest.mark.parametrize("case", WRONG)
    def test_each_is_one_sentence(self, defaults, case):
        asked, message = WRONG[case]
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            read_request(asked, defaults)
        assert len(str(caught.value)) <= 503
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("diffusion_canvas_length", "give max_new_tokens"),
            ("diffusion_max_steps", "give max_denoising_steps"),
            ("diffusion_seed_canvas", "leave it out"),
            (ADMITTED, "no parameter"),
            ("quary", "Did you mean query"),
            ("x" * 10_000, "no parameter"),
        ],
    )
    def test_names_that_a_client_may_not_use(self, name, hint):
        with pytest.raises(ValueError, match=hint) as caught:
            check_names({name: 1})
        assert len(str(caught.value)) < 600

    def test_names_of_transport_are_the_engines(self):
        check_names({"task": "caption"})
        with pytest.raises(ValueError, match="there is no parameter"):
            check_names({"kv_transfer_params": "x"})


class TestLimits:
    def test_they_come_from_vllms_additional_configuration(self):
        assert RequestLimits.from_options({"geodit": {"max_answers": 3}}).max_answers == 3
        assert RequestLimits.from_options({"other": 1}) == RequestLimits.from_options(None) == RequestLimits()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"geodit": {"max_answer": 3}}, "no limit"),
            ({"geodit": {"max_answers": 0}}, "must be a positive integer"),
            ({"geodit": {"max_answers": True}}, "must be a positive integer"),
            ({"geodit": {"compile_seconds": NAN}}, "must be a positive number"),
            ({"geodit": 3}, "must be a dictionary"),
        ],
    )
    def test_wrong_ones(self, options, message):
        with pytest.raises(ValueError, match=message):
            RequestLimits.from_options(options)

    def test_they_bound_requests(self):
        defaults = make_defaults(RequestLimits(max_answers=2, max_denoising_steps=4))
        with pytest.raises(ValueError, match="may have 2"):
            read_request({"choices": ["a", "b", "c"]}, defaults)
        with pytest.raises(ValueError, match="at most 4"):
            read_request({"max_denoising_steps": 5}, defaults)


def test_a_checkpoint_that_suppresses_more_than_the_server_allows_is_not_served():
    with pytest.raises(ValueError, match="suppresses 3 tokens, but max_suppressed is 2"):
        make_defaults(RequestLimits(max_suppressed=2), suppress_tokens=[20, 21, 22])


def test_a_checkpoint_with_guidance_is_not_served():
    with pytest.raises(ValueError, match="guidance_scale=2"):
        make_defaults(guidance_scale=2.0)


def test_defaults_are_loaded_of_what_vllm_knows_of_a_model():
    class ModelConfig:
        model = tokenizer = str(bundled_checkpoint())
        revision = tokenizer_revision = None
        hf_config = AutoConfig.from_pretrained(model)
        max_model_len = 128

    defaults = served_defaults(ModelConfig(), {"geodit": {"max_suppressed": 5}})
    assert (defaults.max_length, defaults.limits.max_suppressed) == (128, 5)
    assert (defaults.mask_token_id, defaults.image_token_id) == (2, 3)
    assert read_request(None, defaults).length == 32
