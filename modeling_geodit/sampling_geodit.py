# SPDX-License-Identifier: Apache-2.0
"""Which tokens a denoising step proposes.

Shapes: B batch, L canvas length, K positions that there are logits of: the masked ones of all rows in row-major
order, or all `B * L`, of which those that are not masked have no meaning; V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from geodit.modeling_geodit.grids_geodit import Positions
from geodit.modeling_geodit.random_geodit import TOKENS, RowStreams, required
from geodit.modeling_geodit.softmax_geodit import Softmax, first_argmax

_AT_ONCE, _AT_ONCE_ON_CPU = 2**24, 2**17
"""How many random numbers are held at once: few launches on an accelerator, a processor's cache elsewhere."""


@dataclass(frozen=True)
class Proposal:
    """What a denoising step proposes for the masked positions.

    Args:
        masked: `(B, L)` bool, true where a token may be committed.
        tokens: `(K,)` int64, the proposed tokens.
        softmax: The network's distributions at the K positions, guided if guidance is on.
    """

    masked: torch.Tensor
    tokens: torch.Tensor
    softmax: Softmax
    positions: Positions = field(init=False, repr=False, compare=False)
    """Where the K positions are."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", Positions(self.masked, len(self.tokens)))

    @property
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
        return self.positions.placed(values, values.new_zeros(self.masked.shape))


class TokenSampler(ABC):
    """Proposes a token for every masked position."""

    draws: ClassVar[bool] = False
    """Whether `propose` needs random numbers."""

    @abstractmethod
    def propose(self, logits: torch.Tensor, masked: torch.Tensor, random: RowStreams | None) -> torch.Tensor:
        """Choose tokens.

        Args:
            logits: `(K, V)` float32, with -inf for tokens that must not be chosen. To be left as it is.
            masked: `(B, L)` bool, the places of the K positions.
            random: Random numbers of the step; present when `draws` is true.

        Returns:
            `(K,)` int64.
        """


class GreedySampler(TokenSampler):
    """The most probable token, of the lowest id if there are several."""

    def propose(self, logits: torch.Tensor, masked: torch.Tensor, random: RowStreams | None) -> torch.Tensor:
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

    def propose(self, logits: torch.Tensor, masked: torch.Tensor, random: RowStreams | None) -> torch.Tensor:
        """See [`TokenSampler.propose`]."""
        streams = required(random).at(TOKENS).along(masked.shape[-1])
        keys = Positions(masked, len(logits)).rows_of(streams.keys)
        vocab_size = logits.shape[-1]
        at_once = max(1, (_AT_ONCE if logits.device.type != "cpu" else _AT_ONCE_ON_CPU) // vocab_size)
        parts = zip(logits.split(at_once), keys.split(at_once), strict=True)
        return torch.cat([self._sample(part, RowStreams(some).uniform(vocab_size)) for part, some in parts])

    def _sample(self, logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        minus_gumbel = uniform.log_().neg_().log_()
        return first_argmax(minus_gumbel.mul_(-self.temperature).add_(logits))


__all__ = ["GreedySampler", "GumbelSampler", "Proposal", "TokenSampler"]
