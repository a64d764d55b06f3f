# SPDX-License-Identifier: Apache-2.0
"""Denoising of rows that each have their own plan: what an engine that serves many requests at once runs.

A [`FixedStep`] denoises all rows by one plan. Here every row has a canvas length, blocks, a policy and a pattern of
its own, and joins and leaves when it likes; the answer is the one that `generate()` gives to its request alone. A step
has fixed shapes and reads nothing back from the device; which rows it is about is a tensor, too.

Shapes: R rows, B rows of a batch, L canvas length, V vocabulary, C answers at most.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from geodit.modeling_geodit.decoding_plan_geodit import DecodingPlan
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.fixed_step_geodit import BlockProgress, BlockTurn, block_table
from geodit.modeling_geodit.host_copies_geodit import index_on, to_device
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.row_policies import SlotPlaces
from geodit.modeling_geodit.row_rules import RowRules, StepInputs

__all__ = ["RowDenoiser"]


class RowDenoiser:
    """Rows of canvases, each denoised by its own plan.

    A row is a slot: a request begins in it, and when it is finished or given up another one may. Rows that are
    finished, or that nothing has begun in, stay as they are in a step, so a batch may be padded with them. Guidance
    and stop strings are not its business.

    Args:
        num_rows: R.
        canvas_length: L, of the longest canvas; a shorter one is the first positions of its row.
        mask_token_id: Id of `[M]`.
        eos_token_ids: Tokens that end an answer.
        device: Where steps run.
        max_suppressed: The most tokens that a request may suppress, the mask token and the image placeholder included.
        max_answers: C, the most answers that a request's pattern may list.
    """

    def __init__(
        self,
        num_rows: int,
        canvas_length: int,
        mask_token_id: int,
        eos_token_ids: Sequence[int],
        device: torch.device,
        *,
        max_suppressed: int = 64,
        max_answers: int = 0,
    ) -> None:
        self.num_rows = num_rows
        self.canvas_length = canvas_length
        self._mask_token_id = mask_token_id
        self._device = device
        self._max_answers = max_answers
        self._rules = RowRules(num_rows, eos_token_ids, max_suppressed, max_answers, device)
        self._progress = BlockProgress(num_rows, device)
        # Of each position of each row in which block it is, see `block_table`.
        self._blocks = torch.zeros((num_rows, canvas_length, 5), dtype=torch.long, device=device)
        self._keys = torch.zeros(num_rows, dtype=torch.long, device=device)
        lengths = torch.full((num_rows,), canvas_length, dtype=torch.long, device=device)
        self.state = DenoisingState.fully_masked(lengths, canvas_length, mask_token_id, mask_token_id, max_answers)
        """`(R, L)`, all rows. A request's canvas is the first positions of its row, as many as its plan has."""
        self.state.active.zero_()

    def begin(
        self,
        rows: Sequence[int],
        plans: Sequence[DecodingPlan],
        lengths: Sequence[int] | None = None,
        random: RowStreams | None = None,
    ) -> None:
        """Begin requests. What was in their rows is gone. Nothing changes if one of them is refused.

        Args:
            rows: The row of each request.
            plans: The plan of each.
            lengths: The length of each canvas, at most that of its plan, which is the default.
            random: A stream for each request; needed if any of them draws.

        Raises:
            ValueError: for rows that are not there or named twice, for plans, lengths or streams that are not one for
                each row, or for a plan that does not fit.
        """
        lengths = [plan.blocks[-1].stop for plan in plans] if lengths is None else list(lengths)
        self._check(rows, plans, lengths, random)
        if not rows:
            return
        index = index_on(self._device, rows)
        self._rules.begin(rows, plans)
        tables = torch.stack([self._block_table(plan) for plan in plans])
        self._blocks[index] = to_device(tables, self._device)
        self._keys[index] = torch.zeros_like(index) if random is None else to_device(random.keys, self._device)
        self._progress.begin(index)
        fills = index_on(self._device, [plan.fill for plan in plans]).unsqueeze(-1)
        fresh = DenoisingState.fully_masked(
            index_on(self._device, lengths), self.canvas_length, self._mask_token_id, fills, self._max_answers
        )
        self.state.copy_(fresh, index)

    def _block_table(self, plan: DecodingPlan) -> torch.Tensor:
        """`(L, 5)`, the plan's own after which the last block goes on: no token is masked there."""
        table = block_table(plan.blocks, plan.config.initial_canvas_length)
        return torch.cat([table, table[-1:].expand(self.canvas_length - len(table), -1)])

    def _check(
        self,
        rows: Sequence[int],
        plans: Sequence[DecodingPlan],
        lengths: Sequence[int],
        random: RowStreams | None,
    ) -> None:
        if len(set(rows)) < len(rows) or not all(0 <= row < self.num_rows for row in rows):
            raise ValueError(f"rows must be different numbers from 0 to {self.num_rows - 1}, but are {list(rows)}.")
        if len(plans) != len(rows) or len(lengths) != len(rows):
            raise ValueError(f"{len(rows)} rows begin, but there are {len(plans)} plans and {len(lengths)} lengths.")
        if random is not None and random.keys.shape != (len(rows),):
            raise ValueError(f"{len(rows)} rows begin, but random has streams of shape {tuple(random.keys.shape)}.")
        for plan, length in zip(plans, lengths, strict=True):
            stop = plan.blocks[-1].stop
            if stop > self.canvas_length:
                raise ValueError(
                    f"A request asks for a canvas of {stop} tokens, but at most {self.canvas_length} are possible: "
                    "lower max_new_tokens."
                )
            if not 1 <= length <= stop:
                raise ValueError(f"The length of a canvas must be from 1 to max_new_tokens={stop}, but is {length}.")
            if plan.mask_token_id != self._mask_token_id:
                raise ValueError(
                    f"A request has mask_token_id={plan.mask_token_id}, but all rows have {self._mask_token_id}: "
                    "leave it out."
                )
            self._rules.check(plan)
            if plan.rules.pattern is not None:
                plan.rules.pattern.check_canvases([length], plan.rules.eos_token_ids)
            if plan.rules.policy.draws and random is None:
                raise ValueError("A request draws random numbers: give RowStreams with a stream for each row.")

    def release(self, rows: Sequence[int]) -> None:
        """Free rows whose requests are finished or given up.

        They stay as they are, and what only they needed is not computed any more.
        """
        if rows:
            self._rules.release(rows)
            self.state.active[index_on(self._device, rows)] = False

    def canvas_ends(self, rows: torch.Tensor) -> torch.Tensor:
        """Say where canvases end that grow, or that are shorter than L, when the network is asked for the coming step.

        Args:
            rows: `(B,)` int64.

        Returns:
            `(B,)` int64, one past the last position that is there so far; of a finished row its whole canvas.
        """
        state = self.state.take(rows)
        masked = state.masked & state.active.unsqueeze(-1)
        ends = torch.minimum(state.lengths, self._turn(masked, rows).end)
        return torch.where(state.active, ends, state.lengths)

    def wanted(self, rows: torch.Tensor) -> torch.Tensor:
        """Say where a token may be committed in the coming step.

        Args:
            rows: `(B,)` int64.

        Returns:
            `(B, L)` bool.
        """
        state = self.state.take(rows)
        return self._turn(state.masked & state.active.unsqueeze(-1), rows).wanted

    def step(self, rows: torch.Tensor, logits: torch.Tensor) -> None:
        """Denoise rows once, in place.

        Args:
            rows: `(B,)` int64, each of them once, but for rows that are finished.
            logits: `(B * L, V)` float32 or bfloat16, of all positions; those that are not wanted have no meaning.
                Those in float32 are **overwritten**.

        Raises:
            ValueError: when there are not as many logits as positions.
        """
        if logits.dim() != 2 or len(logits) != len(rows) * self.canvas_length:
            raise ValueError(
                f"logits must be of shape ({len(rows) * self.canvas_length}, V), one for each position of {len(rows)} "
                f"canvases of {self.canvas_length} tokens, but are of shape {tuple(logits.shape)}."
            )
        if not len(rows):
            return
        state = self.state.take(rows)
        masked = state.masked & state.active.unsqueeze(-1)
        turn = self._turn(masked, rows)
        places = SlotPlaces(rows, self.num_rows)
        inputs = StepInputs(logits.float(), state.canvas, masked, turn.wanted, rows, places)
        probabilities = self._rules.answer_probabilities(inputs)
        if probabilities is not None:
            is_first = (state.active & (state.steps_made == 0)).unsqueeze(-1)
            state.answer_probabilities.copy_(torch.where(is_first, probabilities, state.answer_probabilities))
        random = RowStreams(self._keys[rows]).at(state.steps_made)
        decision = self._rules.decide(inputs, turn.steps_left, random)
        state.commit(decision)
        self._progress.advance(turn, decision.transfer.any(-1), rows)
        if self._rules.eos_token_ids:
            state.end_answers(self._rules.eos_token_ids, self._rules.ends_answers(rows) & state.active)
        state.finish_rows(self._rules.eos_token_ids)
        self.state.copy_(state, rows)

    def _turn(self, masked: torch.Tensor, rows: torch.Tensor) -> BlockTurn:
        # The first masked position; 0 where there is none, and nothing comes of it.
        return self._progress.turn(masked, self._blocks[rows, masked.long().argmax(-1)], rows)
