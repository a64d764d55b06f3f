# SPDX-License-Identifier: Apache-2.0
"""Rows with plans of their own are denoised in one step, and each gives what its request gives alone.

A regular expression is an automaton here. L canvas length, V vocabulary.
"""

import copy
import functools
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from decoding_cases import PATTERNS, POLICIES, prompts_of
from defined_environment import DEVICE
from ending_model import EOS, IMAGE, MASK, OTHER_EOS, V, build_ending_model
from geodit.modeling_geodit.choices_geodit import ChoicesPattern
from geodit.modeling_geodit.decoding_geodit import LowConfidenceRemasking
from geodit.modeling_geodit.decoding_plan_geodit import DecodingPlan, plan_decoding
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.fixed_network_geodit import FullNetwork, PrefixNetwork
from geodit.modeling_geodit.fixed_step_geodit import BlockTables, FixedStep
from geodit.modeling_geodit.prompts_geodit import prepare_prompts
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.row_denoiser import RowDenoiser
from geodit.modeling_geodit.softmax_geodit import Softmax
from on_device import OnDevice

L = 12
EXACT = ("canvas", "commit_steps", "steps_made")
CLOSE = ("confidences", "end_probabilities", "answer_probabilities")
# Requests alone, whose numbers are those of many to the last bit or nearly so.
TOLERANCE = 1e-6

build_model = functools.partial(build_ending_model, num_layers=3, num_key_value_heads=1)


@dataclass(frozen=True)
class Request:
    """A request: its plan, its length if that is not the plan's, and the options that `generate()` takes for it."""

    plan: DecodingPlan
    options: dict
    length: int

    @classmethod
    def of(cls, pattern=None, length=None, **options):
        answer_pattern = PATTERNS[pattern]() if pattern is None or isinstance(pattern, str) else pattern
        model = build_model("prefix").wrapped
        plan = plan_decoding(model, None, None, answer_pattern, None, None, **options)
        options |= {"answer_pattern": answer_pattern} | ({"canvas_lengths": [length]} if length else {})
        return cls(plan, options, length or plan.blocks[-1].stop)

    @property
    def canvas_length(self):
        return self.plan.blocks[-1].stop

    def keys(self):
        seed = self.plan.config.seed
        return RowStreams.spawn(1, torch.device(DEVICE), seed=0 if seed is None else seed).keys


def make_denoiser(num_rows=4, **options):
    return RowDenoiser(num_rows, L, MASK, (EOS,), torch.device(DEVICE), **{"max_answers": 5, **options})


def begin(denoiser, rows, requests):
    streams = RowStreams(torch.cat([request.keys() for request in requests]))
    denoiser.begin(rows, [one.plan for one in requests], [one.length for one in requests], streams)


def row_of(state, row, length, num_answers):
    """What there is of a row, on the CPU, by names."""
    found = {name: getattr(state, name)[row].cpu() for name in (*EXACT, *CLOSE)}
    for name in ("canvas", "commit_steps", "confidences", "end_probabilities"):
        found[name] = found[name][:length]
    return found | {"answer_probabilities": found["answer_probabilities"][:num_answers]}


def check_row(denoiser, row, request, alone):
    found = row_of(denoiser.state, row, request.canvas_length, request.plan.num_answers)
    for name in EXACT:
        assert torch.equal(found[name], alone[name]), name
    for name in CLOSE:
        torch.testing.assert_close(found[name], alone[name], atol=TOLERANCE, rtol=0)


def run_all(denoiser, requests, logits_of, check, order=sorted, load=lambda row, number: None, dtype=torch.float32):
    """Denoise requests, each begun when a row is free, in batches with the last row as padding; return the batches.

    Args:
        denoiser: Its last row is never begun.
        requests: The requests.
        logits_of: From rows, canvases and the places that are there to the logits of all places.
        check: Is given the row and the number of each request that is finished.
        order: Puts the rows of a batch in some order.
        load: Is given the row and the number of each request that begins.
        dtype: Of the logits.
    """
    spare = denoiser.num_rows - 1
    waiting, inside, batches = list(range(len(requests))), {}, []
    while waiting or inside:
        free = [row for row in range(spare) if row not in inside][: len(waiting)]
        if free:
            inside |= {row: waiting.pop(0) for row in free}
            begin(denoiser, free, [requests[inside[row]] for row in free])
            for row in free:
                load(row, inside[row])
        batch = [*order(inside), spare, spare]
        rows = torch.tensor(batch, device=DEVICE)
        valid = torch.arange(L, device=DEVICE) < denoiser.canvas_ends(rows).unsqueeze(-1)
        logits = logits_of(rows, denoiser.state.canvas[rows], valid)
        not_wanted = ~denoiser.wanted(rows).flatten()
        logits = logits.masked_fill(not_wanted.unsqueeze(-1), torch.nan).to(dtype)
        denoiser.step(rows, logits)
        batches.append(batch)
        for row in [row for row in inside if not denoiser.state.active[row]]:
            check(row, inside.pop(row))
            denoiser.release([row])
    return batches


@functools.cache
def exact_weights():
    """Multiples of 1/16, so that sums do not depend on the order of the terms."""
    generator = torch.Generator().manual_seed(2)
    return ((48 * torch.randn(V, V, generator=generator)).round() / 16).to(DEVICE)


def exact_logits(canvas, valid):
    """`(B * L, V)` of canvases `(B, L)`, each by itself, whatever stands after its end."""
    context = torch.nn.functional.one_hot(canvas, V).float().masked_fill(~valid.unsqueeze(-1), 0)
    return ((context.cumsum(1) + context) @ exact_weights()).flatten(0, 1)


def denoise_alone(request, dtype=torch.float32):
    """What a step of fixed shapes gives for a request alone."""
    plan, device = request.plan, torch.device(DEVICE)
    lengths = torch.tensor([request.length], device=device)
    state = DenoisingState.fully_masked(lengths, request.canvas_length, MASK, plan.fill, plan.num_answers)
    tables = BlockTables(plan.blocks, plan.config.initial_canvas_length, device)
    step = FixedStep(
        lambda canvas, valid: exact_logits(canvas, valid).to(dtype), plan.rules, tables, 1, RowStreams(request.keys())
    )
    while state.active.any():
        step(state)
    return row_of(state, 0, request.canvas_length, plan.num_answers)


@st.composite
def requests(draw):
    options = dict(draw(st.sampled_from([options for options in POLICIES if "guidance_scale" not in options])))
    pattern = draw(st.sampled_from(list(PATTERNS)))
    stop = draw(st.integers(4, L))
    options |= {"max_new_tokens": stop, "max_denoising_steps": draw(st.integers(4, 12))}
    if draw(st.booleans()):
        options["block_length"] = draw(st.integers(4, 12))
    if draw(st.booleans()):
        options["initial_canvas_length"] = draw(st.integers(4, stop))
    if draw(st.booleans()):
        options["fill_after_eos"] = draw(st.booleans())
    if draw(st.booleans()):
        options["suppress_tokens"] = draw(st.lists(st.integers(0, V - 4), max_size=5))
    if "seed" in options:
        options["seed"] = draw(st.integers(0, 9))
    if options.get("temperature"):
        options["temperature"] = draw(st.sampled_from([0.3, 0.8, 2.0]))
    return Request.of(pattern, draw(st.none() | st.integers(4, stop)), **options)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(requests(), min_size=1, max_size=7), st.integers(1, 4), st.randoms(), st.booleans())
def test_each_row_is_that_of_its_request_alone(asked, num_rows, random, in_bfloat16):
    denoiser = make_denoiser(num_rows + 1)
    dtype = torch.bfloat16 if in_bfloat16 else torch.float32
    alone = [denoise_alone(request, dtype) for request in asked]
    finished = []

    def check(row, number):
        check_row(denoiser, row, asked[number], alone[number])
        finished.append(number)

    run_all(
        denoiser,
        asked,
        lambda rows, canvas, valid: exact_logits(canvas, valid),
        check,
        order=lambda rows: random.sample(sorted(rows), len(rows)),
        dtype=dtype,
    )
    assert sorted(finished) == list(range(len(asked)))


MIXED = [
    Request.of(max_new_tokens=8, max_denoising_steps=8),
    Request.of("boxes", max_new_tokens=12, max_denoising_steps=4, remasking="low_margin"),
    Request.of("choices", max_new_tokens=4, max_denoising_steps=2),
    Request.of(max_new_tokens=12, max_denoising_steps=12, initial_canvas_length=4, block_length=4),
    Request.of("automaton", max_new_tokens=7, max_denoising_steps=5, temperature=0.8, seed=5),
    Request.of(max_new_tokens=10, max_denoising_steps=5, remasking="random", seed=3),
    Request.of(max_new_tokens=6, max_denoising_steps=6, temperature=1.0, seed=1, suppress_tokens=[3, 4, 11]),
    Request.of(max_new_tokens=9, max_denoising_steps=9, confidence_threshold=0.4, fill_after_eos=False),
    Request.of(max_new_tokens=12, max_denoising_steps=6, remasking="high_entropy", entropy_bound=1.5),
    Request.of("boxes", 9, max_new_tokens=11, max_denoising_steps=7, block_length=5, temperature=0.5, seed=8),
    Request.of(ChoicesPattern([(1, 2), (3,), (5, 6, 7)], [EOS]), max_new_tokens=5, max_denoising_steps=5),
    Request.of("automaton", 5, max_new_tokens=8, max_denoising_steps=8, fill_after_eos=False, suppress_tokens=[1]),
]


@torch.no_grad()
@pytest.mark.parametrize(("mode", "network_class"), [("prefix", PrefixNetwork), ("full", FullNetwork)])
def test_a_mixed_batch_gives_what_generate_gives_for_each_request(mode, network_class):
    # In double precision, in which it does not show that the network computes one row and many in different ways.
    on_device = OnDevice(copy.deepcopy(build_model(mode).wrapped).double())
    inputs = [prompts_of(1, 6, seed) for seed in range(len(MIXED))]
    prompts = [
        prepare_prompts(
            on_device.wrapped, request.plan, given["input_ids"], given["attention_mask"], pixel_values=pixels
        )
        for request, given in zip(MIXED, inputs, strict=True)
        for pixels in [given["pixel_values"].to(DEVICE)]
    ]
    denoiser = make_denoiser(5)
    places = max(network_class.places_of(one.branches[0]) for one in prompts)
    network = network_class(on_device.wrapped, denoiser.num_rows, places, L)

    def logits_of(rows, canvas, valid):
        canvases, places_there = torch.zeros_like(denoiser.state.canvas), torch.ones_like(denoiser.state.masked)
        canvases[rows], places_there[rows] = canvas, valid
        return network(canvases, places_there).unflatten(0, (denoiser.num_rows, L))[rows].flatten(0, 1)

    def load(row, number):
        network.load(prompts[number].branches[0], torch.tensor([row], device=DEVICE))

    def check(row, number):
        request, given = MIXED[number], inputs[number]
        output = on_device.generate(**given, **request.options, return_dict_in_generate=True, capture_step=False)
        alone = {"canvas": output.sequences[0, given["input_ids"].shape[1] :]}
        alone |= {name: getattr(output, name)[0] for name in (*EXACT[1:], *CLOSE[:2])}
        has_answers = output.answer_probabilities is not None
        alone["answer_probabilities"] = output.answer_probabilities[0] if has_answers else torch.zeros(0)
        check_row(denoiser, row, request, alone)

    batches = run_all(denoiser, MIXED, logits_of, check, load=load)
    assert len(batches) < sum(request.plan.config.max_denoising_steps for request in MIXED)


def begun(requests=MIXED):
    denoiser = make_denoiser(len(requests) + 1)
    begin(denoiser, range(len(requests)), requests)
    return denoiser, torch.arange(denoiser.num_rows, device=DEVICE)


class TestNothingIsReadBack:
    def test_a_step_runs_without_values(self):
        denoiser, rows = begun()
        logits = torch.randn(len(rows) * L, V, device=DEVICE)
        denoiser.step(rows, logits.clone())  # constants come to the device
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = mode.from_tensor(rows)
            assert denoiser.wanted(fake).shape == (len(rows), L)
            assert denoiser.canvas_ends(fake).shape == (len(rows),)
            denoiser.step(fake, mode.from_tensor(logits))

    def test_what_no_row_needs_is_not_computed(self, monkeypatch):
        def fail(*_):
            raise AssertionError("nothing asked for it")

        monkeypatch.setattr(Softmax, "_compute_entropy", fail)
        monkeypatch.setattr(RowStreams, "uniform", fail)
        denoiser, rows = begun(MIXED[:4])
        denoiser.step(rows, torch.randn(len(rows) * L, V, device=DEVICE))
        begin(denoiser, [0], [MIXED[8]])
        with pytest.raises(AssertionError, match="nothing asked"):
            denoiser.step(rows, torch.randn(len(rows) * L, V, device=DEVICE))
        denoiser.release([0])
        denoiser.step(rows, torch.randn(len(rows) * L, V, device=DEVICE))


class TestRows:
    def test_one_that_is_not_in_the_batch_stays_as_it_is(self):
        denoiser, rows = begun()
        before = denoiser.state.take(rows)
        denoiser.step(rows[[4, 1]], torch.randn(2 * L, V, device=DEVICE))
        moved = (denoiser.state.steps_made > before.steps_made).tolist()
        assert [row for row, has_moved in enumerate(moved) if has_moved] == [1, 4]
        for now, then in zip(denoiser.state.tensors, before.tensors, strict=True):
            others = [row for row in range(len(rows)) if row not in (1, 4)]
            assert torch.equal(now[others], then[others])

    def test_one_that_is_finished_or_free_or_released_stays_as_it_is(self):
        denoiser, rows = begun(MIXED[:3])
        logits = torch.randn(len(rows) * L, V, device=DEVICE)
        denoiser.step(rows, logits.clone())
        denoiser.release([0])
        for _ in range(12):
            denoiser.step(rows, logits.clone())
        before = denoiser.state.take(rows)
        assert not before.active.any()
        assert before.steps_made[0] == 1
        denoiser.step(rows[[0, 0, 1, 3, 3, 3]], torch.randn(6 * L, V, device=DEVICE))
        for now, then in zip(denoiser.state.tensors, before.tensors, strict=True):
            assert torch.equal(now, then)

    def test_an_empty_batch_does_nothing(self):
        denoiser, _ = begun(MIXED[:1])
        denoiser.step(torch.empty(0, dtype=torch.long, device=DEVICE), torch.empty(0, V, device=DEVICE))
        denoiser.begin([], [])
        denoiser.release([])
        assert denoiser.state.steps_made.sum() == 0

    def test_a_canvas_grows_from_block_to_block(self):
        growing, whole = MIXED[3], Request.of(max_new_tokens=6, max_denoising_steps=6)
        denoiser, rows = begun([growing, whole])
        ends = []
        for _ in range(6):
            ends.append(denoiser.canvas_ends(rows).tolist())
            logits = torch.zeros(len(rows), L, V, device=DEVICE)
            logits[..., 5] = 1.0
            denoiser.step(rows, logits.flatten(0, 1))
        assert [end for end, _, _ in ends] == [4, 4, 4, 4, 8, 8]
        assert {end for _, end, _ in ends} == {6}

    def test_several_tokens_may_end_answers(self):
        model = build_model("prefix").wrapped
        plan = plan_decoding(
            model, None, None, None, None, None, max_new_tokens=4, max_denoising_steps=2, eos_token_id=[EOS, OTHER_EOS]
        )
        denoiser = RowDenoiser(1, 6, MASK, (EOS, OTHER_EOS), torch.device(DEVICE))
        denoiser.begin([0], [plan])
        logits = torch.zeros(6, V, device=DEVICE)
        logits[0, 1], logits[1:, OTHER_EOS] = 9.0, 5.0
        denoiser.step(torch.tensor([0], device=DEVICE), logits)
        assert denoiser.state.canvas[0].tolist() == [1, OTHER_EOS, EOS, EOS, EOS, EOS]
        assert not denoiser.state.active.any()


class TestRefusals:
    one = Request.of(max_new_tokens=8, max_denoising_steps=8)

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (Request.of(max_new_tokens=L + 1, max_denoising_steps=2), "canvas of 13 tokens, but at most 12"),
            (Request.of(max_new_tokens=4, max_denoising_steps=2, eos_token_id=OTHER_EOS), "eos_token_id"),
            (Request.of(max_new_tokens=4, max_denoising_steps=2, mask_token_id=7), "mask_token_id=7"),
            (Request.of(max_new_tokens=4, max_denoising_steps=2, suppress_tokens=[1, 2, 3]), "suppresses 5 tokens"),
            (Request.of("choices", max_new_tokens=4, max_denoising_steps=2), "lists 4 answers, but at most 3"),
            (Request.of("boxes", 1, max_new_tokens=4, max_denoising_steps=2), "shortest answer"),
        ],
    )
    def test_a_plan_that_does_not_fit(self, request_, message):
        denoiser = make_denoiser(2, max_suppressed=4, max_answers=3)
        with pytest.raises(ValueError, match=message):
            begin(denoiser, [0, 1], [self.one, request_])
        assert not denoiser.state.active.any()

    def test_parts_of_a_policy_that_are_not_known(self):
        class Backwards(LowConfidenceRemasking):
            pass

        rules = self.one.plan.rules
        plan = replace(self.one.plan, rules=replace(rules, policy=replace(rules.policy, remasking=Backwards())))
        with pytest.raises(ValueError, match="Rows cannot have a policy"):
            make_denoiser().begin([0], [plan])

    def test_draws_without_random_numbers(self):
        with pytest.raises(ValueError, match="give RowStreams"):
            make_denoiser().begin([0], [MIXED[5].plan])

    @pytest.mark.parametrize("rows", [[4], [-1], [1, 1]])
    def test_rows_that_are_not_there_or_twice(self, rows):
        with pytest.raises(ValueError, match="different numbers from 0 to 3"):
            make_denoiser().begin(rows, [self.one.plan] * len(rows))

    @pytest.mark.parametrize("length", [0, 9])
    def test_lengths_that_the_plan_does_not_have(self, length):
        with pytest.raises(ValueError, match="from 1 to max_new_tokens=8"):
            make_denoiser().begin([0], [self.one.plan], [length])

    def test_numbers_that_do_not_agree(self):
        plan = self.one.plan
        with pytest.raises(ValueError, match="2 rows begin, but there are 1 plans"):
            make_denoiser().begin([0, 1], [plan])
        with pytest.raises(ValueError, match="random has streams"):
            make_denoiser().begin([0], [plan], None, RowStreams(torch.zeros(2, dtype=torch.long)))

    def test_logits_of_too_few_positions(self):
        denoiser, rows = begun(MIXED[:1])
        with pytest.raises(ValueError, match=r"shape \(24, V\)"):
            denoiser.step(rows, torch.zeros(L, V, device=DEVICE))


def test_the_image_placeholder_and_the_mask_token_are_never_proposed():
    denoiser, rows = begun([Request.of(max_new_tokens=4, max_denoising_steps=1)])
    logits = torch.zeros(len(rows), L, V, device=DEVICE)
    logits[..., MASK], logits[..., IMAGE], logits[..., 9] = 3.0, 2.0, 1.0
    denoiser.step(rows, logits.flatten(0, 1))
    assert denoiser.state.canvas[0, :4].tolist() == [9] * 4
