# SPDX-License-Identifier: Apache-2.0
"""Decoding policies of masked diffusion: which tokens a denoising step proposes, and which of them it keeps.

Nothing here knows the network. A [`DecodingPolicy`] is given the logits of one block of the canvas and is
made of four exchangeable parts, each an abstract class with one method:

* [`TransferSchedule`]: how many tokens each step commits;
* [`TokenSampler`]: the token proposed for a position;
* [`RemaskingStrategy`]: a score for every proposal, the higher the better;
* [`TransferSelection`]: the masked positions whose proposals are committed, given scores and schedule.

A new policy (margin, entropy, a confidence threshold) is a further subclass of one of them. The defaults
follow the reference code of LLaDA (Nie et al., 2025, https://github.com/ML-GSAI/LLaDA, `generate.py`).

Shapes: B batch, L length of the block, N denoising steps, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig


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


def plan_blocks(canvas_length: int, block_length: int | None, steps: int) -> tuple[Block, ...]:
    """Cut a canvas into blocks, left to right, and deal the steps out to them.

    Every block gets `steps // blocks` steps and the earliest ones a further one each until all are spent.
    Where LLaDA's code is defined (equal blocks, equal shares) this is what it does.

    Args:
        canvas_length: Length of the canvas.
        block_length: Length of a block, the last one may be shorter; `None` for one block.
        steps: N, the steps of the whole canvas.

    Raises:
        ValueError: when there are fewer steps than blocks.
    """
    block_length = min(block_length or canvas_length, canvas_length)
    starts = range(0, canvas_length, block_length)
    if steps < len(starts):
        raise ValueError(
            f"{steps} denoising steps cannot serve {len(starts)} blocks: each of them needs at least one."
        )
    share, remainder = divmod(steps, len(starts))
    return tuple(
        Block(start, min(start + block_length, canvas_length), share + (index < remainder))
        for index, start in enumerate(starts)
    )


class RowGenerators:
    """Random numbers for a batch, each row from a stream of its own.

    Row r draws from the r-th stream that the source spawns, and its numbers depend on nothing else: neither
    on the other rows nor on how many there are.

    Args:
        generators: One generator a row, all on the device where the numbers are needed.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = tuple(generators)

    @classmethod
    def spawn(
        cls,
        num_rows: int,
        device: torch.device,
        *,
        seed: int | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> RowGenerators:
        """Derive the streams of a batch from a single source of randomness.

        Args:
            num_rows: B.
            device: Where the numbers are needed.
            seed: Seed of the source.
            generator: The source itself, or one source a row, which then fixes a row's numbers wherever in a
                batch it stands. With neither this nor `seed` the source is PyTorch's global generator.

        Raises:
            ValueError: when both are given, or the number of generators is not B.
        """
        if generator is not None and seed is not None:
            raise ValueError("Give a seed or a generator, not both.")
        sources: Sequence[torch.Generator | None]
        if seed is not None:
            sources = [torch.Generator().manual_seed(seed)] * num_rows
        elif generator is None or isinstance(generator, torch.Generator):
            sources = [generator] * num_rows
        else:
            sources = list(generator)
        if len(sources) != num_rows:
            raise ValueError(f"{len(sources)} generators were given for a batch of {num_rows} rows.")
        return cls([torch.Generator(device).manual_seed(_draw_seed(source)) for source in sources])

    def uniform(self, *shape: int) -> torch.Tensor:
        """Draw from U[0, 1).

        Returns:
            `(B, *shape)` in double precision (single where the device has none).
        """
        device = self._generators[0].device
        dtype = _widest_float(device)
        rows = [torch.rand(shape, generator=g, device=device, dtype=dtype) for g in self._generators]
        return torch.stack(rows)


@dataclass(frozen=True)
class Proposal:
    """What a denoising step proposes for every position of a block.

    Args:
        logits: `(B, L, V)` of the network, guided if guidance is on.
        tokens: `(B, L)` int64, the proposed tokens.
        confidence: `(B, L)`, the probability of the proposed token under the softmax of `logits`, in double
            precision: in single precision the many confidences close to 1 would be ties.
    """

    logits: torch.Tensor
    tokens: torch.Tensor
    confidence: torch.Tensor


@dataclass(frozen=True)
class Decision:
    """What a denoising step does to a block.

    Args:
        tokens: `(B, L)` int64, the proposed tokens.
        confidence: `(B, L)`, their probabilities.
        transfer: `(B, L)` bool, true where the proposal is committed.
    """

    tokens: torch.Tensor
    confidence: torch.Tensor
    transfer: torch.Tensor


class TransferSchedule(ABC):
    """How many tokens each step commits."""

    @abstractmethod
    def tokens_per_step(self, num_masked: torch.Tensor, steps: int) -> torch.Tensor:
        """Plan the steps of a block.

        Args:
            num_masked: `(B,)` integers, the masked positions of each row.
            steps: N.

        Returns:
            `(B, N)` int64; each row sums to its `num_masked`.
        """


class LinearSchedule(TransferSchedule):
    """LLaDA's schedule: `num_masked // N` a step, and one more in each of the first `num_masked % N`."""

    def tokens_per_step(self, num_masked: torch.Tensor, steps: int) -> torch.Tensor:
        """See [`TransferSchedule.tokens_per_step`]."""
        num_masked = num_masked.long().unsqueeze(-1)
        takes_one_more = torch.arange(steps, device=num_masked.device) < num_masked % steps
        return num_masked // steps + takes_one_more.long()


class TokenSampler(ABC):
    """Proposes a token for every position."""

    draws: ClassVar[bool] = False
    """Whether `propose` needs random numbers."""

    @abstractmethod
    def propose(self, logits: torch.Tensor, random: RowGenerators | None) -> torch.Tensor:
        """Choose tokens.

        Args:
            logits: `(B, L, V)`, with -inf for tokens that must not be chosen.
            random: Source of random numbers; present when `draws` is true.

        Returns:
            `(B, L)` int64.
        """


class GreedySampler(TokenSampler):
    """The most probable token."""

    def propose(self, logits: torch.Tensor, random: RowGenerators | None) -> torch.Tensor:
        """See [`TokenSampler.propose`]."""
        return logits.argmax(dim=-1)


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

    def propose(self, logits: torch.Tensor, random: RowGenerators | None) -> torch.Tensor:
        """See [`TokenSampler.propose`]."""
        gumbel = -_required(random).uniform(*logits.shape[1:]).log_().neg_().log_()
        return (logits.to(gumbel.dtype) + self.temperature * gumbel).argmax(dim=-1)


class RemaskingStrategy(ABC):
    """Ranks the proposals of a step: the lowest are masked again."""

    draws: ClassVar[bool] = False
    """Whether `score` needs random numbers."""

    @abstractmethod
    def score(self, proposal: Proposal, random: RowGenerators | None) -> torch.Tensor:
        """Score proposals.

        Args:
            proposal: The proposals of a step.
            random: Source of random numbers; present when `draws` is true.

        Returns:
            `(B, L)` finite numbers, the higher the sooner committed.
        """


class LowConfidenceRemasking(RemaskingStrategy):
    """Keeps the proposals that the network is most sure of."""

    def score(self, proposal: Proposal, random: RowGenerators | None) -> torch.Tensor:
        """See [`RemaskingStrategy.score`]."""
        return proposal.confidence


class RandomRemasking(RemaskingStrategy):
    """Keeps positions drawn at random: the reverse process as the theory has it."""

    draws = True

    def score(self, proposal: Proposal, random: RowGenerators | None) -> torch.Tensor:
        """See [`RemaskingStrategy.score`]."""
        return _required(random).uniform(proposal.tokens.shape[1])


class TransferSelection(ABC):
    """Decides which masked positions are committed."""

    @abstractmethod
    def select(self, scores: torch.Tensor, masked: torch.Tensor, num_transfer: torch.Tensor) -> torch.Tensor:
        """Select positions.

        Args:
            scores: `(B, L)` from the remasking strategy.
            masked: `(B, L)` bool, true where nothing has been committed yet.
            num_transfer: `(B,)` int64, the tokens that the schedule commits in this step.

        Returns:
            `(B, L)` bool, true at masked positions only.
        """


class TopKSelection(TransferSelection):
    """The `num_transfer` masked positions of the highest score; the leftmost first among equals."""

    def select(self, scores: torch.Tensor, masked: torch.Tensor, num_transfer: torch.Tensor) -> torch.Tensor:
        """See [`TransferSelection.select`]."""
        # A stable sort and not torch.topk: k differs between rows, and topk breaks ties as it likes.
        order = scores.masked_fill(~masked, -torch.inf).argsort(dim=-1, descending=True, stable=True)
        rank = order.argsort(dim=-1)
        return masked & (rank < num_transfer.unsqueeze(-1))


REMASKING_CLASSES: dict[str, type[RemaskingStrategy]] = {
    "low_confidence": LowConfidenceRemasking,
    "random": RandomRemasking,
}


@dataclass(frozen=True)
class DecodingPolicy:
    """A complete decoding policy.

    Args:
        schedule: How many tokens a step commits.
        sampler: Proposes tokens.
        remasking: Ranks the proposals.
        selection: Picks those that are committed.
        suppress_tokens: Ids that are never proposed. They keep their share of the softmax, so confidences are
            those of the reference code, which suppresses nothing.
    """

    schedule: TransferSchedule = field(default_factory=LinearSchedule)
    sampler: TokenSampler = field(default_factory=GreedySampler)
    remasking: RemaskingStrategy = field(default_factory=LowConfidenceRemasking)
    selection: TransferSelection = field(default_factory=TopKSelection)
    suppress_tokens: frozenset[int] = frozenset()

    @property
    def draws(self) -> bool:
        """Whether decoding needs random numbers."""
        return self.sampler.draws or self.remasking.draws

    def decide(
        self,
        logits: torch.Tensor,
        masked: torch.Tensor,
        num_transfer: torch.Tensor,
        random: RowGenerators | None = None,
    ) -> Decision:
        """Decide one denoising step of a block.

        Args:
            logits: `(B, L, V)`.
            masked: `(B, L)` bool, true where nothing has been committed yet.
            num_transfer: `(B,)` int64, a column of the schedule.
            random: Source of random numbers; needed when `draws` is true.
        """
        proposal = self.propose(logits, random)
        scores = self.remasking.score(proposal, random)
        transfer = self.selection.select(scores, masked, num_transfer)
        return Decision(proposal.tokens, proposal.confidence, transfer)

    def propose(self, logits: torch.Tensor, random: RowGenerators | None = None) -> Proposal:
        """Propose a token, and its probability, for every position; arguments as in [`decide`]."""
        tokens = self.sampler.propose(self._suppress(logits), random)
        probabilities = logits.to(_widest_float(logits.device)).softmax(dim=-1)
        confidence = probabilities.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        return Proposal(logits, tokens, confidence)

    def _suppress(self, logits: torch.Tensor) -> torch.Tensor:
        ids = sorted(token for token in self.suppress_tokens if token < logits.shape[-1])
        if not ids:
            return logits
        return logits.index_fill(-1, torch.tensor(ids, device=logits.device), -torch.inf)


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
        suppress_tokens=frozenset((*suppress_tokens, *(generation_config.suppress_tokens or ()))),
    )


def _draw_seed(source: torch.Generator | None) -> int:
    device = torch.device("cpu") if source is None else source.device
    return int(torch.randint(2**63 - 1, (), generator=source, device=device))


def _widest_float(device: torch.device) -> torch.dtype:
    # MPS has no double precision; LLaDA's code makes the same exception.
    return torch.float32 if device.type == "mps" else torch.float64


def _required(random: RowGenerators | None) -> RowGenerators:
    if random is None:
        raise ValueError("This decoding policy draws random numbers: give it RowGenerators.")
    return random


__all__ = [
    "REMASKING_CLASSES",
    "Block",
    "Decision",
    "DecodingPolicy",
    "GreedySampler",
    "GumbelSampler",
    "LinearSchedule",
    "LowConfidenceRemasking",
    "Proposal",
    "RandomRemasking",
    "RemaskingStrategy",
    "RowGenerators",
    "TokenSampler",
    "TopKSelection",
    "TransferSchedule",
    "TransferSelection",
    "build_decoding_policy",
    "plan_blocks",
]
