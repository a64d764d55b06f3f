# SPDX-License-Identifier: Apache-2.0
"""An answer ends once: what stands behind an EOS is EOS from the step on that commits it, and costs no step."""

import pytest
import torch

from geodit.modeling_geodit.decoding_geodit import Block, DecodingPolicy
from geodit.modeling_geodit.denoising_loop_geodit import denoise
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.predictors_geodit import CanvasPredictor
from geodit.modeling_geodit.step_rules_geodit import StepRules

EOS, MASK, VOCAB = 0, 7, 8


class Told(CanvasPredictor):
    """Predicts what it is told of each position: a token and how sure it is. Counts its runs."""

    def __init__(self, tokens, sureness, device):
        logits = torch.zeros(len(tokens), VOCAB)
        logits[torch.arange(len(tokens)), torch.tensor(tokens)] = torch.tensor(sureness, dtype=torch.float32)
        self.logits = logits.to(device)
        self.runs = 0

    def __call__(self, canvas, valid, wanted, *, begins_block):
        self.runs += 1
        return self.logits.expand(len(canvas), -1, -1)[wanted].clone()

    def keep_rows(self, rows):
        pass


def run(device, tokens, sureness, steps, *, fill_after_eos=True, blocks=None, rows=1):
    predictor = Told(tokens, sureness, device)
    length = len(tokens)
    state = DenoisingState.fully_masked(torch.full((rows,), length, device=device), length, MASK, EOS)
    seen = [
        state.canvas[0].tolist()
        for _ in denoise(
            predictor, StepRules(DecodingPolicy(), [EOS], fill_after_eos), state, blocks or [Block(0, length, steps)]
        )
    ]
    return predictor, state, seen


def test_all_behind_is_eos_in_the_same_step(device):
    _, state, seen = run(device, [1, 2, 3, EOS, 4, 5, EOS, 6], [1, 2, 3, 9, 4, 5, 8, 6], steps=8)
    assert seen[0] == [MASK, MASK, MASK, EOS, EOS, EOS, EOS, EOS]
    assert state.canvas[0].tolist() == [1, 2, 3, EOS, EOS, EOS, EOS, EOS]


def test_steps_are_shared_out_over_what_is_in_front(device):
    predictor, state, _ = run(device, [1, 2, 3, EOS, 4, 5, EOS, 6], [1, 2, 3, 9, 4, 5, 8, 6], steps=8)
    assert predictor.runs == 4
    assert state.commit_steps[0].tolist() == [3, 2, 1, 0, -1, -1, -1, -1]
    predictor, _, _ = run(
        device, [1, 2, 3, EOS, 4, 5, EOS, 6], [1, 2, 3, 9, 4, 5, 8, 6], steps=8, fill_after_eos=False
    )
    assert predictor.runs == 8


def test_an_eos_behind_the_first_waits_for_it_however_sure_it_is(device):
    predictor, state, _ = run(device, [1, 2, EOS, 3, EOS, EOS], [1, 2, 0.5, 0.4, 8, 9], steps=6)
    assert state.canvas[0].tolist() == [1, 2, EOS, EOS, EOS, EOS]
    assert state.commit_steps[0].tolist() == [1, 0, 2, -1, -1, -1]
    assert predictor.runs == 3


def test_an_eos_that_was_committed_keeps_its_step_and_confidence(device):
    _, state, _ = run(device, [1, 2, EOS, 3, EOS, EOS], [1, 2, 7, 0.5, 8, 9], steps=1)
    assert state.canvas[0].tolist() == [1, 2, EOS, EOS, EOS, EOS]
    assert state.commit_steps[0].tolist() == [0, 0, 0, -1, 0, 0]
    assert (state.confidences[0] > 0).tolist() == [True, True, True, False, True, True]


def test_what_was_committed_behind_it_is_taken_back(device):
    _, state, seen = run(device, [1, EOS, 2, 3], [1, 5, 8, 2], steps=4)
    assert seen[0] == [MASK, MASK, 2, MASK]
    assert seen[1] == [MASK, EOS, EOS, EOS]
    assert state.commit_steps[0].tolist() == [2, 1, -1, -1]
    assert state.confidences[0, 2] == 0


def test_blocks_behind_an_answer_take_no_step(device):
    predictor, state, _ = run(
        device,
        [1, EOS, 2, 3, 4, 5],
        [1, 5, 2, 2, 2, 2],
        steps=6,
        blocks=[Block(0, 2, 2), Block(2, 4, 2), Block(4, 6, 2)],
    )
    assert predictor.runs == 2
    assert state.canvas[0].tolist() == [1, EOS, EOS, EOS, EOS, EOS]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_suffice(device, steps):
    predictor, state, _ = run(device, [1, 2, 3, 4, EOS, EOS, EOS, EOS], [4, 3, 2, 1, 5, 6, 7, 8], steps=steps)
    assert predictor.runs <= steps
    assert state.canvas[0].tolist() == [1, 2, 3, 4, EOS, EOS, EOS, EOS]


def test_steps_made_count_those_that_committed_what_was_taken_back(device):
    _, state, _ = run(device, [1, EOS, 2, 3], [1, 5, 8, 2], steps=4)
    assert state.steps_made.tolist() == [3]
    assert sorted({step for step in state.commit_steps[0].tolist() if step >= 0}) == [1, 2]


def test_steps_made_are_those_of_each_row(device):
    predictor = Told([1, 2, 3, 4], [4, 3, 2, 1], device)
    state = DenoisingState.fully_masked(torch.tensor([4, 2], device=device), 4, MASK, EOS)
    list(denoise(predictor, StepRules(DecodingPolicy(), [EOS], True), state, [Block(0, 4, 4)]))
    assert (state.steps_made.tolist(), state.step) == ([4, 2], 4)


def test_the_probability_of_an_end_is_kept_with_each_token(device):
    predictor, state, _ = run(device, [1, 2, EOS, 3], [1, 2, 7, 5], steps=4)
    probabilities = predictor.logits.softmax(-1)[:, EOS]
    expected = torch.where(state.commit_steps[0] >= 0, probabilities, 0.0)
    torch.testing.assert_close(state.end_probabilities[0], expected)
    assert state.end_probabilities[0, 3] == 0  # behind the end
