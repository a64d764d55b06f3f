# SPDX-License-Identifier: Apache-2.0
"""Which proposals of a denoising step are worth keeping. A strategy is named after what it masks again.

Shapes: B batch, L canvas length, K positions that there are logits of, masked or not: see `sampling_geodit`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from geodit.modeling_geodit.random_geodit import ORDER, RowStreams, required
from geodit.modeling_geodit.sampling_geodit import Proposal


class RemaskingStrategy(ABC):
    """Ranks the proposals of a step: the lowest are masked again."""

    draws: ClassVar[bool] = False
    """Whether `score` needs random numbers."""

    @abstractmethod
    def score(self, proposal: Proposal, random: RowStreams | None) -> torch.Tensor:
        """Score proposals.

        Args:
            proposal: The proposals of a step.
            random: Random numbers of the step; present when `draws` is true.

        Returns:
            `(K,)` numbers, the higher the sooner committed; finite where a position is masked.
        """


class LowConfidenceRemasking(RemaskingStrategy):
    """Keeps the proposals that the network is most sure of: by their probability, as LLaDA does."""

    def score(self, proposal: Proposal, random: RowStreams | None) -> torch.Tensor:
        """See [`RemaskingStrategy.score`]."""
        return proposal.confidence


class LowMarginRemasking(RemaskingStrategy):
    """Keeps proposals where the most probable token is far ahead of the second.

    Kim et al. (https://arxiv.org/abs/2502.06768) argue for the margin where a position wavers between two tokens: the
    probability of either may be high, and still nothing is decided. The score is the position's, whichever token was
    sampled there.
    """

    def score(self, proposal: Proposal, random: RowStreams | None) -> torch.Tensor:
        """See [`RemaskingStrategy.score`]."""
        return proposal.softmax.margin


class HighEntropyRemasking(RemaskingStrategy):
    """Keeps proposals where the distribution has the lowest entropy, whichever token was sampled there."""

    def score(self, proposal: Proposal, random: RowStreams | None) -> torch.Tensor:
        """See [`RemaskingStrategy.score`]."""
        return -proposal.softmax.entropy


class RandomRemasking(RemaskingStrategy):
    """Keeps positions drawn at random: the reverse process as the theory has it."""

    draws = True

    def score(self, proposal: Proposal, random: RowStreams | None) -> torch.Tensor:
        """See [`RemaskingStrategy.score`]."""
        numbers = required(random).at(ORDER).along(proposal.masked.shape[-1]).uniform()
        return proposal.positions.rows_of(numbers)


REMASKING_CLASSES: dict[str, type[RemaskingStrategy]] = {
    "low_confidence": LowConfidenceRemasking,
    "random": RandomRemasking,
    "low_margin": LowMarginRemasking,
    "high_entropy": HighEntropyRemasking,
}
"""The strategies by their names in a generation configuration."""

__all__ = [
    "REMASKING_CLASSES",
    "HighEntropyRemasking",
    "LowConfidenceRemasking",
    "LowMarginRemasking",
    "RandomRemasking",
    "RemaskingStrategy",
]
