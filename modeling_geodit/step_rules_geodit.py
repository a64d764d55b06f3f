# SPDX-License-Identifier: Apache-2.0
"""The rules of a denoising step: the answer pattern says what may be proposed, the policy decides what is committed.

Shapes: B batch, L canvas length, K positions that there are logits of: the wanted ones of all rows in row-major order,
or all `B * L`, of which those that are not wanted have no meaning; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from geodit.modeling_geodit.decoding_geodit import Decision, DecodingPolicy, num_to_commit
from geodit.modeling_geodit.grids_geodit import is_any_of
from geodit.modeling_geodit.patterns_geodit import AnswerPattern, CanvasLogits
from geodit.modeling_geodit.random_geodit import RowStreams

__all__ = ["StepRules"]


@dataclass(frozen=True)
class StepRules:
    """A decoding policy, and what the answers must look like.

    Where all positions have logits, nothing that is done here is read back from the device.

    Args:
        policy: Decides what to commit.
        eos_token_ids: Tokens that end an answer.
        fill_after_eos: Whether all after an EOS is EOS from the step on that commits it.
        pattern: What the answers must look like.
        temperature: With a pattern, above 0 its canvases are drawn.
    """

    policy: DecodingPolicy
    eos_token_ids: Sequence[int] = ()
    fill_after_eos: bool = False
    pattern: AnswerPattern | None = None
    temperature: float = 0.0

    @property
    def ends_answers(self) -> bool:
        """Whether all after an EOS is filled in."""
        return self.fill_after_eos and bool(self.eos_token_ids)

    def answer_probabilities(
        self, logits: torch.Tensor, canvas: torch.Tensor, is_open: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor | None:
        """`(B, C)` float32, of each answer of the pattern if it lists them; arguments as in [`decide`]."""
        if self.pattern is None:
            return None
        return self.pattern.answer_probabilities(self._known(logits, canvas, is_open, wanted))

    def decide(
        self,
        logits: torch.Tensor,
        canvas: torch.Tensor,
        is_open: torch.Tensor,
        wanted: torch.Tensor,
        steps_left: int | torch.Tensor,
        random: RowStreams | None = None,
    ) -> Decision:
        """Decide one denoising step.

        Args:
            logits: `(K, V)` float32 or bfloat16. Those in float32 are **overwritten**.
            canvas: `(B, L)` int64, the tokens where it is not open.
            is_open: `(B, L)` bool, where nothing is committed.
            wanted: `(B, L)` bool, the open positions where a token may be committed in this step.
            steps_left: In how many steps, this one included, all that is wanted is to be committed.
            random: Random numbers of the step, for policies and patterns that draw.
        """
        num_transfer = num_to_commit(wanted.sum(-1), steps_left)
        tokens = deferred = None
        if self.pattern is not None:
            known = self._known(logits, canvas, is_open, wanted)
            proposal = self.pattern.propose(known, temperature=self.temperature, random=random)
            tokens = known.positions.rows_of(proposal.tokens)
            if self.ends_answers:
                # An EOS that is not the first comes by itself with the one that is.
                deferred = is_any_of(proposal.tokens, self.eos_token_ids) & ~proposal.may_end
        return self.policy.decide(
            logits, wanted, num_transfer, random, tokens, deferred, self.eos_token_ids, self.ends_answers
        )

    def _known(
        self, logits: torch.Tensor, canvas: torch.Tensor, is_open: torch.Tensor, wanted: torch.Tensor
    ) -> CanvasLogits:
        return CanvasLogits(logits, wanted, is_open, canvas, self.policy.suppress_tokens)
