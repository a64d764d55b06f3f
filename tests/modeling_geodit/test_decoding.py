# SPDX-License-Identifier: Apache-2.0
"""Decoding policies apart from any network: what a step decides, and what the steps amount to.

B batch, L length of the block, K masked positions, V vocabulary, N denoising steps.
"""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from defined_environment import DEVICE
from geodit.configuration.generation_configuration_geodit import REMASKING_STRATEGIES, GeoDiTGenerationConfig
from geodit.modeling_geodit.decoding_geodit import (
    REMASKING_CLASSES,
    DecodingPolicy,
    EntropyBoundSelection,
    GreedySampler,
    GumbelSampler,
    HighEntropyRemasking,
    LowConfidenceRemasking,
    LowMarginRemasking,
    RandomRemasking,
    RemaskingStrategy,
    ThresholdSelection,
    TopKSelection,
    build_decoding_policy,
    num_to_commit,
)
from geodit.modeling_geodit.random_geodit import RowStreams
from on_device import OnDevice

CONFIGURATIONS = [
    {},
    {"remasking": "random"},
    {"remasking": "low_margin"},
    {"remasking": "high_entropy"},
    {"temperature": 1.0},
    {"confidence_threshold": 0.5},
    {"confidence_threshold": 0.3, "remasking": "low_margin", "temperature": 0.5},
    {"entropy_bound": 0.7, "remasking": "high_entropy"},
]


def random_logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


def all_masked(rows, length):
    return torch.ones(rows, length, dtype=torch.bool)


class TestBuilding:
    def test_the_configuration_chooses_the_parts(self):
        greedy = build_decoding_policy(GeoDiTGenerationConfig())
        assert isinstance(greedy.sampler, GreedySampler)
        assert isinstance(greedy.remasking, LowConfidenceRemasking)
        assert isinstance(greedy.selection, TopKSelection)
        assert not greedy.draws
        sampling = build_decoding_policy(GeoDiTGenerationConfig(temperature=0.5, remasking="random"))
        assert isinstance(sampling.sampler, GumbelSampler)
        assert isinstance(sampling.remasking, RandomRemasking)
        assert sampling.draws

    def test_a_threshold_or_a_bound_chooses_a_selection_that_commits_more(self):
        config = GeoDiTGenerationConfig(confidence_threshold=0.9, remasking="low_margin")
        policy = build_decoding_policy(config)
        assert isinstance(policy.remasking, LowMarginRemasking)
        assert isinstance(policy.selection, ThresholdSelection)
        assert policy.selection.threshold == 0.9
        policy = build_decoding_policy(GeoDiTGenerationConfig(entropy_bound=0.1, remasking="high_entropy"))
        assert isinstance(policy.remasking, HighEntropyRemasking)
        assert isinstance(policy.selection, EntropyBoundSelection)
        assert policy.selection.bound == 0.1

    def test_every_strategy_that_the_configuration_allows_has_a_class(self):
        assert set(REMASKING_CLASSES) == set(REMASKING_STRATEGIES)


class TestDecide:
    def test_a_decision_is_a_grid_that_is_empty_where_nothing_is_masked(self):
        masked = torch.tensor([[True, False, True], [False, True, False]])
        decision = OnDevice(DecodingPolicy()).decide(random_logits(3, 9), masked, torch.tensor([1, 1]))
        assert decision.tokens.dtype == torch.int64
        for grid in (decision.tokens, decision.confidence, decision.transfer):
            assert grid.shape == (2, 3)
            assert not grid[~masked].any()
        assert (decision.confidence[masked] > 0).all()
        assert decision.transfer.sum(-1).tolist() == [1, 1]

    def test_with_nothing_masked_nothing_happens(self):
        decision = OnDevice(DecodingPolicy()).decide(torch.zeros(0, 9), ~all_masked(2, 3), torch.tensor([0, 0]))
        assert not decision.transfer.any()

    @pytest.mark.parametrize("shape", [(1, 3, 9), (1, 9), (4, 9)])
    def test_logits_are_those_of_masked_or_of_all_positions(self, shape):
        masked = torch.tensor([[True, False, True]])
        message = rf"2 masked positions, or for each of all 3, but are of shape {re.escape(str(shape))}"
        with pytest.raises(ValueError, match=message):
            OnDevice(DecodingPolicy()).decide(random_logits(*shape), masked, torch.tensor([1]))

    @pytest.mark.parametrize("temperature", [0.0, 2.0])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_suppressed_tokens_are_never_proposed_but_keep_their_share_of_the_softmax(self, temperature, dtype):
        logits = random_logits(60, 5)
        logits[..., 3] = 9.0
        logits = logits.to(dtype)
        policy = build_decoding_policy(
            GeoDiTGenerationConfig(temperature=temperature, suppress_tokens=[1]), suppress_tokens=[3, 99]
        )
        proposal = OnDevice(policy).propose(logits.clone(), all_masked(2, 30), RowStreams.spawn(2, DEVICE, seed=0))
        assert set(proposal.tokens.tolist()) <= {0, 2, 4}
        expected = logits.double().softmax(-1).gather(-1, proposal.tokens.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(proposal.confidence, expected, rtol=1e-6, atol=0)

    @pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
    def test_a_row_is_decided_as_if_it_were_alone(self, options):
        policy = build_decoding_policy(GeoDiTGenerationConfig(**options))
        masked = torch.rand(3, 6, generator=torch.Generator().manual_seed(1)) < 0.7
        logits, num_transfer = random_logits(int(masked.sum()), 20), torch.tensor([1, 2, 1])
        random = RowStreams.spawn(3, DEVICE, seed=2)
        together = OnDevice(policy).decide(logits.clone(), masked, num_transfer, random)
        owner = masked.nonzero()[:, 0]
        for row in range(3):
            streams = RowStreams.spawn(3, DEVICE, seed=2).take([row])
            alone = OnDevice(policy).decide(
                logits[owner == row], masked[row : row + 1], num_transfer[row : row + 1], streams
            )
            assert torch.equal(alone.tokens[0], together.tokens[row])
            assert torch.equal(alone.transfer[0], together.transfer[row])
            assert torch.equal(alone.confidence[0], together.confidence[row])


class TestRemasking:
    def test_low_confidence_keeps_the_surest_tokens(self):
        logits = random_logits(2, 8, 20)
        decision = OnDevice(DecodingPolicy()).decide(
            logits.flatten(0, 1).clone(), all_masked(2, 8), torch.tensor([3, 3])
        )
        probability, tokens = logits.softmax(-1).max(-1)
        assert torch.equal(decision.tokens, tokens)
        torch.testing.assert_close(decision.confidence.float(), probability)
        for row in range(2):
            surest = probability[row].topk(3).indices.sort().values
            assert torch.equal(decision.transfer[row].nonzero().flatten(), surest)

    def test_the_strategies_rank_the_same_positions_differently(self):
        probabilities = [
            [0.50, 0.49, 0.01, 0.00],  # the most probable token, but hardly ahead of another
            [0.47, 0.18, 0.18, 0.17],  # far ahead of the second, but of the highest entropy
            [0.49, 0.38, 0.13, 0.00],  # neither
        ]
        logits, masked, one = torch.tensor(probabilities).log(), all_masked(1, 3), torch.tensor([1])
        chosen = {
            strategy: OnDevice(DecodingPolicy(remasking=strategy()))
            .decide(logits.clone(), masked, one)
            .transfer[0]
            .tolist()
            for strategy in (LowConfidenceRemasking, LowMarginRemasking, HighEntropyRemasking)
        }
        assert chosen == {
            LowConfidenceRemasking: [True, False, False],
            LowMarginRemasking: [False, True, False],
            HighEntropyRemasking: [True, False, False],
        }

    def test_random_chooses_positions_evenly_and_still_reports_probabilities(self):
        policy = DecodingPolicy(remasking=RandomRemasking())
        random = RowStreams.spawn(1, DEVICE, seed=0)
        logits = random_logits(4, 6)
        counts = torch.zeros(4)
        for step in range(2000):
            decision = OnDevice(policy).decide(logits.clone(), all_masked(1, 4), torch.tensor([1]), random.at(step))
            counts += decision.transfer[0]
        assert torch.allclose(counts / 2000, torch.full((4,), 0.25), atol=0.04)
        torch.testing.assert_close(decision.confidence[0], logits.double().softmax(-1).amax(-1))

    def test_a_policy_that_draws_asks_for_random_numbers(self):
        policy = DecodingPolicy(remasking=RandomRemasking())
        with pytest.raises(ValueError, match="RowStreams"):
            OnDevice(policy).decide(random_logits(4, 6), all_masked(1, 4), torch.tensor([1]))

    def test_a_further_strategy_is_a_class_with_one_method(self):
        class LeftToRight(RemaskingStrategy):
            """Keeps what stands farthest to the left."""

            def score(self, proposal, random):
                return -proposal.masked.nonzero()[:, 1].double()

        masked = torch.tensor([[False, True, True, True], [True, True, True, True]])
        policy = DecodingPolicy(remasking=LeftToRight())
        transfer = OnDevice(policy).decide(random_logits(7, 6), masked, torch.tensor([2, 1])).transfer
        assert transfer.tolist() == [[False, True, True, False], [True, False, False, False]]


def denoise(policy, masked, steps, seed):
    """Decide step after step on logits drawn anew each time.

    Returns `(B, L)` int64, how often each position was committed, and the number of steps that committed something.
    """
    generator = torch.Generator().manual_seed(seed)
    random = RowStreams.spawn(len(masked), DEVICE, seed=seed)
    committed, used = torch.zeros(masked.shape, dtype=torch.long), 0
    for step, steps_left in enumerate(range(steps, 0, -1)):
        num_transfer = num_to_commit(masked.sum(-1), steps_left)
        logits = torch.randn(int(masked.sum()), 12, generator=generator) * 4
        transfer = OnDevice(policy).decide(logits, masked, num_transfer, random.at(step)).transfer
        assert not (transfer & ~masked).any()
        assert (transfer.sum(-1) >= num_transfer).all()
        masked = masked & ~transfer
        committed += transfer
        used += bool(transfer.any())
    return committed, used


class TestSteps:
    @settings(deadline=None, max_examples=40)
    @given(
        st.sampled_from(CONFIGURATIONS), st.integers(1, 10), st.integers(1, 12), st.floats(0, 1), st.integers(0, 999)
    )
    def test_every_masked_position_is_committed_exactly_once(self, options, length, steps, share, seed):
        masked = torch.rand(2, length, generator=torch.Generator().manual_seed(seed)) < share
        policy = build_decoding_policy(GeoDiTGenerationConfig(**options))
        committed, used = denoise(policy, masked, steps, seed)
        assert torch.equal(committed, masked.long())
        assert used <= min(steps, length)

    @pytest.mark.parametrize(
        ("options", "most"),
        [
            ({"confidence_threshold": 0.0}, 1),
            ({"confidence_threshold": 0.5}, 6),
            ({"remasking": "low_margin", "confidence_threshold": 0.3}, 6),
            ({"remasking": "high_entropy", "entropy_bound": 1.0}, 6),
            ({"remasking": "high_entropy", "entropy_bound": 100.0}, 1),
        ],
        ids=str,
    )
    def test_adaptive_policies_are_done_early(self, options, most):
        committed, used = denoise(
            build_decoding_policy(GeoDiTGenerationConfig(**options)), all_masked(2, 16), 8, seed=0
        )
        assert committed.eq(1).all()
        assert used <= most

    def test_without_a_threshold_the_steps_are_those_of_the_schedule(self):
        _, used = denoise(DecodingPolicy(), all_masked(2, 16), 8, seed=0)
        assert used == 8
