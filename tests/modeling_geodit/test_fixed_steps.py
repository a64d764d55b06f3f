# SPDX-License-Identifier: Apache-2.0
"""Denoising by steps of fixed shapes gives what the eager loop gives, and reads nothing back to the host.

B rows, P prompt length, L canvas length, V vocabulary.
"""

import copy
import functools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from decoding_cases import PATTERNS, POLICIES, prompts_of
from defined_environment import DEVICE
from ending_model import EOS, MASK, V, build_ending_model
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.decoding_geodit import build_decoding_policy, plan_blocks
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.fixed_step_geodit import BlockTables, FixedStep, denoise_fixed
from geodit.modeling_geodit.graph_capture_geodit import CapturedStep
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.step_capture_geodit import Captures
from geodit.modeling_geodit.step_rules_geodit import StepRules
from on_device import OnDevice

build_model = functools.partial(build_ending_model, num_layers=3, num_key_value_heads=1)


def check_equal(model, inputs, **options):
    eager = model.generate(**inputs, **options, return_dict_in_generate=True, capture_step=False)
    fixed = model.generate(**inputs, **options, return_dict_in_generate=True, capture_step=True)
    assert fixed.num_predictions <= eager.num_predictions
    for name in ("sequences", "commit_steps", "steps_made"):
        assert torch.equal(getattr(fixed, name), getattr(eager, name)), name
    for name in ("confidences", "end_probabilities", "answer_probabilities"):
        if getattr(eager, name) is not None:
            torch.testing.assert_close(getattr(fixed, name), getattr(eager, name), atol=1e-5, rtol=0)
    assert torch.equal(fixed.canvases[-1], eager.canvases[-1])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_tokens_are_those_of_the_eager_loop(data):
    rows, length = data.draw(st.integers(1, 4)), data.draw(st.integers(4, 10))
    options = dict(data.draw(st.sampled_from(POLICIES)))
    options |= {"max_new_tokens": length, "max_denoising_steps": data.draw(st.integers(4, 9))}
    if data.draw(st.booleans()):
        options["block_length"] = data.draw(st.integers(4, length))
    if data.draw(st.booleans()):
        options["initial_canvas_length"] = data.draw(st.integers(4, length))
    if data.draw(st.booleans()):
        options["canvas_lengths"] = [data.draw(st.integers(4, length)) for _ in range(rows)]
    if options["max_denoising_steps"] < -(-length // 4) + 1:
        options["max_denoising_steps"] = -(-length // 4) + 1
    pattern = PATTERNS[data.draw(st.sampled_from(list(PATTERNS)))]()
    model = build_model(data.draw(st.sampled_from(["prefix", "full"])))
    inputs = prompts_of(rows, 6, data.draw(st.integers(0, 99)), data.draw(st.booleans()))
    check_equal(model, inputs, answer_pattern=pattern, **options)


def test_images_may_be_encoded_before():
    model = build_model("prefix")
    inputs = prompts_of(1, 6, seed=0)
    pixel_values = inputs.pop("pixel_values")
    prefix = model.encode_image(pixel_values)
    check_equal(model, inputs, image_prefix=prefix, max_new_tokens=8, max_denoising_steps=4)


class TestLoops:
    options = {"max_new_tokens": 6, "max_denoising_steps": 3, "capture_step": True}

    def fresh(self):
        model = copy.deepcopy(build_model("prefix").wrapped)
        return OnDevice(model), model

    def loops(self, model):
        return model.__dict__["_captured_loops"]

    def test_one_serves_other_prompts_of_the_same_shapes(self):
        on_device, model = self.fresh()
        for seed in range(3):
            inputs = prompts_of(2, 6, seed)
            check_equal(on_device, inputs, max_new_tokens=6, max_denoising_steps=3, answer_pattern=PATTERNS["boxes"]())
        assert len(self.loops(model)) == 1

    @pytest.mark.parametrize(
        "change", [{"max_denoising_steps": 4}, {"max_new_tokens": 7}, {"confidence_threshold": 0.9}]
    )
    def test_another_policy_or_shape_has_its_own(self, change):
        on_device, model = self.fresh()
        inputs = prompts_of(2, 6, 0)
        on_device.generate(**inputs, **self.options)
        on_device.generate(**inputs, **{**self.options, **change})
        assert len(self.loops(model)) == 2

    def test_few_are_kept(self):
        on_device, model = self.fresh()
        for length in range(4, 10):
            on_device.generate(**prompts_of(1, 6, 0), **{**self.options, "max_new_tokens": length})
        assert len(self.loops(model)) == 4

    def test_other_weights_make_them_anew(self):
        on_device, model = self.fresh()
        inputs = prompts_of(2, 6, 0)
        on_device.generate(**inputs, **self.options)
        weight = model.lm_head.weight
        model.lm_head.weight = torch.nn.Parameter(weight.roll(1, 0))
        check_equal(on_device, inputs, max_new_tokens=6, max_denoising_steps=3)
        assert len(self.loops(model)) == 1

    def test_a_copy_of_the_model_has_none(self):
        on_device, model = self.fresh()
        on_device.generate(**prompts_of(1, 6, 0), **self.options)
        assert len(self.loops(copy.deepcopy(model))) == 0

    def test_what_was_returned_stays_as_it_is(self):
        on_device, _ = self.fresh()
        first = on_device.generate(**prompts_of(2, 6, 0), **self.options, return_dict_in_generate=True)
        before = copy.deepcopy(dict(first))
        on_device.generate(**prompts_of(2, 6, 1), **self.options, return_dict_in_generate=True)
        assert all(torch.equal(first[name], value) for name, value in before.items() if name != "num_predictions")

    def test_one_that_is_in_use_is_left_alone(self):
        on_device, _ = self.fresh()
        inputs, others = prompts_of(2, 6, 0), prompts_of(2, 6, 1)
        alone = [on_device.generate(**prompts, **self.options) for prompts in (inputs, others)]
        within = []

        def ask(state):
            if not within:
                within.append(on_device.generate(**others, **self.options))

        assert torch.equal(on_device.generate(**inputs, **self.options, step_callback=ask), alone[0])
        assert torch.equal(within[0], alone[1])
        assert torch.equal(on_device.generate(**others, **self.options), alone[1])

    def test_they_can_be_given_up(self):
        loops = Captures()
        loops.find("key", torch.nn.Linear(1, 1), lambda: "loop")
        loops.clear()
        assert len(loops) == 0


class TestFallingBack:
    @pytest.mark.parametrize(
        ("mode", "attention", "options", "reason"),
        [
            ("prefix", "eager", {}, "attn_implementation"),
            ("prefix", "sdpa", {"use_cache": False}, "use_cache=False"),
            ("full", "sdpa", {"prefix_refresh_steps": 2, "block_length": 4}, "prefix_refresh_steps"),
            ("full", "sdpa", {"prefix_refresh_steps": 2, "initial_canvas_length": 4}, "prefix_refresh_steps"),
        ],
    )
    def test_a_warning_says_why(self, mode, attention, options, reason, monkeypatch):
        model = build_model(mode, attn_implementation=attention)
        said = []
        monkeypatch.setattr(
            "geodit.modeling_geodit.loop_choice_geodit.logger.warning_once", lambda text: said.append(text)
        )
        check_equal(model, prompts_of(2, 6, 1), max_new_tokens=6, max_denoising_steps=3, **options)
        assert {reason in text for text in said} == {True}

    def test_a_hook_is_a_reason(self, monkeypatch):
        said = []
        monkeypatch.setattr(
            "geodit.modeling_geodit.loop_choice_geodit.logger.warning_once", lambda text: said.append(text)
        )
        model = copy.deepcopy(build_model("prefix").wrapped)
        model.model.language_model.layers[0].register_forward_hook(lambda *_: None)
        check_equal(OnDevice(model), prompts_of(1, 6, 1), max_new_tokens=6, max_denoising_steps=3)
        assert [text for text in said if "hook" in text] == said != []

    def test_a_step_that_cannot_be_captured_goes_on(self):
        def fail(function):
            raise RuntimeError("no graphs here")

        states = []
        for capture in (lambda function: function, fail):
            step, state = make_step("automaton", {})
            for _ in denoise_fixed(CapturedStep(functools.partial(step, state), capture), state, 6):
                pass
            states.append(state)
        assert torch.equal(states[0].canvas, states[1].canvas)


def make_step(pattern, options, rows=3, length=9):
    """A step on logits that depend on the canvas and on nothing else."""
    config = GeoDiTGenerationConfig(max_new_tokens=length, max_denoising_steps=6, **options)
    device = torch.device(DEVICE)
    generator = torch.Generator().manual_seed(2)
    weights = (3 * torch.randn(V, V, generator=generator)).to(device)

    def logits_of(canvas, valid):
        context = torch.nn.functional.one_hot(canvas, V).float().masked_fill(~valid.unsqueeze(-1), 0)
        return ((context.cumsum(1) + context) @ weights).flatten(0, 1)

    rules = StepRules(
        build_decoding_policy(config, [MASK]), (EOS,), config.fill_after_eos, PATTERNS[pattern](), config.temperature
    )
    draws = rules.policy.draws
    random = RowStreams.spawn(rows, device, seed=7) if draws else None
    tables = BlockTables(plan_blocks(length, config.block_length, 6), None, device)
    lengths = torch.full((rows,), length, device=device)
    answers = 0 if rules.pattern is None else rules.pattern.num_answers
    state = DenoisingState.fully_masked(lengths, length, MASK, EOS, answers)
    return FixedStep(logits_of, rules, tables, rows, random), state


STEPS = [(pattern, options) for pattern in PATTERNS for options in POLICIES if "guidance_scale" not in options]
# Tracing takes seconds: every policy once, and every pattern once.
TRACED = [(pattern, options) for pattern, options in STEPS if pattern is None or options == POLICIES[5]]


class TestNothingIsReadBack:
    @pytest.mark.parametrize(("pattern", "options"), STEPS)
    def test_a_step_runs_without_values(self, pattern, options):
        step, state = make_step(pattern, options)
        step(state)  # constants come to the device
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = copy.copy(state)
            for name, value in vars(state).items():
                if isinstance(value, torch.Tensor):
                    setattr(fake, name, mode.from_tensor(value))
            step(fake)

    @pytest.mark.parametrize(("pattern", "options"), TRACED)
    def test_a_step_is_one_graph(self, pattern, options):
        torch._dynamo.reset()
        (step, state), (compiled, other) = make_step(pattern, options), make_step(pattern, options)
        run = torch.compile(compiled.__call__, backend="eager", fullgraph=True, dynamic=False)
        for _ in range(6):
            step(state)
            run(other)
        for name in ("canvas", "commit_steps", "active", "steps_made"):
            assert torch.equal(getattr(state, name), getattr(other, name)), name


def test_all_is_done_after_n_steps_and_not_asked_in_every_one():
    step, state = make_step(None, {})
    steps = sum(1 for _ in denoise_fixed(functools.partial(step, state), state, 6, check_every=2))
    assert not state.active.any()
    assert steps <= 6
