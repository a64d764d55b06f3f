# SPDX-License-Identifier: Apache-2.0
"""Contestants do what they are said to do: all tokens, no less work than said, and marks where the work is done."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit import loop_choice_geodit
from geodit.speed import contestants
from geodit.speed.contestants import AutoregressiveContestant, GeoDiTContestant, QuestionsTogether
from geodit.speed.flops import count_flops
from geodit.speed.modes import MODES, QUESTION_MODES
from geodit.speed.runner import contestant_keys, make_contestants

BY_KEY = {mode.key: mode for mode in MODES}
# Compiling takes longer than all other tests together; a compiled step is tested with generate().
DEFAULT_MODES = [mode for mode in MODES if mode.by_default]
# Graphs and compiled layers.
KEPT_BY_MODELS = {"_captured_loops", "_captured_towers", "_kept_compiled_layers"}


def ignore(step):
    """A mark that nobody reads."""


def contestant(key, workload, model, peer, inputs):
    return next(found for found in make_contestants(workload, model, peer, inputs, [key]) if found.key == key)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.key)
def test_modes_are_arguments_that_generate_knows(mode):
    GeoDiTGenerationConfig(**mode.generation_kwargs)


@pytest.mark.parametrize("which", ["workload", "questions"])
def test_keys_name_the_contestants(request, model, peer, which):
    workload = request.getfixturevalue(which)
    inputs = request.getfixturevalue("inputs" if which == "workload" else "question_inputs")
    rivals = make_contestants(workload, model, peer, inputs)
    modes = [mode.key for mode in MODES if not mode.by_default]
    to_be_named = {f"{mode}{how}" for mode in modes for how in ("", "-together", "-apart")}
    to_be_named |= {"floor-graphed", "full-floor-graphed"}
    assert [found.key for found in rivals] == [k for k in contestant_keys(workload) if k not in to_be_named]
    assert len({found.name for found in rivals}) == len(rivals)


def test_what_takes_long_takes_part_if_it_is_named(model, peer, workload, inputs):
    assert contestant("compiled", workload, model, peer, inputs).mode.generation_kwargs == {"compile_step": True}


def test_graphed_floors_are_left_to_cuda_unless_they_are_named(model, peer, workload, inputs):
    def keys(*chosen):
        return [found.key for found in make_contestants(workload, model, peer, inputs, chosen)]

    assert keys("floor") == ["floor"]
    assert keys("floor-graphed", "full-floor-graphed") == ["full-floor-graphed", "floor-graphed"]


@pytest.mark.parametrize("which", ["workload", "questions"])
def test_each_is_compared_with_the_floor_of_its_attention(request, model, peer, which):
    workload = request.getfixturevalue(which)
    inputs = request.getfixturevalue("inputs" if which == "workload" else "question_inputs")
    full = [found.key for found in make_contestants(workload, model, peer, inputs) if found.attention == "full"]
    assert (
        full
        == {
            "workload": ["full", "reference", "full-floor"],
            "questions": ["full-together", "full-apart", "full-floor"],
        }[which]
    )


class TestGeoDiT:
    @pytest.mark.parametrize("mode", DEFAULT_MODES, ids=lambda mode: mode.key)
    def test_it_is_generate_in_a_mode(self, model, workload, inputs, mode):
        tokens = GeoDiTContestant(model, mode, workload, inputs).run(ignore)
        assert model.config.attention_mode == mode.attention_mode
        expected = model.generate(
            inputs.input_ids, inputs.pixel_values, max_new_tokens=8, max_denoising_steps=3, **mode.generation_kwargs
        )
        assert torch.equal(tokens, expected[:, -8:])

    @pytest.mark.parametrize("mode", DEFAULT_MODES, ids=lambda mode: mode.key)
    def test_it_marks_the_prefix_and_every_step(self, model, workload, inputs, mode):
        marks = []
        GeoDiTContestant(model, mode, workload, inputs).run(marks.append)
        assert marks == [0, 1, 2, 3]

    def test_the_prefix_ends_when_the_network_has_seen_it_and_not_the_canvas(self, model, workload, inputs):
        """Image and prompt run through the layers before mark 0, the canvas alone after it."""
        events = []
        layer = model.model.language_model.layers[0]
        handle = layer.register_forward_pre_hook(lambda module, args: events.append(f"{args[0].shape[1]} tokens"))
        GeoDiTContestant(model, BY_KEY["prefix-cached"], workload, inputs).run(events.append)
        handle.remove()
        assert events == ["4 tokens", "17 tokens", 0, "8 tokens", 1, "8 tokens", 2, "8 tokens", 3]

    @pytest.mark.parametrize(("mode", "floor"), [("prefix-cached", "floor"), ("full", "full-floor")])
    def test_both_attentions_do_their_least_work_and_no_more(self, model, peer, workload, inputs, mode, floor):
        flops = [count_flops(contestant(key, workload, model, peer, inputs))[0] for key in (mode, floor)]
        assert flops[0] == flops[1]

    def test_unwatched_it_gives_the_same_tokens_and_tells_no_streamer(self, model, workload, inputs, monkeypatch):
        found = GeoDiTContestant(model, BY_KEY["prefix-cached"], workload, inputs)
        watched = found.run(ignore)
        monkeypatch.setattr(contestants, "_StepMarks", None)
        assert torch.equal(found.run(None), watched)

    def test_work_is_counted_with_the_arguments_that_leave_graphs_out(self, model, peer, workload, inputs):
        mode = replace(BY_KEY["prefix-cached"], uncaptured_kwargs={"use_cache": False})
        counted = count_flops(GeoDiTContestant(model, mode, workload, inputs))[0]
        uncached = count_flops(contestant("prefix-uncached", workload, model, peer, inputs))[0]
        assert counted == uncached > count_flops(contestant("prefix-cached", workload, model, peer, inputs))[0]

    @pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.key)
    def test_what_runs_while_operators_are_counted_leaves_no_graph_and_no_compiled_layer(
        self, model, workload, inputs, mode, monkeypatch
    ):
        """They would be used in all later runs, and of compiled layers a graph would hold the uncompiled ones."""
        monkeypatch.setattr(loop_choice_geodit, "asks_for_capture", lambda setting, device: setting in (True, "auto"))
        model = copy.deepcopy(model)
        for name in KEPT_BY_MODELS:
            model.__dict__.pop(name, None)
        count_flops(GeoDiTContestant(model, mode, workload, inputs))
        assert KEPT_BY_MODELS.isdisjoint(model.__dict__)

    def test_it_is_prepared_by_as_many_runs_as_its_mode_needs(self, model, workload, inputs):
        seen = []
        handle = model.model.vision_tower.register_forward_pre_hook(lambda module, args: seen.append("image"))
        for mode in (BY_KEY["prefix-cached"], replace(BY_KEY["prefix-cached"], runs_to_prepare=2)):
            GeoDiTContestant(model, mode, workload, inputs).prepare()
            seen.append("prepared")
        handle.remove()
        assert seen == ["prepared", "image", "image", "prepared"]

    def test_modes_that_compute_more_are_seen_to(self, model, peer, workload, inputs):
        keys = ("prefix-cached", "refreshed-4", "full", "reference")
        flops = [count_flops(contestant(key, workload, model, peer, inputs))[0] for key in keys]
        assert flops == sorted(flops)
        assert len(set(flops)) == len(flops)


class TestQuestions:
    @pytest.mark.parametrize("mode", QUESTION_MODES, ids=lambda mode: mode.key)
    def test_one_call_gives_the_answers_of_many(self, model, peer, questions, question_inputs, mode):
        together, apart = (
            contestant(f"{mode.key}-{how}", questions, model, peer, question_inputs).run(ignore)
            for how in ("together", "apart")
        )
        assert together.shape == (3, 8)
        assert torch.equal(together, apart)

    @pytest.mark.parametrize(("mode", "floor"), [("prefix-cached", "floor"), ("full", "full-floor")])
    def test_one_call_does_the_least_work_and_no_more(self, model, peer, questions, question_inputs, mode, floor):
        keys = (f"{mode}-together", floor)
        flops = [count_flops(contestant(key, questions, model, peer, question_inputs))[0] for key in keys]
        assert flops[0] == flops[1]

    @pytest.mark.parametrize("key", ["prefix-cached-apart", "autoregressive-dynamic-apart"])
    def test_one_by_one_the_work_that_is_counted_is_that_of_a_run(self, model, peer, questions, question_inputs, key):
        apart = contestant(key, questions, model, peer, question_inputs)
        assert torch.equal(apart.run_uncaptured(), apart.run(None))

    def test_the_image_is_encoded_within_the_time_and_once(self, model, questions, question_inputs):
        encoded = []
        handle = model.model.vision_tower.register_forward_pre_hook(
            lambda module, args: encoded.append(args[0].shape[0])
        )
        QuestionsTogether(model, BY_KEY["prefix-cached"], questions, question_inputs).run(ignore)
        handle.remove()
        assert encoded == [1]


class TestAutoregressive:
    @pytest.mark.parametrize("cache", ["dynamic", "static"])
    @pytest.mark.parametrize("canvas_length", [1, 8])
    def test_it_generates_as_many_tokens_as_a_canvas_has(self, peer, workload, inputs, cache, canvas_length):
        marks = []
        workload = replace(workload, canvas_length=canvas_length)
        tokens = AutoregressiveContestant(peer, cache, workload, inputs).run(marks.append)
        assert tokens.shape == (2, canvas_length)
        # The first token comes with the prefix.
        assert marks == list(range(canvas_length))

    @pytest.mark.parametrize("cache", ["dynamic", "static"])
    def test_unwatched_and_counted_it_gives_the_same_tokens(self, peer, workload, inputs, cache):
        found = AutoregressiveContestant(peer, cache, workload, inputs)
        assert torch.equal(found.run(None), found.run(ignore))
        assert torch.equal(found.run_uncaptured(), found.run(ignore))

    @pytest.mark.parametrize(
        ("cache", "device", "compiled"),
        [("static", "cuda", True), ("static", "cpu", False), ("dynamic", "cuda", False)],
    )
    def test_what_transformers_compiles_is_compiled_before_it_is_timed(
        self, workload, inputs, cache, device, compiled
    ):
        peer = SimpleNamespace(device=torch.device(device))
        found = AutoregressiveContestant(peer, cache, workload, inputs)
        assert ("compiled" in found.name) == compiled
        assert (found.runs_to_prepare > 0) == compiled

    @torch.no_grad()
    @pytest.mark.parametrize("cache", ["dynamic", "static"])
    def test_its_tokens_are_those_of_greedy_decoding_without_a_cache(self, peer, workload, inputs, cache):
        sequence = inputs.input_ids
        for _ in range(8):
            logits = peer(input_ids=sequence, pixel_values=inputs.pixel_values, use_cache=False).logits
            sequence = torch.cat([sequence, logits[:, -1:].argmax(-1)], dim=1)
        tokens = AutoregressiveContestant(peer, cache, workload, inputs).run(ignore)
        assert torch.equal(tokens, sequence[:, -8:])

    def test_the_vocabulary_is_projected_to_at_one_position_a_token(self, peer, workload, inputs):
        positions = []
        handle = peer.lm_head.register_forward_pre_hook(lambda module, args: positions.append(args[0].shape[1]))
        AutoregressiveContestant(peer, "dynamic", workload, inputs).run(ignore)
        handle.remove()
        assert positions == [1] * 8
