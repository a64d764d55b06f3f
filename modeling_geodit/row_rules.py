# SPDX-License-Identifier: Apache-2.0
"""Rules of a denoising step of rows that each have their own: what [`StepRules`] is for rows that share them.

Rows with equal patterns and canvases of one length are one group: their proposals are made at once, from their own
part of the logits. So a step goes through the groups that are in the slots, and not through rows.

Shapes: R slots, B rows of a batch, L canvas length, M length of a group's canvases, V vocabulary, C answers at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from geodit.modeling_geodit.decoding_geodit import Decision, num_to_commit, repeated_ends
from geodit.modeling_geodit.decoding_plan_geodit import DecodingPlan
from geodit.modeling_geodit.grids_geodit import is_any_of
from geodit.modeling_geodit.host_copies_geodit import index_on, to_device
from geodit.modeling_geodit.patterns_geodit import AnswerPattern, CanvasLogits
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.row_policies import RowPolicies, SlotPlaces

__all__ = ["RowRules", "StepInputs"]


@dataclass(frozen=True)
class StepInputs:
    """What a step of a batch of rows decides on.

    Args:
        logits: `(B * L, V)` float32.
        canvas: `(B, L)` int64, the tokens where it is not open.
        is_open: `(B, L)` bool, where nothing is committed.
        wanted: `(B, L)` bool, the open positions where a token may be committed in this step.
        rows: `(B,)` int64, the slot of each row.
        places: Where slots are in the batch.
    """

    logits: torch.Tensor
    canvas: torch.Tensor
    is_open: torch.Tensor
    wanted: torch.Tensor
    rows: torch.Tensor
    places: SlotPlaces


@dataclass(frozen=True)
class _GroupKey:
    """What rows of a group have in common."""

    pattern: AnswerPattern
    length: int
    draws: bool


@dataclass(frozen=True)
class _Group:
    """Slots with one pattern.

    Args:
        key: What they have in common.
        slots: `(slots,)` int64.
    """

    key: _GroupKey
    slots: torch.Tensor

    def known(self, inputs: StepInputs, policies: RowPolicies) -> CanvasLogits:
        """Return what is known of their canvases."""
        length, places = self.key.length, inputs.places
        canvas, is_open, wanted = (
            places.read(grid, self.slots)[:, :length].contiguous()
            for grid in (inputs.canvas, inputs.is_open, inputs.wanted)
        )
        positions = places.positions(self.slots, inputs.canvas.shape[1], length)
        return CanvasLogits(inputs.logits, wanted, is_open, canvas, policies.suppressed(self.slots), positions)


class RowRules:
    """The rules of all slots.

    Args:
        num_slots: R.
        eos_token_ids: Tokens that end an answer, the same in all rows.
        max_suppressed: The most tokens that a row's policy may suppress.
        max_answers: C, the most answers that a row's pattern may list.
        device: Where steps run.
    """

    def __init__(
        self, num_slots: int, eos_token_ids: Sequence[int], max_suppressed: int, max_answers: int, device: torch.device
    ) -> None:
        self.eos_token_ids = tuple(eos_token_ids)
        self._max_answers = max_answers
        self._device = device
        self._policies = RowPolicies(num_slots, max_suppressed, device)
        self._key_of: dict[int, _GroupKey] = {}
        self._groups: list[_Group] = []
        self._ends_answers = torch.zeros(num_slots, dtype=torch.bool, device=device)

    def check(self, plan: DecodingPlan) -> None:
        """Refuse a plan that a slot cannot have.

        Raises:
            ValueError: If it has other tokens that end an answer, a policy that a slot cannot have, or a pattern that
                lists too many answers.
        """
        if tuple(plan.rules.eos_token_ids) != self.eos_token_ids:
            raise ValueError(
                f"A request has eos_token_id={list(plan.rules.eos_token_ids)}, but all rows have "
                f"{list(self.eos_token_ids)}: leave it out."
            )
        self._policies.check(plan.rules)
        if plan.num_answers > self._max_answers:
            raise ValueError(
                f"A pattern lists {plan.num_answers} answers, but at most {self._max_answers} are possible: list "
                "fewer or raise max_answers."
            )

    def begin(self, slots: Sequence[int], plans: Sequence[DecodingPlan]) -> None:
        """Write the rules of requests that begin in slots; plans that were checked."""
        self._policies.begin(slots, [plan.rules for plan in plans])
        ends = torch.tensor([plan.rules.ends_answers for plan in plans])
        self._ends_answers[index_on(self._device, slots)] = to_device(ends, self._device)
        for slot, plan in zip(slots, plans, strict=True):
            self._key_of.pop(slot, None)
            if (pattern := plan.rules.pattern) is not None:
                self._key_of[slot] = _GroupKey(pattern, plan.blocks[-1].stop, plan.rules.temperature > 0)
        self._form_groups()

    def release(self, slots: Sequence[int]) -> None:
        """Forget what slots need."""
        self._policies.release(slots)
        for slot in slots:
            self._key_of.pop(slot, None)
        self._form_groups()

    def _form_groups(self) -> None:
        slots_of: dict[_GroupKey, list[int]] = {}
        for slot, key in self._key_of.items():
            slots_of.setdefault(key, []).append(slot)
        self._groups = [_Group(key, index_on(self._device, slots)) for key, slots in slots_of.items()]

    def ends_answers(self, rows: torch.Tensor) -> torch.Tensor:
        """`(B,)` bool, the rows in which all after an EOS is filled in."""
        return self._ends_answers.index_select(0, rows)

    def answer_probabilities(self, inputs: StepInputs) -> torch.Tensor | None:
        """`(B, C)` float32, of each answer in rows with a pattern that lists them; `None` if there are no such."""
        groups = [group for group in self._groups if group.key.pattern.num_answers]
        if not groups:
            return None
        rows, places = inputs.rows, inputs.places
        padded = places.padded(torch.zeros((len(rows), self._max_answers), device=rows.device))
        for group in groups:
            probabilities = group.key.pattern.answer_probabilities(group.known(inputs, self._policies))
            if probabilities is not None:
                places.write_(padded, group.slots, probabilities)
        return padded[: places.count]

    def decide(self, inputs: StepInputs, steps_left: torch.Tensor, random: RowStreams) -> Decision:
        """Decide one denoising step.

        Args:
            inputs: The rows. Their logits are **overwritten**.
            steps_left: `(B,)`, in how many steps, this one included, all that is wanted is to be committed.
            random: Random numbers of the step.
        """
        rows, places = inputs.rows, inputs.places
        tokens = self._policies.propose(inputs.logits, rows, places, random)
        deferred = repeated_ends(tokens, inputs.wanted, self.eos_token_ids)
        if self._groups:
            tokens, deferred = self._propose_by_patterns(inputs, tokens, deferred, random)
        return self._policies.policy(rows).decide(
            inputs.logits,
            inputs.wanted,
            num_to_commit(inputs.wanted.sum(-1), steps_left),
            random,
            tokens.flatten(),
            deferred & self.ends_answers(rows).unsqueeze(-1),
            self.eos_token_ids,
        )

    def _propose_by_patterns(
        self, inputs: StepInputs, tokens: torch.Tensor, deferred: torch.Tensor, random: RowStreams
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens and deferred positions `(B, L)`, in rows with a pattern those of its proposal."""
        places = inputs.places
        tokens, deferred = places.padded(tokens), places.padded(deferred)
        for group in self._groups:
            proposal = group.key.pattern.propose(
                group.known(inputs, self._policies),
                temperature=self._policies.temperatures(group.slots) if group.key.draws else 0.0,
                random=RowStreams(places.read(random.keys, group.slots)),
            )
            places.write_(tokens, group.slots, proposal.tokens)
            # An EOS that is not the first comes by itself with the one that is.
            not_first = is_any_of(proposal.tokens, self.eos_token_ids) & ~proposal.may_end
            places.write_(deferred, group.slots, not_first)
        return tokens[: places.count], deferred[: places.count]
