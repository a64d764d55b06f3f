# SPDX-License-Identifier: Apache-2.0
"""Softmax against double precision: how exact probabilities, margins and entropies are, and what ties.

K positions, V vocabulary, p the probability of the most probable token, R = (1 - p) / p the rest.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from defined_environment import DEVICE
from geodit.modeling_geodit.softmax_geodit import Softmax, first_argmax

K, V = 40, 3000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def spread_out():
    """Logits from -50 to 50."""
    return torch.rand(K, V, generator=seeded()) * 100 - 50


def ordinary():
    return torch.randn(K, V, generator=seeded()) * 3


def nearly_certain():
    """One token ahead of the others, from 10 nats in the first position to 48 in the last."""
    logits = torch.randn(K, V, generator=seeded())
    logits[:, 7] = torch.linspace(10, 48, K)
    return logits


def two_candidates():
    """Two tokens and nothing else, from 0 nats apart to 36."""
    logits = torch.full((K, V), -300.0)
    logits[:, 7] = -20 + torch.rand(K, generator=seeded())
    logits[:, 5] = logits[:, 7] + torch.linspace(0, 36, K)
    return logits


ALL = pytest.mark.parametrize("make", [spread_out, ordinary, nearly_certain, two_candidates])
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


class DoubleSoftmax:
    """The same quantities from logits in double precision, R summed without the 1 that would swallow it."""

    def __init__(self, logits):
        logits = logits.double()
        largest, self.peaks = logits.max(-1)
        ratios = (logits - largest.unsqueeze(-1)).exp()
        others = ratios.scatter(-1, self.peaks.unsqueeze(-1), 0)
        self.rest = others.sum(-1)
        self.probabilities = logits.softmax(-1)
        self.margin = (1 - others.amax(-1)) / (1 + self.rest)
        self.entropy = self.rest.log1p() + torch.special.entr(others).sum(-1) / (1 + self.rest)


@ALL
@BOTH
class TestPrecision:
    def test_p_and_its_distance_from_1_are_exact_to_a_few_millionths(self, make, dtype):
        logits = make().to(DEVICE, dtype)
        exact, softmax = DoubleSoftmax(logits), Softmax.of(logits.clone())
        assert torch.equal(softmax.peaks, exact.peaks)
        torch.testing.assert_close(softmax.rest, exact.rest, rtol=3e-6, atol=0)
        p = softmax.probability(softmax.peaks)
        torch.testing.assert_close(p, 1 / (1 + exact.rest), rtol=1e-6, atol=0)
        # To the resolution of double precision near 1, that is.
        torch.testing.assert_close(1 - p, exact.rest / (1 + exact.rest), rtol=3e-6, atol=2.3e-16)

    def test_positions_are_in_the_order_of_a_softmax_in_double_precision(self, make, dtype):
        logits = make().to(DEVICE, dtype)
        p = Softmax.of(logits.clone()).probability(logits.argmax(-1))
        reference = logits.double().softmax(-1).amax(-1)
        # Sums of the reference itself are only exact to so much; beyond it positions are certain, and tie or nearly.
        decided = reference < 1 - 1e-12
        assert torch.equal(p[decided].argsort(stable=True), reference[decided].argsort(stable=True))

    def test_any_token_has_its_probability(self, make, dtype):
        logits = make().to(DEVICE, dtype)
        tokens = torch.randint(0, V, (K,), generator=seeded(1)).to(DEVICE)
        expected = logits.double().softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        # Below 1e-38 single precision has nothing left: as good as impossible.
        torch.testing.assert_close(Softmax.of(logits).probability(tokens), expected, rtol=1e-5, atol=1e-37)

    def test_margin_and_entropy(self, make, dtype):
        logits = make().to(DEVICE, dtype)
        exact, softmax = DoubleSoftmax(logits), Softmax.of(logits)
        torch.testing.assert_close(softmax.margin, exact.margin, rtol=0, atol=1e-7)
        torch.testing.assert_close(1 - softmax.margin, 1 - exact.margin, rtol=3e-6, atol=1e-7)
        torch.testing.assert_close(softmax.entropy, exact.entropy, rtol=3e-6, atol=0)
        assert (softmax.entropy >= 0).all()


class TestTies:
    def test_confidences_differ_where_single_precision_has_only_1(self):
        logits = torch.tensor([[18.0, 0.0], [19.0, 0.0]], device=DEVICE)
        assert (logits.softmax(-1).amax(-1) == 1).all()
        first, second = Softmax.of(logits).probability(torch.tensor([0, 0], device=DEVICE))
        assert first < second < 1

    def test_positions_more_than_36_nats_ahead_tie_as_in_double_precision(self):
        logits = torch.tensor([[38.0, 0.0], [40.0, 0.0]], device=DEVICE)
        assert (logits.double().softmax(-1).amax(-1) == 1).all()
        assert Softmax.of(logits).probability(torch.tensor([0, 0], device=DEVICE)).tolist() == [1, 1]

    def test_logits_that_differ_by_a_constant_tie(self):
        logits = torch.randint(-8, 8, (1, V), generator=seeded()).float().to(DEVICE)
        first, second = Softmax.of(torch.cat([logits, logits + 2])).rest
        assert first == second

    def test_bfloat16_brings_positions_into_another_order_but_hardly_ever_to_a_tie(self):
        logits = torch.randn(K, V, generator=seeded())
        logits[:, 7] = 24 + torch.rand(K, generator=seeded()) / 4
        single, half = (Softmax.of(x).rest for x in (logits.to(DEVICE, copy=True), logits.to(DEVICE).bfloat16()))
        assert not torch.equal(half.argsort(), single.argsort())
        assert len(half.unique()) == K
        # Both the peak and the others are rounded, here by 1/16 and 1/128 at most.
        assert ((half / single).log().abs() <= 1 / 16 + 1 / 128).all()

    def test_of_equally_probable_tokens_the_lowest_id_is_the_peak(self):
        softmax = Softmax.of(torch.tensor([[1.0, 2.0, 2.0, 2.0]], device=DEVICE))
        assert softmax.peaks.tolist() == [1]
        assert softmax.margin.item() == 0


class TestMemory:
    def test_logits_in_single_precision_become_the_ratios(self):
        logits = ordinary().to(DEVICE)
        assert Softmax.of(logits).ratios.data_ptr() == logits.data_ptr()

    def test_other_logits_are_left_alone(self):
        logits = ordinary().to(DEVICE, torch.bfloat16)
        before = logits.clone()
        Softmax.of(logits)
        assert torch.equal(logits, before)

    def test_entropies_are_the_same_however_many_positions_are_computed_at_a_time(self, monkeypatch):
        at_once = Softmax.of(ordinary().to(DEVICE)).entropy
        monkeypatch.setattr("geodit.modeling_geodit.softmax_geodit._CHUNK", 3 * V)
        assert torch.equal(Softmax.of(ordinary().to(DEVICE)).entropy, at_once)


class TestEdges:
    def test_no_position_at_all(self):
        softmax = Softmax.of(torch.zeros(0, V, device=DEVICE))
        assert softmax.probability(softmax.peaks).shape == softmax.margin.shape == softmax.entropy.shape == (0,)

    def test_a_vocabulary_of_one(self):
        softmax = Softmax.of(torch.tensor([[3.0]], device=DEVICE))
        assert (softmax.margin.item(), softmax.entropy.item()) == (1, 0)

    def test_impossible_tokens(self):
        softmax = Softmax.of(torch.tensor([[0.0, -torch.inf, 0.0]], device=DEVICE))
        assert softmax.probability(torch.tensor([2], device=DEVICE)).item() == 0.5
        assert softmax.entropy.item() == pytest.approx(torch.tensor(2.0).log().item())


class TestFirstArgmax:
    @settings(deadline=None)
    @given(st.integers(1, 3000), st.integers(1, 5), st.integers(0, 2**31))
    def test_is_argmax(self, size, distinct, seed):
        # Few distinct numbers: nearly every maximum stands in many places.
        values = torch.randint(0, distinct, (3, size), generator=seeded(seed)).float().to(DEVICE)
        assert torch.equal(first_argmax(values).cpu(), values.cpu().argmax(-1))

    @pytest.mark.parametrize("size", [1024, 1300])
    @pytest.mark.parametrize("place", [0, 511, 512, 1000, 1023, -1])
    def test_finds_a_maximum_in_every_group(self, size, place):
        values = torch.zeros(1, size, device=DEVICE)
        values[0, place] = 1
        assert first_argmax(values).item() == place % size
