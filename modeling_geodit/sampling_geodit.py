# SPDX-License-Identifier: Apache-2.0
"""Which tokens a denoising step proposes.

Shapes: B batch, L length of the block, K masked positions of all rows in row-major order, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from geodit.modeling_geodit.random_geodit import RowGenerators, required
from geodit.modeling_geodit.softmax_geodit import Softmax, first_argmax


@dataclass(frozen=True)
class Proposal:
    """What a denoising step proposes for the masked positions of a block.

    Args:
        masked: `(B, L)` bool, true where nothing has been committed yet: K times.
        tokens: `(K,)` int64, the proposed tokens.
        softmax: The network's distributions at the K positions, guided if guidance is on.
    """

    masked: torch.Tensor
    tokens: torch.Tensor
    softmax: Softmax

    @cached_property
    def confidence(self) -> torch.Tensor:
        """`(K,)` float64 (float32 where the device has no double), the probability of the proposed token."""
        return self.softmax.probability(self.tokens)

    def probability_of(self, token_ids: Sequence[int]) -> torch.Tensor:
        """`(K,)`, the probability of any of some tokens."""
        total = torch.zeros_like(self.confidence)
        for token_id in token_ids:
            total += self.softmax.probability(torch.full_like(self.tokens, token_id))
        return total

    def to_grid(self, values: torch.Tensor) -> torch.Tensor:
        """Put one number a masked position in its place.

        Args:
            values: `(K,)`.

        Returns:
            `(B, L)`, 0 where nothing is masked.
        """
        return values.new_zeros(self.masked.shape).masked_scatter_(self.masked, values)


class TokenSampler(ABC):
    """Proposes a token for every masked position."""

    draws: ClassVar[bool] = False
    """Whether `propose` needs random numbers."""

    @abstractmethod
    def propose(self, logits: torch.Tensor, masked: torch.Tensor, random: RowGenerators | None) -> torch.Tensor:
        """Choose tokens.

        Args:
            logits: `(K, V)` float32, with -inf for tokens that must not be chosen. To be left as it is.
            masked: `(B, L)` bool, the places of the K positions.
            random: Source of random numbers; present when `draws` is true.

        Returns:
            `(K,)` int64.
        """


class GreedySampler(TokenSampler):
    """The most probable token, of the lowest id if there are several."""

    def propose(self, logits: torch.Tensor, masked: torch.Tensor, random: RowGenerators | None) -> torch.Tensor:
        """See [`TokenSampler.propose`]."""
        return first_argmax(logits)


class GumbelSampler(TokenSampler):
    """Samples from `softmax(logits / temperature)` by the Gumbel-max trick, in double precision.

    Zheng et al. (https://arxiv.org/abs/2409.02908) show that single precision Gumbel noise lowers the
    temperature in effect. LLaDA's code takes the argmax of `exp(logits) / (-log u) ** T`; this is the same
    argmax of the logarithm, which cannot overflow.

    Args:
        temperature: T, above 0.
    """

    draws = True

    def __init__(self, temperature: float) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, but is {temperature}: GreedySampler is for 0.")
        self.temperature = temperature

    def propose(self, logits: torch.Tensor, masked: torch.Tensor, random: RowGenerators | None) -> torch.Tensor:
        """See [`TokenSampler.propose`]."""
        counts = masked.sum(-1).tolist()
        uniform = required(random).uniform_rows(counts, logits.shape[-1])
        return torch.cat([self._sample(row, noise) for row, noise in zip(logits.split(counts), uniform, strict=True)])

    def _sample(self, logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        minus_gumbel = uniform.log_().neg_().log_()
        return first_argmax(minus_gumbel.mul_(-self.temperature).add_(logits))


__all__ = ["GreedySampler", "GumbelSampler", "Proposal", "TokenSampler"]
