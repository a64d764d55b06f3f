# SPDX-License-Identifier: Apache-2.0
"""Steps of fixed shapes between refreshes give what the eager loop gives, and read nothing back to the host."""

import copy
import functools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from decoding_cases import PATTERNS, POLICIES, prompts_of
from defined_environment import DEVICE
from ending_model import EOS, MASK, build_ending_model
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.decoding_geodit import build_decoding_policy, plan_blocks
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.fixed_network_geodit import GuidedLogits, RefreshedNetwork
from geodit.modeling_geodit.fixed_step_geodit import BlockTables, FixedStep
from geodit.modeling_geodit.predictors_geodit import EmbeddedPrompt, PromptBranch
from geodit.modeling_geodit.step_capture_geodit import CapturedLoop
from geodit.modeling_geodit.step_rules_geodit import StepRules

build_model = functools.partial(build_ending_model, "full", num_layers=3, num_key_value_heads=1)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_tokens_are_those_of_the_eager_loop(data):
    rows, length = data.draw(st.integers(1, 4)), data.draw(st.integers(4, 10))
    options = dict(data.draw(st.sampled_from(POLICIES))) | {"max_new_tokens": length}
    options |= {
        "max_denoising_steps": data.draw(st.integers(4, 9)),
        "prefix_refresh_steps": data.draw(st.integers(2, 5)),
    }
    if data.draw(st.booleans()):
        options["canvas_lengths"] = [data.draw(st.integers(4, length)) for _ in range(rows)]
    options["answer_pattern"] = PATTERNS[data.draw(st.sampled_from(list(PATTERNS)))]()
    inputs = prompts_of(rows, 6, data.draw(st.integers(0, 99)), data.draw(st.booleans()))
    eager, fixed = (
        build_model().generate(**inputs, **options, return_dict_in_generate=True, capture_step=capture)
        for capture in (False, True)
    )
    for name in ("sequences", "commit_steps", "steps_made"):
        assert torch.equal(getattr(fixed, name), getattr(eager, name)), name
    torch.testing.assert_close(fixed.confidences, eager.confidences, atol=1e-5, rtol=0)


def confidences(refresh_steps, **options):
    options |= {"max_new_tokens": 8, "max_denoising_steps": 8, "prefix_refresh_steps": refresh_steps}
    output = build_model().generate(
        **prompts_of(2, 6, seed=1), **options, capture_step=True, return_dict_in_generate=True
    )
    return output.confidences


@pytest.mark.parametrize("guidance_scale", [1.0, 1.7])
def test_how_often_the_prefix_is_refreshed_matters(guidance_scale):
    """So that a comparison with the eager loop would find a refresh too many or too few."""
    found = [confidences(refresh_steps, guidance_scale=guidance_scale) for refresh_steps in (1, 2, 3, 8)]
    assert not any(torch.allclose(a, b, atol=1e-4) for a in found for b in found if a is not b)


def test_many_prompts_are_answered_as_each_batch_is():
    model, batches = build_model(), [prompts_of(rows, 6, seed=rows) for rows in (2, 3)]
    options = {"max_new_tokens": 8, "max_denoising_steps": 6, "prefix_refresh_steps": 3}
    many = sorted(model.wrapped.generate_many(batches, capture_step=True, **options), key=lambda answer: answer.index)
    alone = [model.generate(**batch, **options, capture_step=False)[:, 10:] for batch in batches]
    assert torch.equal(torch.stack([answer.canvas for answer in many]), torch.cat(alone))


@torch.no_grad()
def test_two_steps_are_captured_and_replayed_in_turn():
    captured, replayed = [], []

    def capture(function):
        captured.append(function.func)
        return lambda: (replayed.append(captured.index(function.func)), function())

    step, between, state, networks, branch = make_steps(guided=False)
    loop = CapturedLoop(networks, state, None, step, 9, capture, between, refresh_steps=3)
    loop.denoise([branch], copy.deepcopy(state), None, lambda: None, lambda _: None)
    # Each has run once before it is captured: in steps 0 and 1.
    assert captured == [between, step]
    assert replayed == [0, 1, 0, 0, 1, 0, 0]


def make_steps(guided):
    """The two steps on one network, or with guidance on two."""
    model, device = build_model().wrapped, torch.device(DEVICE)
    ids = torch.arange(10, device=device).expand(2, -1)
    prompt = EmbeddedPrompt(model.get_input_embeddings()(ids).detach(), ids >= 0, ids < 0)
    networks = [RefreshedNetwork(model, 2, 64, 9) for _ in range(1 + guided)]
    for network in networks:
        network.load(PromptBranch(prompt))
    config = GeoDiTGenerationConfig(max_new_tokens=9, max_denoising_steps=9)
    rules = StepRules(build_decoding_policy(config, [MASK]), (EOS,))
    tables = BlockTables(plan_blocks(9, None, 9), None, device)
    if guided:
        ways = [GuidedLogits(*networks, 1.5), GuidedLogits(*(network.between for network in networks), 1.5)]
    else:
        ways = [networks[0], networks[0].between]
    step = FixedStep(ways[0], rules, tables, 2)
    state = DenoisingState.fully_masked(torch.full((2,), 9, device=device), 9, MASK, EOS)
    return step, step.by(ways[1]), state, networks, PromptBranch(prompt)


@pytest.mark.parametrize("guided", [False, True])
@torch.no_grad()
def test_neither_step_reads_values(guided):
    step, between, state, *_ = make_steps(guided)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = copy.copy(state)
        for name, value in vars(state).items():
            if isinstance(value, torch.Tensor):
                setattr(fake, name, mode.from_tensor(value))
        step(fake)
        between(fake)


@torch.no_grad()
def test_either_step_is_one_graph():
    torch._dynamo.reset()
    # With guidance each has all that it has without, on two networks.
    (*steps, state, _, _), (*others, other, _, _) = make_steps(guided=True), make_steps(guided=True)
    compiled = [torch.compile(one.__call__, backend="eager", fullgraph=True, dynamic=False) for one in others]
    for number in range(6):
        steps[number % 2](state)
        compiled[number % 2](other)
    for name in ("canvas", "commit_steps", "active", "steps_made"):
        assert torch.equal(getattr(state, name), getattr(other, name)), name
