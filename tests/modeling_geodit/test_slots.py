# SPDX-License-Identifier: Apache-2.0
"""Continuous batching: each answer is that of its prompt alone, whatever finishes when."""

import copy
import functools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decoding_cases import PATTERNS, POLICIES, prompts_of
from ending_model import V, build_ending_model
from geodit.modeling_geodit.host_copies_geodit import HostCopy
from geodit.modeling_geodit.step_capture_geodit import CapturedLoop
from on_device import OnDevice

build_model = functools.partial(build_ending_model, num_layers=3, num_key_value_heads=1)
BASICS = {"max_new_tokens": 8, "max_denoising_steps": 5}


def generators(first, count):
    return [torch.Generator().manual_seed(100 + first + row) for row in range(count)]


def batches_of(sizes, seed, with_image=True, length=6):
    return [prompts_of(rows, length, seed + number, with_image) for number, rows in enumerate(sizes)]


def check_equal(model, batches, *, slots, draws=False, steps_are_fixed=True, **options):
    """Ask all at once and batch by batch, and compare answer by answer."""
    firsts = [sum(len(batch["input_ids"]) for batch in batches[:number]) for number in range(len(batches))]

    def given():
        for first, batch in zip(firsts, batches, strict=True):
            random = {"generator": generators(first, len(batch["input_ids"]))} if draws else {}
            yield {**batch, **random}

    many = list(model.generate_many(given(), slots=slots, capture_step=steps_are_fixed, **options))
    assert sorted(answer.index for answer in many) == list(range(firsts[-1] + len(batches[-1]["input_ids"])))
    answers = {answer.index: answer for answer in many}
    for first, batch in zip(firsts, given(), strict=True):
        alone = model.generate(**batch, capture_step=False, return_dict_in_generate=True, **options)
        width = batch["input_ids"].shape[1]
        for row in range(len(batch["input_ids"])):
            answer = answers[first + row]
            assert torch.equal(answer.canvas, alone.sequences[row, width:])
            assert torch.equal(answer.commit_steps, alone.commit_steps[row])
            assert answer.steps_made == alone.steps_made[row]
            for name in ("confidences", "end_probabilities", "answer_probabilities"):
                if getattr(alone, name) is not None:
                    torch.testing.assert_close(getattr(answer, name), getattr(alone, name)[row], rtol=1e-4, atol=1e-5)
    return many


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_each_answer_is_that_of_its_prompt_alone(data):
    options = {name: value for name, value in data.draw(st.sampled_from(POLICIES)).items() if name != "seed"}
    length = data.draw(st.integers(4, 9))
    options |= {"max_new_tokens": length, "max_denoising_steps": data.draw(st.integers(4, 9))}
    if data.draw(st.booleans()):
        options["block_length"] = data.draw(st.integers(4, length))
    if data.draw(st.booleans()):
        options["initial_canvas_length"] = data.draw(st.integers(4, length))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    batches = batches_of(sizes, data.draw(st.integers(0, 99)), data.draw(st.booleans()))
    if data.draw(st.booleans()):
        for batch in batches:
            batch["canvas_lengths"] = [data.draw(st.integers(4, length)) for _ in batch["input_ids"]]
    check_equal(
        build_model(data.draw(st.sampled_from(["prefix", "full"]))),
        batches,
        slots=data.draw(st.integers(1, 5)),
        draws=options.get("temperature", 0) > 0 or options.get("remasking") == "random",
        answer_pattern=PATTERNS[data.draw(st.sampled_from(list(PATTERNS)))](),
        **options,
    )


@pytest.mark.parametrize("mode", ["prefix", "full"])
def test_a_device_that_answers_late_changes_nothing(mode, monkeypatch):
    monkeypatch.setattr(HostCopy, "has_come", False)
    check_equal(build_model(mode), batches_of([3, 3, 2], 7), slots=3, confidence_threshold=0.3, **BASICS)


def test_slots_are_filled_while_others_go_on(monkeypatch):
    model = build_model("prefix")
    steps = []
    run_step = CapturedLoop.run_step
    monkeypatch.setattr(CapturedLoop, "run_step", lambda loop: steps.append(1) or run_step(loop))
    batches = batches_of([4] * 6, 3)
    answers = check_equal(model, batches, slots=4, confidence_threshold=0.2, **BASICS)
    del steps[:]
    list(model.generate_many(batches, capture_step=True, confidence_threshold=0.2, **BASICS))
    in_slots = len(steps)
    by_batches = sum(
        max(answer.steps_made for answer in answers if answer.index // 4 == number) for number in range(6)
    )
    assert in_slots < by_batches
    assert in_slots >= sum(answer.steps_made for answer in answers) / 4


def test_prompts_that_need_more_places_come_when_the_slots_are_empty():
    model = copy.deepcopy(build_model("prefix").wrapped)
    batches = [*batches_of([3], 1), *batches_of([2, 1], 2, length=300), *batches_of([2], 5)]
    check_equal(OnDevice(model), batches, slots=2, **BASICS)
    assert len(model.__dict__["_captured_loops"]) == 2


def test_images_may_be_encoded_before():
    model = build_model("prefix")
    batches = batches_of([1, 1, 1], 4)
    for batch in batches:
        batch["image_prefix"] = model.encode_image(batch.pop("pixel_values"))
    check_equal(model, batches, slots=1, **BASICS)


def test_a_seed_draws_as_for_one_batch_of_all():
    model = build_model("prefix")
    (prompts,) = batches_of([5], 3, with_image=False)
    together = model.generate(**prompts, **BASICS, seed=11, temperature=1.0)[:, prompts["input_ids"].shape[1] :]
    batches = [{name: value[start : start + 2] for name, value in prompts.items()} for start in (0, 2, 4)]
    for fixed in (True, False):
        for answer in model.generate_many(batches, **BASICS, seed=11, temperature=1.0, capture_step=fixed):
            assert torch.equal(answer.canvas, together[answer.index])


def test_without_fixed_shapes_one_batch_follows_the_other():
    answers = check_equal(build_model("prefix"), batches_of([2, 3], 4), slots=2, steps_are_fixed=False, **BASICS)
    assert [answer.index for answer in answers] == [0, 1, 2, 3, 4]


def test_a_loop_that_is_in_use_is_left_alone():
    model = OnDevice(copy.deepcopy(build_model("prefix").wrapped))
    batches = batches_of([2, 2, 2], 9)
    outer = model.generate_many(batches, capture_step=True, **BASICS)
    first = next(outer)
    inner = {answer.index: answer for answer in model.generate_many(batches, capture_step=True, **BASICS)}
    for answer in [first, *outer]:
        assert torch.equal(answer.canvas, inner[answer.index].canvas)


def test_a_loop_is_free_again_when_the_caller_stops_early():
    model = copy.deepcopy(build_model("prefix").wrapped)
    answers = OnDevice(model).generate_many(batches_of([2, 2, 2], 9), capture_step=True, **BASICS)
    next(answers)
    answers.close()
    (loop,) = model.__dict__["_captured_loops"]._kept.values()
    with loop.use() as is_free:
        assert is_free
    check_equal(OnDevice(model), batches_of([2, 2], 9), slots=2, **BASICS)


def test_no_prompt_has_no_answer():
    assert list(build_model("prefix").generate_many([], **BASICS)) == []


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"slots": 0}, "slots must be 1 or more"),
        ({}, {"num_steps": 3}, "num_steps"),
        ({"labels": torch.zeros(1)}, {}, "labels"),
        ({"generator": torch.Generator()}, {"seed": 1, "temperature": 1.0}, "a seed or a generator"),
        ({"canvas_lengths": [V]}, {}, "canvas_lengths"),
        ({"input_ids": None}, {}, "input_ids"),
    ],
)
def test_what_is_wrong_is_said(change, options, message):
    batch = {**batches_of([1], 0)[0], **change}
    with pytest.raises(ValueError, match=message):
        list(build_model("prefix").generate_many([batch], **{**BASICS, **options}))
