# SPDX-License-Identifier: Apache-2.0
"""Which proposals are committed, given scores and the least number. B batch, L length of the block, V vocabulary."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from defined_environment import DEVICE
from geodit.modeling_geodit.decoding_geodit import EntropyBoundSelection, Proposal, ThresholdSelection, TopKSelection
from geodit.modeling_geodit.softmax_geodit import Softmax
from on_device import OnDevice, moved

B, L, V = 3, 8, 16


@st.composite
def steps(draw):
    """A step: `masked` (B, L), `num_transfer` (B,), and a proposal for the masked positions."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    masked = torch.rand(B, L, generator=generator) < draw(st.floats(0, 1))
    num_masked = int(masked.sum())
    # Positions from certain to clueless, some of them alike.
    logits = torch.randn(num_masked, V, generator=generator) * torch.rand(num_masked, 1, generator=generator) * 12
    if num_masked > 1 and draw(st.booleans()):
        logits[-1] = logits[0]
    least = torch.randint(0, draw(st.integers(1, L + 2)), (B,), generator=generator)
    masked, least, logits = moved((masked, least, logits), DEVICE)
    softmax = Softmax.of(logits)
    return masked, least, Proposal(masked, softmax.peaks, softmax)


def select(selection, scores, masked, num_transfer):
    """Select by scores alone."""
    proposal = Proposal(masked, torch.zeros(int(masked.sum()), dtype=torch.long), None)
    return OnDevice(selection).select(scores, masked, num_transfer, proposal)


def entropy_bound_by_hand(entropy, masked, least, bound):
    """One row as the definition has it: position after position, from the lowest entropy, the leftmost first."""
    taken, total = [], 0.0
    for position in sorted(range(len(entropy)), key=lambda position: (entropy[position], position)):
        if not masked[position]:
            continue
        total += entropy[position]
        if total - entropy[position] > bound and len(taken) >= least:
            break
        taken.append(position)
    return [position in taken for position in range(len(entropy))]


class TestTopK:
    def test_each_row_commits_its_own_number_of_masked_positions(self):
        scores = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.9, 0.8, 0.2, 0.1]])
        masked = torch.tensor([[True, False, True, True], [False, True, True, True]])
        transfer = select(TopKSelection(), scores, masked, torch.tensor([1, 2]))
        assert transfer.tolist() == [[False, False, False, True], [False, True, True, False]]

    def test_among_equals_the_leftmost_is_first(self):
        transfer = select(TopKSelection(), torch.ones(1, 40), torch.ones(1, 40, dtype=torch.bool), torch.tensor([3]))
        assert transfer[0].nonzero().flatten().tolist() == [0, 1, 2]

    @settings(deadline=None)
    @given(steps())
    def test_no_more_than_asked_for_and_nothing_better_is_left(self, step):
        masked, least, proposal = step
        scores = proposal.to_grid(proposal.confidence)
        transfer = TopKSelection().select(scores, masked, least, proposal)
        assert torch.equal(transfer.sum(-1), torch.minimum(masked.sum(-1), least))
        for row in range(B):
            kept, left = scores[row][transfer[row]], scores[row][masked[row] & ~transfer[row]]
            assert not len(kept) or not len(left) or kept.min() >= left.max()


class TestThreshold:
    def test_everything_above_the_threshold_is_committed(self):
        scores = torch.tensor([[0.95, 0.2, 0.91, 0.9], [0.99, 0.8, 0.3, 0.2]])
        masked = torch.tensor([[True, True, True, True], [False, True, True, True]])
        transfer = select(ThresholdSelection(0.9), scores, masked, torch.tensor([1, 1]))
        assert transfer.tolist() == [[True, False, True, False], [False, True, False, False]]

    def test_and_no_fewer_than_the_schedule_asks_for(self):
        scores = torch.tensor([[0.95, 0.2, 0.7, 0.8]])
        transfer = select(ThresholdSelection(0.9), scores, torch.ones(1, 4, dtype=torch.bool), torch.tensor([3]))
        assert transfer.tolist() == [[True, False, True, True]]

    @settings(deadline=None)
    @given(steps(), st.floats(0, 1))
    def test_is_the_first_k_and_whatever_is_above(self, step, threshold):
        masked, least, proposal = step
        scores = proposal.to_grid(proposal.confidence)
        transfer = ThresholdSelection(threshold).select(scores, masked, least, proposal)
        first = TopKSelection().select(scores, masked, least, proposal)
        assert torch.equal(transfer, first | (masked & (scores > threshold)))

    @settings(deadline=None)
    @given(steps())
    def test_a_threshold_of_1_is_none(self, step):
        masked, least, proposal = step
        scores = proposal.to_grid(proposal.confidence)
        transfer = ThresholdSelection(1.0).select(scores, masked, least, proposal)
        assert torch.equal(transfer, TopKSelection().select(scores, masked, least, proposal))


class TestEntropyBound:
    def test_the_entropies_but_the_largest_add_up_to_the_bound_at_most(self):
        # Of n equally probable tokens the entropy is log n: 0, 0.69, 0.69, 1.10 and 1.39 nats from left to right.
        num_candidates = torch.tensor([[1, 2, 2, 3, 4]])
        masked = torch.ones(1, 5, dtype=torch.bool)
        logits = torch.where(torch.arange(V) < num_candidates.view(5, 1), 0.0, -torch.inf)
        proposal = Proposal(masked, torch.zeros(5, dtype=torch.long), Softmax.of(logits))
        scores = -num_candidates.double().log()
        for bound, count in [(0.0, 2), (0.5, 2), (0.7, 3), (1.3, 3), (1.4, 4), (2.4, 4), (2.5, 5)]:
            selection = OnDevice(EntropyBoundSelection(bound))
            transfer = selection.select(scores, masked, torch.tensor([0]), proposal)
            assert transfer[0].tolist() == [place < count for place in range(5)]

    @settings(deadline=None)
    @given(steps(), st.floats(0, 10))
    def test_is_what_a_loop_over_positions_gives(self, step, bound):
        masked, least, proposal = step
        entropy = proposal.to_grid(proposal.softmax.entropy)
        transfer = EntropyBoundSelection(bound).select(-entropy, masked, least, proposal)
        for row in range(B):
            assert transfer[row].tolist() == entropy_bound_by_hand(
                entropy[row].tolist(), masked[row].tolist(), int(least[row]), bound
            )

    @settings(deadline=None)
    @given(steps(), st.floats(0, 10))
    def test_something_is_committed_wherever_something_is_masked(self, step, bound):
        masked, least, proposal = step
        scores = proposal.to_grid(-proposal.softmax.entropy)
        transfer = EntropyBoundSelection(bound).select(scores, masked, torch.zeros_like(least), proposal)
        assert torch.equal(transfer.any(-1), masked.any(-1))

    @settings(deadline=None)
    @given(steps(), st.floats(0, 10))
    def test_in_another_order_the_bound_holds_too(self, step, bound):
        masked, least, proposal = step
        entropy = proposal.to_grid(proposal.softmax.entropy)
        transfer = EntropyBoundSelection(bound).select(
            proposal.to_grid(proposal.confidence), masked, torch.zeros_like(least), proposal
        )
        for row in range(B):
            chosen = entropy[row][transfer[row]]
            assert not len(chosen) or chosen.sum() - chosen.max() <= bound + 1e-9

    @pytest.mark.parametrize("bound", [-0.1, float("nan")])
    def test_a_bound_below_0_is_refused(self, bound):
        with pytest.raises(ValueError, match="bound must be a number of nats >= 0"):
            EntropyBoundSelection(bound)
