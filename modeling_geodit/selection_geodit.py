# SPDX-License-Identifier: Apache-2.0
"""How many proposals of a denoising step are kept.

All selections commit in the order of the scores, the leftmost first among equals, and at least as many tokens as the
schedule asks for; they differ in how much further they go. So whatever the selection, the steps suffice.

Shapes: B batch, L canvas length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from geodit.modeling_geodit.sampling_geodit import Proposal


class TransferSelection(ABC):
    """Decides which masked positions are committed."""

    @abstractmethod
    def select(
        self, scores: torch.Tensor, masked: torch.Tensor, num_transfer: torch.Tensor, proposal: Proposal
    ) -> torch.Tensor:
        """Select positions.

        Args:
            scores: `(B, L)` from the remasking strategy; without meaning where nothing is masked.
            masked: `(B, L)` bool, true where a token may be committed.
            num_transfer: `(B,)` int64, the tokens that the schedule has this step commit at least.
            proposal: The proposals, for selections that ask more of them than their scores.

        Returns:
            `(B, L)` bool, true at masked positions only.
        """


class TopKSelection(TransferSelection):
    """As many as the schedule asks for and not one more."""

    def select(
        self, scores: torch.Tensor, masked: torch.Tensor, num_transfer: torch.Tensor, proposal: Proposal
    ) -> torch.Tensor:
        """See [`TransferSelection.select`]."""
        return _first(num_transfer, _order(scores, masked), masked)


class ThresholdSelection(TransferSelection):
    """Everything whose score is above a threshold (Wu et al., Fast-dLLM, https://arxiv.org/abs/2505.22618).

    Args:
        threshold: The threshold, for scores that are probabilities a number from 0 to 1. At 1 this is
            [`TopKSelection`].
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def select(
        self, scores: torch.Tensor, masked: torch.Tensor, num_transfer: torch.Tensor, proposal: Proposal
    ) -> torch.Tensor:
        """See [`TransferSelection.select`]."""
        above = (masked & (scores > self.threshold)).sum(dim=-1)
        return _first(torch.maximum(num_transfer, above), _order(scores, masked), masked)


class EntropyBoundSelection(TransferSelection):
    """As many as are nearly independent of one another (Ben-Hamu et al., https://arxiv.org/abs/2505.24857).

    A step draws each token by itself, so tokens that depend on one another may contradict each other. The information
    that k positions have about each other is at most the sum of their entropies less the largest of them: the joint
    entropy is no less than that of any one. Positions are taken in the order of their scores for as long as this bound
    stays within the one given; the first is always taken.

    Args:
        bound: What k tokens may share at most, in nats; 0 or above.

    Raises:
        ValueError: for a bound below 0.
    """

    def __init__(self, bound: float) -> None:
        if not bound >= 0:
            raise ValueError(f"bound must be a number of nats >= 0, but is {bound}.")
        self.bound = bound

    def select(
        self, scores: torch.Tensor, masked: torch.Tensor, num_transfer: torch.Tensor, proposal: Proposal
    ) -> torch.Tensor:
        """See [`TransferSelection.select`]."""
        order = _order(scores, masked)
        entropy = proposal.to_grid(proposal.softmax.entropy).gather(-1, order)
        shared = entropy.cumsum(dim=-1) - entropy.cummax(dim=-1).values
        within = (shared <= self.bound).long().cumprod(dim=-1).sum(dim=-1)
        return _first(torch.maximum(num_transfer, within), order, masked)


def _order(scores: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """Positions from the highest score to the lowest, `(B, L)`; those that are not masked stand at the end."""
    # A stable sort and not torch.topk, which breaks ties as it likes.
    return scores.masked_fill(~masked, -torch.inf).argsort(dim=-1, descending=True, stable=True)


def _first(count: torch.Tensor, order: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """The first `count` (B,) masked positions of an order, `(B, L)` bool."""
    rank = order.argsort(dim=-1)
    return masked & (rank < count.unsqueeze(-1))


__all__ = ["EntropyBoundSelection", "ThresholdSelection", "TopKSelection", "TransferSelection"]
