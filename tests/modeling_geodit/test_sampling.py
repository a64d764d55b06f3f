# SPDX-License-Identifier: Apache-2.0
"""Which tokens are proposed, and with what probability. B batch, L length of the block, K masked, V vocabulary."""

import pytest
import torch

from defined_environment import DEVICE
from geodit.modeling_geodit.decoding_geodit import GreedySampler, GumbelSampler, Proposal
from geodit.modeling_geodit.random_geodit import TOKENS, RowStreams
from geodit.modeling_geodit.softmax_geodit import Softmax
from on_device import OnDevice

MASKED = torch.tensor([[True, True, False, True], [False, False, False, False], [False, True, True, False]])


def random_logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


class TestGumbel:
    def test_gives_the_choice_of_lladas_formula_for_the_same_random_numbers(self):
        logits = random_logits(5, 50)
        uniform = RowStreams.spawn(3, DEVICE, seed=4).at(TOKENS).along(4).uniform(50)[MASKED].cpu()
        reference = (logits.double().exp() / (-uniform.log()) ** 0.7).argmax(-1)
        assert torch.equal(
            OnDevice(GumbelSampler(0.7)).propose(logits, MASKED, RowStreams.spawn(3, DEVICE, seed=4)), reference
        )

    def test_samples_from_the_softmax_at_the_temperature(self):
        logits, temperature = torch.tensor([2.0, 1.0, 0.0, -1.0]), 1.5
        masked = torch.ones(1, 40_000, dtype=torch.bool)
        tokens = OnDevice(GumbelSampler(temperature)).propose(
            logits.expand(40_000, 4), masked, RowStreams.spawn(1, DEVICE, seed=0)
        )
        frequencies = tokens.bincount(minlength=4) / 40_000
        assert torch.allclose(frequencies, (logits / temperature).softmax(-1), atol=0.01)

    def test_a_rows_tokens_do_not_depend_on_the_other_rows(self):
        logits, sampler = random_logits(5, 50), OnDevice(GumbelSampler(3.0))
        together = sampler.propose(logits, MASKED, RowStreams.spawn(3, DEVICE, seed=1))
        others_done = MASKED & torch.tensor([[False], [False], [True]])
        alone = sampler.propose(logits[3:], others_done, RowStreams.spawn(3, DEVICE, seed=1))
        assert torch.equal(together[3:], alone)

    @pytest.mark.parametrize("at_once", [1, 60, 120])
    def test_a_large_vocabulary_is_taken_a_few_positions_at_a_time(self, at_once, monkeypatch):
        logits, sampler = random_logits(5, 50), OnDevice(GumbelSampler(1.0))
        whole = sampler.propose(logits, MASKED, RowStreams.spawn(3, DEVICE, seed=1))
        largest = []
        draw = RowStreams.uniform

        def counted(self, *shape):
            numbers = draw(self, *shape)
            largest.append(numbers.numel())
            return numbers

        for name in ("_AT_ONCE", "_AT_ONCE_ON_CPU"):
            monkeypatch.setattr(f"geodit.modeling_geodit.decoding_geodit.{name}", at_once)
        monkeypatch.setattr(RowStreams, "uniform", counted)
        assert torch.equal(sampler.propose(logits, MASKED, RowStreams.spawn(3, DEVICE, seed=1)), whole)
        assert max(largest) == max(50, at_once // 50 * 50)

    def test_logits_too_large_for_exp_are_no_trouble(self):
        masked = torch.tensor([[True]])
        tokens = OnDevice(GumbelSampler(1.0)).propose(
            torch.tensor([[2000.0, 1000.0]]), masked, RowStreams.spawn(1, DEVICE, seed=0)
        )
        assert tokens.tolist() == [0]

    def test_the_logits_stay_as_they_are(self):
        logits = random_logits(5, 50)
        before = logits.clone()
        OnDevice(GumbelSampler(1.0)).propose(logits, MASKED, RowStreams.spawn(3, DEVICE, seed=1))
        assert torch.equal(logits, before)

    def test_temperature_zero_is_the_greedy_samplers_business(self):
        with pytest.raises(ValueError, match="above 0"):
            GumbelSampler(0.0)

    def test_random_numbers_must_be_given(self):
        with pytest.raises(ValueError, match="RowStreams"):
            OnDevice(GumbelSampler(1.0)).propose(random_logits(5, 50), MASKED, None)


class TestProposal:
    def test_numbers_of_positions_go_to_their_places_and_elsewhere_is_0(self):
        proposal = Proposal(MASKED, torch.arange(1, 6), Softmax.of(random_logits(5, 8)))
        assert proposal.to_grid(proposal.tokens).tolist() == [[1, 2, 0, 3], [0, 0, 0, 0], [0, 4, 5, 0]]

    def test_confidence_is_the_probability_of_the_proposed_token(self):
        logits = random_logits(5, 8)
        tokens = OnDevice(GreedySampler()).propose(logits, MASKED, None)
        tokens[2] = 3
        expected = logits.double().softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        confidence = Proposal(MASKED, tokens, Softmax.of(logits)).confidence
        assert confidence.dtype == torch.float64
        torch.testing.assert_close(confidence, expected, rtol=1e-6, atol=0)
