# SPDX-License-Identifier: Apache-2.0
"""Decoding policies of masked diffusion: which tokens a denoising step proposes, and which of them it keeps.

Nothing here knows the network. A [`DecodingPolicy`] is given the logits of masked positions of the canvas and is made
of four exchangeable parts, each an abstract class with one method, in a file of its own:

* [`TransferSchedule`]: how many tokens each step commits at least;
* [`TokenSampler`]: the token proposed for a position;
* [`RemaskingStrategy`]: a score for every proposal, the higher the better;
* [`TransferSelection`]: the masked positions whose proposals are committed, given scores and schedule.

A new policy is a further subclass of one of them. The defaults follow the reference code of LLaDA (Nie et al., 2025,
https://github.com/ML-GSAI/LLaDA, `generate.py`).

Shapes: B batch, L canvas length, K positions that there are logits of: the masked ones of all rows in row-major
order, or all `B * L`, of which those that are not masked have no meaning; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.grids_geodit import DeviceTensors, is_any_of
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.remasking_geodit import (
    REMASKING_CLASSES,
    HighEntropyRemasking,
    LowConfidenceRemasking,
    LowMarginRemasking,
    RandomRemasking,
    RemaskingStrategy,
)
from geodit.modeling_geodit.sampling_geodit import GreedySampler, GumbelSampler, Proposal, TokenSampler
from geodit.modeling_geodit.schedules_geodit import Block, LinearSchedule, TransferSchedule, plan_blocks
from geodit.modeling_geodit.selection_geodit import (
    EntropyBoundSelection,
    ThresholdSelection,
    TopKSelection,
    TransferSelection,
)
from geodit.modeling_geodit.softmax_geodit import Softmax


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
        schedule: How many tokens a step commits at least.
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
            num_transfer: `(B,)` int64, the tokens to commit at least: what the schedule says.
            random: Random numbers of the step; needed when `draws` is true.
            tokens: `(K,)` int64, proposals that are made already, in the place of the sampler's.
            deferred: `(B, L)` bool, positions that are committed after all others, whatever their scores.
            eos_token_ids: The tokens that end an answer.
            ends_once: Whether, with no other positions `deferred`, those are that a token that ends an answer is
                proposed for behind another such one: they come by themselves with the first.

        Raises:
            ValueError: when there are as many logits neither as masked positions nor as positions, or
                random numbers are missing.
        """
        proposal = self.propose(logits, masked, random, tokens)
        scores = proposal.to_grid(self.remasking.score(proposal, random))
        proposed = proposal.to_grid(proposal.tokens)
        if deferred is None and ends_once:
            is_end = is_any_of(proposed, eos_token_ids) & masked
            deferred = is_end & (is_end.long().cumsum(-1) > 1)
        if deferred is not None:
            scores = scores.masked_fill(deferred, torch.finfo(scores.dtype).min)
        return Decision(
            tokens=proposed,
            confidence=proposal.to_grid(proposal.confidence),
            end_probability=proposal.to_grid(proposal.probability_of(eos_token_ids)),
            transfer=self.selection.select(scores, masked, num_transfer, proposal),
        )

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


__all__ = [
    "REMASKING_CLASSES",
    "Block",
    "Decision",
    "DecodingPolicy",
    "EntropyBoundSelection",
    "GreedySampler",
    "GumbelSampler",
    "HighEntropyRemasking",
    "LinearSchedule",
    "LowConfidenceRemasking",
    "LowMarginRemasking",
    "Proposal",
    "RandomRemasking",
    "RemaskingStrategy",
    "RowStreams",
    "Softmax",
    "ThresholdSelection",
    "TokenSampler",
    "TopKSelection",
    "TransferSchedule",
    "TransferSelection",
    "build_decoding_policy",
    "plan_blocks",
]
