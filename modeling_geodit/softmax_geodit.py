# SPDX-License-Identifier: Apache-2.0
"""Probabilities, margins and entropies over a large vocabulary: as exact as decoding needs, as cheap as possible.

**Precision.** Remasking compares confidences that are all close to 1. Single precision has no number between 1 - 6e-8
and 1, so tokens more than 16.6 nats ahead of the others would tie. What tells them apart is the *rest*, the sum of
all other tokens' probabilities relative to that of the most probable one, R = (1 - p) / p. Its terms are positive, so
single precision computes it with a small relative error however small it is, as long as the most probable token's own
1 is not among the terms. Hence the V numbers of a position stay in single precision and are computed in place; only R
and what follows from it are double.

A term of d nats below the largest logit has its difference rounded by d * 2^-24 at most; `exp` and PyTorch's cascaded
sum add a few 2^-24. So the relative error of R, and with it of p and 1 - p, is below (d + 10) * 6e-8: 3e-6 for terms
36 nats below, where p is as close to 1 as double precision can tell, and 1e-7 as a rule. Positions can change places
against a softmax in double precision only where their 1 - p are that close. For 126,464 tokens it takes an eighth of
the time of that softmax, and no memory beside the logits.

**Ties.** Two positions tie if their R agree to 1e-16, the resolution of double precision near 1, as in a softmax of
double precision: if their logits are the same but for a constant, or if both are some 36 nats ahead. Selections take
the leftmost first.

**Logits in bfloat16** hardly add ties between positions, as R sums over the whole vocabulary, but they change the
order: between 16 and 32 bfloat16 has multiples of 1/8, which puts a gap between two logits off by up to 1/8 and 1 - p
by a factor of up to exp(1/8) = 1.13. Positions whose 1 - p are closer than that may be committed in another order
than by logits in float32. Between two tokens of one position ties are common: the token of the lower id is taken.

Shapes: K positions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch

from geodit.modeling_geodit.random_geodit import widest_float

__all__ = ["Softmax", "first_argmax"]

_GROUP = 512
"""Tokens that `first_argmax` compares at once."""

_CHUNK = 2**20
"""How many logarithms `Softmax.entropy` holds at once."""


@dataclass(frozen=True)
class Softmax:
    """The softmax of K positions, as ratios to the most probable token, the *peak*.

    With ratios r and their sum, the rest R, both without the peak's own 1:

        probability of the peak   1 / (1 + R)           of another token   r / (1 + R)
        margin                    (1 - max r) / (1 + R)
        entropy, in nats          log(1 + R) - sum(r log r) / (1 + R)

    Args:
        peaks: `(K,)` int64, the most probable token, of the lowest id if there are several.
        ratios: `(K, V)` float32, every token's probability divided by that of the peak, and 0 for the peak itself.
        rest: `(K,)` float64 (float32 where the device has no double precision), the sum of the ratios.
    """

    peaks: torch.Tensor
    ratios: torch.Tensor
    rest: torch.Tensor
    _entropy: torch.Tensor | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, logits: torch.Tensor) -> Softmax:
        """Compute the ratios.

        Args:
            logits: `(K, V)`. Those in float32 are overwritten: their memory becomes that of the ratios.
        """
        logits = logits.float()
        peaks = first_argmax(logits).unsqueeze(-1)
        ratios = logits.sub_(logits.gather(-1, peaks)).exp_().scatter_(-1, peaks, 0.0)
        # Converted after the sum: given the dtype, `sum` would first copy all ratios to double precision.
        rest = ratios.sum(dim=-1).to(widest_float(logits.device))
        return cls(peaks.squeeze(-1), ratios, rest)

    def probability(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the probability of one token per position.

        Args:
            tokens: `(K,)` int64.

        Returns:
            `(K,)` of the precision of `rest`.
        """
        ratio = self.ratios.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).to(self.rest.dtype)
        return ratio.masked_fill(tokens == self.peaks, 1.0) / (1 + self.rest)

    @property
    def margin(self) -> torch.Tensor:
        """`(K,)`, by how much the most probable token is more probable than the second."""
        return (1 - self.ratios.amax(dim=-1).to(self.rest.dtype)) / (1 + self.rest)

    @property
    def entropy(self) -> torch.Tensor:
        """`(K,)`, the entropy in nats; computed once."""
        # Not a `functools.cached_property`, whose lock cannot be traced.
        if self._entropy is None:
            object.__setattr__(self, "_entropy", self._compute_entropy())
        return cast(torch.Tensor, self._entropy)

    def _compute_entropy(self) -> torch.Tensor:
        # The least normal number stands in for 0, as 0 log 0 would be NaN. A few positions at a time: the logarithms
        # of all would take as much memory as the ratios. (torch.special.entr and xlogy are not vectorized on CPU.)
        tiny = torch.finfo(self.ratios.dtype).tiny
        chunks = self.ratios.split(max(1, _CHUNK // self.ratios.shape[-1]))
        sums = torch.cat([chunk.clamp_min(tiny).log_().mul_(chunk).sum(dim=-1) for chunk in chunks])
        return self.rest.log1p() - sums.to(self.rest.dtype) / (1 + self.rest)


def first_argmax(values: torch.Tensor) -> torch.Tensor:
    """Return what `values.argmax(-1)` gives, the first of equal maxima, in a fraction of its time.

    PyTorch's `argmax` runs through a row one number at a time on CPU, while its `amax` is vectorized: so the maximum
    of every group of tokens is found first, and the place of the maximum within one group only.

    Args:
        values: `(K, V)`.

    Returns:
        `(K,)` int64.
    """
    size = values.shape[-1]
    num_groups = size // _GROUP
    if num_groups < 2:
        return values.argmax(dim=-1)
    groups = values[:, : num_groups * _GROUP].unflatten(-1, (num_groups, _GROUP)).amax(dim=-1)
    # The last group ends with the row, and so may reach back into the one before.
    last = values[:, -_GROUP:].amax(dim=-1, keepdim=True)
    group = torch.cat([groups, last], dim=-1).argmax(dim=-1, keepdim=True)
    start = (group * _GROUP).clamp_(max=size - _GROUP)
    members = values.gather(-1, start + torch.arange(_GROUP, device=values.device))
    return start.squeeze(-1) + members.argmax(dim=-1)
