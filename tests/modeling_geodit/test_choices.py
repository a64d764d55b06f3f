# SPDX-License-Identifier: Apache-2.0
"""A closed set of answers: each has a probability, and without remasking the likeliest is the answer."""

import pytest
import torch

from geodit.modeling_geodit.choices_geodit import ChoicesPattern
from geodit.modeling_geodit.patterns_geodit import CanvasLogits

EOS, VOCAB = 0, 6


def all_masked(logits):
    rows, length, _ = logits.shape
    canvas = torch.full((rows, length), VOCAB, device=logits.device)
    everywhere = torch.ones_like(canvas, dtype=torch.bool)
    return CanvasLogits(logits.flatten(0, 1), everywhere, everywhere, canvas)


def draw(device, rows=3, length=3, seed=0):
    return torch.randn(rows, length, VOCAB, generator=torch.Generator().manual_seed(seed)).to(device) * 3


class TestProbabilities:
    answers = ((1,), (1, 2), (3, 4, 5))

    def test_are_those_of_whole_canvases_among_the_answers(self, device):
        logits = draw(device)
        found = ChoicesPattern(self.answers, [EOS]).answer_probabilities(all_masked(logits))
        canvases = torch.tensor([[1, EOS, EOS], [1, 2, EOS], [3, 4, 5]], device=device)
        each = logits.log_softmax(-1)[:, torch.arange(3), canvases].sum(-1)
        torch.testing.assert_close(found, each.softmax(-1))

    def test_of_any_end_are_added_up(self, device):
        logits = draw(device)
        found = ChoicesPattern([(1,), (2, 3)], [EOS, 5]).answer_probabilities(all_masked(logits))
        both = logits[..., [EOS, 5]].logsumexp(-1)
        scores = [logits[:, 0, 1] + both[:, 1] + both[:, 2], logits[:, 0, 2] + logits[:, 1, 3] + both[:, 2]]
        torch.testing.assert_close(found, torch.stack(scores, -1).softmax(-1))

    def test_an_answer_that_does_not_fit_has_none(self, device):
        found = ChoicesPattern([(1,), (1, 2, 3, 4)], [EOS]).answer_probabilities(all_masked(draw(device)))
        assert found.tolist() == [[1.0, 0.0]] * 3

    @pytest.mark.parametrize("seed", range(5))
    def test_the_likeliest_is_what_the_pattern_proposes(self, device, seed):
        pattern, known = ChoicesPattern(self.answers, [EOS]), all_masked(draw(device, rows=8, seed=seed))
        best = pattern.answer_probabilities(known).argmax(-1).tolist()
        proposed = [tuple(token for token in row if token != EOS) for row in pattern.propose(known).tokens.tolist()]
        assert proposed == [self.answers[index] for index in best]


def test_there_must_be_an_answer():
    with pytest.raises(ValueError, match="no answer"):
        ChoicesPattern([], [EOS])
