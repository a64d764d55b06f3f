# SPDX-License-Identifier: Apache-2.0
"""Decoding policies apart from any network: schedule, blocks, sampling, confidence, selection."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodit.configuration.generation_configuration_geodit import (
    REMASKING_STRATEGIES,
    GeoDiTGenerationConfig,
)
from geodit.modeling_geodit.decoding_geodit import (
    REMASKING_CLASSES,
    Block,
    DecodingPolicy,
    GreedySampler,
    GumbelSampler,
    LinearSchedule,
    LowConfidenceRemasking,
    RandomRemasking,
    RemaskingStrategy,
    RowGenerators,
    TopKSelection,
    build_decoding_policy,
    plan_blocks,
)

CPU = torch.device("cpu")


def random_logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


class TestLinearSchedule:
    def test_the_remainder_goes_to_the_earliest_steps_of_each_row(self):
        schedule = LinearSchedule().tokens_per_step(torch.tensor([16, 13]), steps=5)
        assert schedule.tolist() == [[4, 3, 3, 3, 3], [3, 3, 3, 2, 2]]

    def test_with_more_steps_than_tokens_the_last_steps_commit_nothing(self):
        assert LinearSchedule().tokens_per_step(torch.tensor([2]), steps=4).tolist() == [[1, 1, 0, 0]]

    @given(st.lists(st.integers(0, 200), min_size=1, max_size=4), st.integers(1, 64))
    def test_every_token_is_committed_once_and_the_load_is_even(self, num_masked, steps):
        schedule = LinearSchedule().tokens_per_step(torch.tensor(num_masked), steps)
        assert schedule.dtype == torch.int64
        assert schedule.shape == (len(num_masked), steps)
        assert schedule.sum(-1).tolist() == num_masked
        assert (schedule.diff(dim=-1) <= 0).all()
        assert (schedule.amax(-1) - schedule.amin(-1) <= 1).all()


class TestBlocks:
    def test_without_block_length_the_canvas_is_one_block(self):
        assert plan_blocks(32, None, 8) == (Block(0, 32, 8),)

    def test_steps_that_do_not_divide_go_to_the_earliest_blocks(self):
        assert plan_blocks(20, 8, 7) == (Block(0, 8, 3), Block(8, 16, 2), Block(16, 20, 2))

    def test_a_block_longer_than_the_canvas_is_the_canvas(self):
        assert plan_blocks(8, 16, 4) == (Block(0, 8, 4),)

    def test_a_block_without_a_step_is_refused(self):
        with pytest.raises(ValueError, match="3 denoising steps cannot serve 4 blocks"):
            plan_blocks(32, 8, 3)

    @given(st.integers(1, 100), st.integers(1, 120), st.integers(0, 50))
    def test_blocks_tile_the_canvas_and_share_all_steps(self, canvas_length, block_length, extra_steps):
        num_blocks = -(-canvas_length // block_length)
        blocks = plan_blocks(canvas_length, block_length, num_blocks + extra_steps)
        positions = [position for block in blocks for position in range(block.start, block.stop)]
        assert positions == list(range(canvas_length))
        steps = [block.steps for block in blocks]
        assert sum(steps) == num_blocks + extra_steps
        assert min(steps) >= 1
        assert steps == sorted(steps, reverse=True)
        assert max(steps) - min(steps) <= 1

    @given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
    def test_where_llada_is_defined_the_plan_is_lladas(self, num_blocks, block_length, steps_per_block):
        blocks = plan_blocks(num_blocks * block_length, block_length, num_blocks * steps_per_block)
        assert [block.stop - block.start for block in blocks] == [block_length] * num_blocks
        assert [block.steps for block in blocks] == [steps_per_block] * num_blocks


class TestRowGenerators:
    def test_the_numbers_of_a_row_do_not_depend_on_how_many_rows_follow(self):
        one = RowGenerators.spawn(1, CPU, seed=3).uniform(5)
        three = RowGenerators.spawn(3, CPU, seed=3).uniform(5)
        assert torch.equal(one[0], three[0])
        assert not torch.equal(three[0], three[1])

    def test_numbers_are_double_precision(self):
        assert RowGenerators.spawn(2, CPU, seed=0).uniform(3, 4).dtype == torch.float64

    def test_the_global_generator_is_the_source_when_nothing_is_given(self):
        torch.manual_seed(11)
        first = RowGenerators.spawn(2, CPU).uniform(4)
        torch.manual_seed(11)
        assert torch.equal(RowGenerators.spawn(2, CPU).uniform(4), first)

    def test_a_generator_advances_from_call_to_call(self):
        generator = torch.Generator().manual_seed(5)
        first = RowGenerators.spawn(1, CPU, generator=generator).uniform(4)
        assert not torch.equal(RowGenerators.spawn(1, CPU, generator=generator).uniform(4), first)

    def test_one_generator_a_row_ties_the_numbers_to_the_row_and_not_to_its_place(self):
        def generators(*seeds):
            return [torch.Generator().manual_seed(seed) for seed in seeds]

        forth = RowGenerators.spawn(2, CPU, generator=generators(1, 2)).uniform(4)
        back = RowGenerators.spawn(2, CPU, generator=generators(2, 1)).uniform(4)
        assert torch.equal(forth, back.flip(0))

    def test_bad_sources_are_refused(self):
        with pytest.raises(ValueError, match="1 generators were given for a batch of 2 rows"):
            RowGenerators.spawn(2, CPU, generator=[torch.Generator()])
        with pytest.raises(ValueError, match="not both"):
            RowGenerators.spawn(2, CPU, seed=1, generator=torch.Generator())


class TestSampling:
    def test_gumbel_noise_gives_the_choice_of_lladas_formula_for_the_same_random_numbers(self):
        logits = random_logits(2, 6, 50)
        uniform = RowGenerators.spawn(2, CPU, seed=4).uniform(6, 50)
        reference = (logits.double().exp() / (-uniform.log()) ** 0.7).argmax(-1)
        assert torch.equal(GumbelSampler(0.7).propose(logits, RowGenerators.spawn(2, CPU, seed=4)), reference)

    def test_gumbel_noise_samples_from_the_softmax_at_the_temperature(self):
        logits, temperature = torch.tensor([2.0, 1.0, 0.0, -1.0]), 1.5
        tokens = GumbelSampler(temperature).propose(logits.expand(1, 40_000, 4), RowGenerators.spawn(1, CPU, seed=0))
        frequencies = tokens.flatten().bincount(minlength=4) / 40_000
        assert torch.allclose(frequencies, (logits / temperature).softmax(-1), atol=0.01)

    def test_logits_too_large_for_exp_are_no_trouble(self):
        logits = torch.tensor([[[2000.0, 1000.0]]])
        assert GumbelSampler(1.0).propose(logits, RowGenerators.spawn(1, CPU, seed=0)).item() == 0

    def test_temperature_zero_is_the_greedy_samplers_business(self):
        with pytest.raises(ValueError, match="above 0"):
            GumbelSampler(0.0)

    @pytest.mark.parametrize("temperature", [0.0, 2.0])
    def test_suppressed_tokens_are_never_proposed_but_keep_their_share_of_the_softmax(self, temperature):
        logits = random_logits(2, 30, 5)
        logits[..., 3] = 9.0
        policy = build_decoding_policy(
            GeoDiTGenerationConfig(temperature=temperature, suppress_tokens=[1]), suppress_tokens=[3, 99]
        )
        proposal = policy.propose(logits, RowGenerators.spawn(2, CPU, seed=0))
        assert set(proposal.tokens.flatten().tolist()) <= {0, 2, 4}
        softmax = logits.double().softmax(-1)
        expected = softmax.gather(-1, proposal.tokens.unsqueeze(-1)).squeeze(-1)
        assert torch.equal(proposal.confidence, expected)

    def test_confidences_tell_tokens_apart_that_single_precision_would_not(self):
        logits = torch.tensor([[[18.0, 0.0], [19.0, 0.0]]])
        assert (logits.softmax(-1)[0, :, 0] == 1).all()
        confidence = DecodingPolicy().propose(logits).confidence
        assert confidence[0, 0] < confidence[0, 1] < 1


class TestSelection:
    def test_each_row_commits_its_own_number_of_masked_positions(self):
        scores = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.9, 0.8, 0.2, 0.1]])
        masked = torch.tensor([[True, False, True, True], [False, True, True, True]])
        transfer = TopKSelection().select(scores, masked, torch.tensor([1, 2]))
        assert transfer.tolist() == [[False, False, False, True], [False, True, True, False]]

    def test_among_equals_the_leftmost_is_first(self):
        transfer = TopKSelection().select(torch.ones(1, 40), torch.ones(1, 40, dtype=torch.bool), torch.tensor([3]))
        assert transfer[0].nonzero().flatten().tolist() == [0, 1, 2]

    @given(st.integers(0, 2**31), st.integers(0, 12))
    def test_nothing_is_committed_twice(self, seed, num_transfer):
        generator = torch.Generator().manual_seed(seed)
        scores = torch.rand(3, 8, generator=generator)
        masked = torch.rand(3, 8, generator=generator) < 0.5
        transfer = TopKSelection().select(scores, masked, torch.full((3,), num_transfer))
        assert not (transfer & ~masked).any()
        assert torch.equal(transfer.sum(-1), masked.sum(-1).clamp(max=num_transfer))
        for row in range(3):
            kept, left = scores[row][transfer[row]], scores[row][masked[row] & ~transfer[row]]
            assert not len(kept) or not len(left) or kept.min() >= left.max()


class TestPolicy:
    def test_the_configuration_chooses_the_parts(self):
        greedy = build_decoding_policy(GeoDiTGenerationConfig())
        assert isinstance(greedy.sampler, GreedySampler)
        assert isinstance(greedy.remasking, LowConfidenceRemasking)
        assert not greedy.draws
        sampling = build_decoding_policy(GeoDiTGenerationConfig(temperature=0.5, remasking="random"))
        assert isinstance(sampling.sampler, GumbelSampler)
        assert isinstance(sampling.remasking, RandomRemasking)
        assert sampling.draws

    def test_every_strategy_that_the_configuration_allows_has_a_class(self):
        assert set(REMASKING_CLASSES) == set(REMASKING_STRATEGIES)

    def test_low_confidence_remasking_keeps_the_surest_tokens(self):
        logits = random_logits(2, 8, 20)
        masked = torch.ones(2, 8, dtype=torch.bool)
        decision = DecodingPolicy().decide(logits, masked, torch.tensor([3, 3]))
        probability, tokens = logits.softmax(-1).max(-1)
        assert torch.equal(decision.tokens, tokens)
        for row in range(2):
            surest = probability[row].topk(3).indices.sort().values
            assert torch.equal(decision.transfer[row].nonzero().flatten(), surest)

    def test_random_remasking_chooses_positions_evenly_and_still_reports_probabilities(self):
        policy = DecodingPolicy(remasking=RandomRemasking())
        random = RowGenerators.spawn(1, CPU, seed=0)
        logits, masked = random_logits(1, 4, 6), torch.ones(1, 4, dtype=torch.bool)
        counts = torch.zeros(4)
        for _ in range(2000):
            decision = policy.decide(logits, masked, torch.tensor([1]), random)
            counts += decision.transfer[0]
        assert torch.allclose(counts / 2000, torch.full((4,), 0.25), atol=0.04)
        assert torch.equal(decision.confidence, logits.double().softmax(-1).amax(-1))

    def test_a_policy_that_draws_asks_for_random_numbers(self):
        policy = DecodingPolicy(remasking=RandomRemasking())
        with pytest.raises(ValueError, match="RowGenerators"):
            policy.decide(random_logits(1, 4, 6), torch.ones(1, 4, dtype=torch.bool), torch.tensor([1]))

    def test_a_further_strategy_is_a_class_with_one_method(self):
        class MarginRemasking(RemaskingStrategy):
            """Keeps the tokens that are farthest ahead of the runner-up."""

            def score(self, proposal, random):
                first, second = proposal.logits.softmax(-1).topk(2).values.unbind(-1)
                return first - second

        logits = torch.log(torch.tensor([[[0.5, 0.49, 0.01], [0.45, 0.3, 0.25]]]))
        masked, one = torch.ones(1, 2, dtype=torch.bool), torch.tensor([1])
        assert DecodingPolicy().decide(logits, masked, one).transfer.tolist() == [[True, False]]
        margin = DecodingPolicy(remasking=MarginRemasking())
        assert margin.decide(logits, masked, one).transfer.tolist() == [[False, True]]
