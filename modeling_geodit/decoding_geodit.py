# SPDX-License-Identifier: Apache-2.0
"""What a denoising step commits: which tokens it proposes, and which of the proposals it keeps.

Nothing here knows the network. A [`DecodingPolicy`] is given the logits of masked positions of the canvas. It is made
of three parts that can be exchanged, each an abstract class with one method:

* [`TokenSampler`]: the token proposed for a position;
* [`RemaskingStrategy`]: a score for every proposal, the higher the better;
* [`TransferSelection`]: the masked positions whose proposals are committed, given the scores and [`num_to_commit`].

To add a remasking strategy, write a subclass of [`RemaskingStrategy`] and put its name into [`REMASKING_CLASSES`], and
into `REMASKING_STRATEGIES` of `configuration/generation_configuration_geodit.py`, which refuses other names. To add a
sampler or a selection, write a subclass, have [`build_decoding_policy`] choose it, and give it a parameter in that
configuration. The defaults follow the reference code of LLaDA (Nie et al., 2025, https://github.com/ML-GSAI/LLaDA,
`generate.py`).

Shapes: B batch, L canvas length, N denoising steps, K positions that there are logits of: the masked ones of all rows
in row-major order, or all `B * L`, of which those that are not masked have no meaning; V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.grids_geodit import DeviceTensors, Positions, is_any_of
from geodit.modeling_geodit.random_geodit import ORDER, TOKENS, RowStreams, required
from geodit.modeling_geodit.softmax_geodit import Softmax, first_argmax

__all__ = [
    "REMASKING_CLASSES",
    "Block",
    "Decision",
    "DecodingPolicy",
    "EntropyBoundSelection",
    "GreedySampler",
    "GumbelSampler",
    "HighEntropyRemasking",
    "LowConfidenceRemasking",
    "LowMarginRemasking",
    "Proposal",
    "RandomRemasking",
    "RemaskingStrategy",
    "ThresholdSelection",
    "TokenSampler",
    "TopKSelection",
    "TransferSelection",
    "build_decoding_policy",
    "commit_order",
    "first_of_order",
    "num_above",
    "num_to_commit",
    "num_within_bound",
    "plan_blocks",
    "positions_at_once",
    "repeated_ends",
    "sample_tokens",
]

_AT_ONCE, _AT_ONCE_ON_CPU = 2**24, 2**17
"""How many random numbers are held at once: few launches on an accelerator, a processor's cache elsewhere."""


# Schedule: the blocks of a canvas, and how many tokens a step commits at least.


@dataclass(frozen=True)
class Block:
    """A stretch of the canvas and the denoising steps spent on it.

    Args:
        start: First position, counted from the start of the canvas.
        stop: One past the last position.
        steps: Denoising steps.
    """

    start: int
    stop: int
    steps: int


def plan_blocks(
    canvas_length: int, block_length: int | None, steps: int, initial_length: int | None = None
) -> tuple[Block, ...]:
    """Cut a canvas into blocks, left to right, and deal the steps out to them.

    Every block gets `steps // blocks` steps and the earliest ones a further one each until all are spent.
    Where LLaDA's code is defined (equal blocks, equal shares) this is what it does.

    A canvas that grows is cut where it begins to grow as well: no block lies on both sides of `initial_length`, and
    each block after it is one extension.

    Args:
        canvas_length: Length of the canvas, fully grown.
        block_length: Length of a block, the last one may be shorter; `None` for one block, or, if the canvas grows,
            for blocks of `initial_length`.
        steps: N, the steps of the whole canvas.
        initial_length: Length that the canvas starts with; `None` for all of it.

    Raises:
        ValueError: when there are fewer steps than blocks.
    """
    initial_length = min(initial_length or canvas_length, canvas_length)
    block_length = block_length or initial_length
    spans = [
        (start, min(start + block_length, end))
        for begin, end in ((0, initial_length), (initial_length, canvas_length))
        for start in range(begin, end, block_length)
    ]
    if steps < len(spans):
        raise ValueError(f"{steps} denoising steps cannot serve {len(spans)} blocks: each of them needs at least one.")
    share, remainder = divmod(steps, len(spans))
    return tuple(Block(start, stop, share + (index < remainder)) for index, (start, stop) in enumerate(spans))


def num_to_commit(num_masked: torch.Tensor, steps_left: int | torch.Tensor) -> torch.Tensor:
    """Say how many tokens the next step must commit: an even share of what is left, rounded up.

    It is asked before every step, as a selection may commit more than it must, and then less is left to do. When
    every step commits exactly its share, this is LLaDA's schedule: `num_masked // N` tokens per step, and one more in
    each of the first `num_masked % N`. (With M = qN + r tokens for N steps and 0 < r < N, the share is q + 1, and
    q(N - 1) + (r - 1) tokens remain for N - 1 steps: the same with r smaller by one. With r = 0 it is q to the end.)

    Args:
        num_masked: `(B,)` integers, the masked positions of each row.
        steps_left: How many steps there still are, the next one included; a tensor may have no dimensions.

    Returns:
        `(B,)` int64, from 0 to `num_masked`; all of `num_masked` when `steps_left` is 1.
    """
    return -(-num_masked.long() // steps_left)


# Sampler: the tokens that a step proposes.


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
        at_once = positions_at_once(logits)
        parts = zip(logits.split(at_once), keys.split(at_once), strict=True)
        return torch.cat([sample_tokens(part, RowStreams(some), self.temperature) for part, some in parts])


def positions_at_once(logits: torch.Tensor) -> int:
    """Say of how many positions random numbers for all tokens are held at once, given logits `(..., V)`."""
    return max(1, (_AT_ONCE if logits.device.type != "cpu" else _AT_ONCE_ON_CPU) // logits.shape[-1])


def sample_tokens(logits: torch.Tensor, streams: RowStreams, temperature: float | torch.Tensor) -> torch.Tensor:
    """Sample by the Gumbel-max trick, see [`GumbelSampler`].

    Args:
        logits: `(K, V)` float32, with -inf for tokens that must not be chosen.
        streams: A stream of random numbers for each of the K positions.
        temperature: T, above 0, or `(K, 1)` of the widest float that the device has.

    Returns:
        `(K,)` int64.
    """
    minus_gumbel = streams.uniform(logits.shape[-1]).log_().neg_().log_()
    return first_argmax(minus_gumbel.mul_(-temperature).add_(logits))


# Remasking: how good the proposals are. A strategy is named after what it masks again.


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


# Selection: how many of the proposals are kept.


class TransferSelection(ABC):
    """Decides which masked positions are committed.

    All selections commit in the order of the scores, the leftmost first among equals, and at least as many tokens as
    [`num_to_commit`] says; they differ in how many more they commit. So the steps suffice, whatever the selection.
    """

    @abstractmethod
    def select(
        self, scores: torch.Tensor, masked: torch.Tensor, num_transfer: torch.Tensor, proposal: Proposal
    ) -> torch.Tensor:
        """Select positions.

        Args:
            scores: `(B, L)` from the remasking strategy; without meaning where nothing is masked.
            masked: `(B, L)` bool, true where a token may be committed.
            num_transfer: `(B,)` int64, the tokens to commit at least, see [`num_to_commit`].
            proposal: The proposals, for selections that ask more of them than their scores.

        Returns:
            `(B, L)` bool, true at masked positions only.
        """


class TopKSelection(TransferSelection):
    """As many as must be committed and not one more."""

    def select(
        self, scores: torch.Tensor, masked: torch.Tensor, num_transfer: torch.Tensor, proposal: Proposal
    ) -> torch.Tensor:
        """See [`TransferSelection.select`]."""
        return first_of_order(num_transfer, commit_order(scores, masked), masked)


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
        above = num_above(scores, masked, self.threshold)
        return first_of_order(torch.maximum(num_transfer, above), commit_order(scores, masked), masked)


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
        order = commit_order(scores, masked)
        within = num_within_bound(proposal, order, self.bound)
        return first_of_order(torch.maximum(num_transfer, within), order, masked)


def num_above(scores: torch.Tensor, masked: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
    """`(B,)`, how many masked positions score above a threshold, a number or `(B, 1)`."""
    return (masked & (scores > threshold)).sum(dim=-1)


def num_within_bound(proposal: Proposal, order: torch.Tensor, bound: float | torch.Tensor) -> torch.Tensor:
    """`(B,)`, how many positions of an order stay within an entropy bound, a number or `(B, 1)`.

    All masked positions within it may be counted as more: those after them in the order have no entropy.
    """
    entropy = proposal.to_grid(proposal.softmax.entropy).gather(-1, order)
    shared = entropy.cumsum(dim=-1) - entropy.cummax(dim=-1).values
    return (shared <= bound).long().cumprod(dim=-1).sum(dim=-1)


def commit_order(scores: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """Positions from the highest score to the lowest, `(B, L)`; those that are not masked stand at the end."""
    # A stable sort and not torch.topk, which breaks ties as it likes.
    return scores.masked_fill(~masked, -torch.inf).argsort(dim=-1, descending=True, stable=True)


def first_of_order(count: torch.Tensor, order: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """Return the first `count` (B,) masked positions of an order, `(B, L)` bool."""
    rank = order.argsort(dim=-1)
    return masked & (rank < count.unsqueeze(-1))


# Policy: all of it together.


@dataclass(frozen=True)
class Decision:
    """What a denoising step does to a canvas.

    Args:
        tokens: `(B, L)` int64, the proposed tokens; 0 where nothing is masked.
        confidence: `(B, L)` float64 (float32 where the device has no double), their probabilities under the softmax
            of the logits; 0 where nothing is masked.
        end_probability: `(B, L)` likewise, the probability of a token that ends an answer.
        transfer: `(B, L)` bool, true where the proposal is committed.
    """

    tokens: torch.Tensor
    confidence: torch.Tensor
    end_probability: torch.Tensor
    transfer: torch.Tensor


@dataclass(frozen=True)
class DecodingPolicy:
    """A complete decoding policy.

    Args:
        sampler: Proposes tokens.
        remasking: Ranks the proposals.
        selection: Picks those that are committed.
        suppress_tokens: Ids that are never proposed. They keep their share of the softmax, so confidences are
            those of the reference code, which suppresses nothing.
    """

    sampler: TokenSampler = field(default_factory=GreedySampler)
    remasking: RemaskingStrategy = field(default_factory=LowConfidenceRemasking)
    selection: TransferSelection = field(default_factory=TopKSelection)
    suppress_tokens: frozenset[int] = frozenset()
    _suppressed: DeviceTensors = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = DeviceTensors(torch.tensor(sorted(self.suppress_tokens), dtype=torch.long))
        object.__setattr__(self, "_suppressed", ids)

    @property
    def draws(self) -> bool:
        """Whether decoding needs random numbers."""
        return self.sampler.draws or self.remasking.draws

    def decide(
        self,
        logits: torch.Tensor,
        masked: torch.Tensor,
        num_transfer: torch.Tensor,
        random: RowStreams | None = None,
        tokens: torch.Tensor | None = None,
        deferred: torch.Tensor | None = None,
        eos_token_ids: Sequence[int] = (),
        ends_once: bool = False,
    ) -> Decision:
        """Decide one denoising step.

        Where all positions have logits, nothing is read back from the device.

        Args:
            logits: `(K, V)` float32 or bfloat16, one row for every masked position, what `grid[masked]` gives of a
                `(B, L, V)` grid, or one for every position of the grid. Those in float32 are **overwritten**.
            masked: `(B, L)` bool, true where a token may be committed.
            num_transfer: `(B,)` int64, the tokens to commit at least, see [`num_to_commit`].
            random: Random numbers of the step; needed when `draws` is true.
            tokens: `(K,)` int64, proposals that are made already, in the place of the sampler's.
            deferred: `(B, L)` bool, positions that are committed after all others, whatever their scores.
            eos_token_ids: The tokens that end an answer.
            ends_once: Whether, with no other positions `deferred`, those are that a token that ends an answer is
                proposed for after another such one: they come by themselves with the first.

        Raises:
            ValueError: when there are as many logits neither as masked positions nor as positions, or
                random numbers are missing.
        """
        proposal = self.propose(logits, masked, random, tokens)
        scores = proposal.to_grid(self.remasking.score(proposal, random))
        proposed = proposal.to_grid(proposal.tokens)
        if deferred is None and ends_once:
            deferred = repeated_ends(proposed, masked, eos_token_ids)
        if deferred is not None:
            scores = scores.masked_fill(deferred, torch.finfo(scores.dtype).min)
        return Decision(
            tokens=proposed,
            confidence=proposal.to_grid(proposal.confidence),
            end_probability=proposal.to_grid(proposal.probability_of(eos_token_ids)),
            transfer=self.selection.select(scores, masked, num_transfer, proposal),
        )

    def most_probable(self, logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens that are proposed first, with their probabilities. The logits stay as they are.

        Args:
            logits: `(K, V)`.
            count: A, how many tokens of each position, at most [`num_proposable`].

        Returns:
            `(K, A)` int64, the most probable first, and `(K, A)` float32. Tokens that are never proposed are not among
            them, but keep their share.
        """
        probabilities = logits.float().softmax(-1)
        vocab_size = logits.shape[-1]
        if num_suppressed := vocab_size - self.num_proposable(vocab_size):
            probabilities.index_fill_(-1, self._suppressed.on(logits.device)[0][:num_suppressed], -1.0)
        values, tokens = probabilities.topk(count, dim=-1)
        return tokens, values

    def num_proposable(self, vocab_size: int) -> int:
        """Return how many tokens of a vocabulary may be proposed."""
        return vocab_size - sum(token < vocab_size for token in self.suppress_tokens)

    def propose(
        self,
        logits: torch.Tensor,
        masked: torch.Tensor,
        random: RowStreams | None = None,
        tokens: torch.Tensor | None = None,
    ) -> Proposal:
        """Propose a token for every masked position; arguments as in [`decide`], logits overwritten as there."""
        if logits.dim() != 2 or (len(logits) != masked.numel() and len(logits) != int(masked.sum())):
            raise ValueError(
                f"logits must be of shape (K, V) with a row for each of the {int(masked.sum())} masked positions, or "
                f"for each of all {masked.numel()}, but are of shape {tuple(logits.shape)}."
            )
        logits = logits.float()
        if tokens is None:
            tokens = self._propose_allowed(logits, masked, random)
        return Proposal(masked, tokens, Softmax.of(logits))

    def _propose_allowed(self, logits: torch.Tensor, masked: torch.Tensor, random: RowStreams | None) -> torch.Tensor:
        num_suppressed = sum(token < logits.shape[-1] for token in self.suppress_tokens)
        if not num_suppressed:
            return self.sampler.propose(logits, masked, random)
        ids = self._suppressed.on(logits.device)[0][:num_suppressed]
        # Hidden from the sampler and brought back after: a few columns are copied, not all logits.
        hidden = logits.index_select(-1, ids)
        logits.index_fill_(-1, ids, -torch.inf)
        tokens = self.sampler.propose(logits, masked, random)
        logits.index_copy_(-1, ids, hidden)
        return tokens


def repeated_ends(tokens: torch.Tensor, masked: torch.Tensor, eos_token_ids: Sequence[int]) -> torch.Tensor:
    """`(B, L)` bool, the masked positions with a proposal that ends an answer, after another such one."""
    is_end = is_any_of(tokens, eos_token_ids) & masked
    return is_end & (is_end.long().cumsum(-1) > 1)


def build_decoding_policy(
    generation_config: GeoDiTGenerationConfig, suppress_tokens: Sequence[int] = ()
) -> DecodingPolicy:
    """Make the policy that a generation configuration describes.

    Args:
        generation_config: The configuration.
        suppress_tokens: Ids that are never committed, beside the configuration's own.

    Raises:
        ValueError: for a remasking strategy without a class here.
    """
    if generation_config.remasking not in REMASKING_CLASSES:
        allowed = ", ".join(map(repr, REMASKING_CLASSES))
        raise ValueError(f"remasking must be one of {allowed}, but is {generation_config.remasking!r}.")
    temperature = generation_config.temperature
    return DecodingPolicy(
        sampler=GumbelSampler(temperature) if temperature > 0 else GreedySampler(),
        remasking=REMASKING_CLASSES[generation_config.remasking](),
        selection=_build_selection(generation_config),
        suppress_tokens=frozenset((*suppress_tokens, *(generation_config.suppress_tokens or ()))),
    )


def _build_selection(generation_config: GeoDiTGenerationConfig) -> TransferSelection:
    if generation_config.confidence_threshold is not None:
        return ThresholdSelection(generation_config.confidence_threshold)
    if generation_config.entropy_bound is not None:
        return EntropyBoundSelection(generation_config.entropy_bound)
    return TopKSelection()
