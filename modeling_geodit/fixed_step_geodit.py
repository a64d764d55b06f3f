# SPDX-License-Identifier: Apache-2.0
"""A denoising step of fixed shapes: a function of tensors that reads nothing back to the host.

The loop of `denoising_loop_geodit` works on the rows that are not finished and asks the network about masked positions
alone, for which the host has to know which these are. A GPU spends most of such a step waiting. Here every step
computes all rows and all positions of the canvas; what does not count is masked. So a step can be captured in a CUDA
graph once and replayed ([`CapturedStep`]), and it gives the same tokens.

Each row goes through its blocks by itself: it is in the block of its first masked position, and a block's steps are
counted from the step in which the row came to it.

Shapes: B rows, L canvas length, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from geodit.modeling_geodit.decoding_geodit import Block
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.host_copies_geodit import HostCopy, to_device
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.step_rules_geodit import StepRules

__all__ = [
    "BlockProgress",
    "BlockTables",
    "BlockTurn",
    "CanvasLogitsOf",
    "FixedStep",
    "block_table",
    "denoise_fixed",
]

CanvasLogitsOf = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From a canvas `(B, L)` int64 and the places that are there, `(B, L)` bool, to the logits of all, `(B * L, V)`."""


def block_table(blocks: Sequence[Block], initial_length: int | None) -> torch.Tensor:
    """Say of every position in which block it is.

    Args:
        blocks: The blocks, which cover the canvas from left to right.
        initial_length: Length that the canvas starts with, if it grows.

    Returns:
        `(L, 5)` int64 on the CPU: number, start, stop and steps of the block, and the end of the canvas as long as it
        is in the block that is denoised.
    """
    length = blocks[-1].stop
    ends = [length if initial_length is None else max(block.stop, initial_length) for block in blocks]
    return torch.tensor(
        [
            (index, block.start, block.stop, block.steps, end)
            for index, (block, end) in enumerate(zip(blocks, ends, strict=True))
            for _ in range(block.start, block.stop)
        ]
    )


class BlockTables:
    """The blocks of a canvas as tensors.

    Args:
        blocks: The blocks, which cover the canvas from left to right.
        initial_length: Length that the canvas starts with, if it grows.
        device: Where steps run.
    """

    def __init__(self, blocks: Sequence[Block], initial_length: int | None, device: torch.device) -> None:
        self.length = blocks[-1].stop
        self.device = device
        self.num_steps = sum(block.steps for block in blocks)
        self._of_places = to_device(block_table(blocks, initial_length), device)

    def at(self, places: torch.Tensor) -> torch.Tensor:
        """Return what [`block_table`] says of places `(B,)`, `(B, 5)`."""
        return self._of_places.index_select(0, places)


@dataclass(frozen=True)
class BlockTurn:
    """The blocks that rows are in when a step begins.

    Args:
        block: `(B,)` int64, the number of the block.
        steps_left: `(B,)` int64, in how many steps, the coming one included, the block is to be committed.
        wanted: `(B, L)` bool, its masked positions.
        end: `(B,)` int64, the end of the canvas as long as it is in the block.
    """

    block: torch.Tensor
    steps_left: torch.Tensor
    wanted: torch.Tensor
    end: torch.Tensor


class BlockProgress:
    """The block that each row came to, and how many of its steps are left.

    Args:
        num_rows: How many rows there are.
        device: Where steps run.
    """

    def __init__(self, num_rows: int, device: torch.device) -> None:
        self._block = torch.full((num_rows,), -1, dtype=torch.long, device=device)
        self._steps_left = torch.zeros_like(self._block)

    def begin(self, rows: torch.Tensor | None = None) -> None:
        """Begin anew: rows `(B,)` int64, or all by default, are in no block yet."""
        self._block[slice(None) if rows is None else rows] = -1

    def turn(self, masked: torch.Tensor, here: torch.Tensor, rows: torch.Tensor | None = None) -> BlockTurn:
        """Look where rows are. Nothing changes.

        Args:
            masked: `(B, L)` bool, the masked positions of rows that are not finished.
            here: `(B, 5)` int64, what [`block_table`] says of the first masked position of each row, or of any where
                nothing is masked.
            rows: `(B,)` int64, the rows; all by default.
        """
        chosen = slice(None) if rows is None else rows
        block, start, stop, steps, end = here.unbind(-1)
        steps_left = torch.where(block == self._block[chosen], self._steps_left[chosen], steps)
        places = torch.arange(masked.shape[1], device=masked.device)
        wanted = masked & (places >= start.unsqueeze(-1)) & (places < stop.unsqueeze(-1))
        return BlockTurn(block, steps_left.clamp(min=1), wanted, end)

    def advance(self, turn: BlockTurn, moved: torch.Tensor, rows: torch.Tensor | None = None) -> None:
        """Count a step of the rows that committed something, `moved` `(B,)` bool, in place."""
        chosen = slice(None) if rows is None else rows
        self._steps_left[chosen] = torch.where(moved, turn.steps_left - 1, self._steps_left[chosen])
        self._block[chosen] = torch.where(moved, turn.block, self._block[chosen])


class FixedStep:
    """One denoising step of all rows.

    Args:
        logits_of: The network.
        rules: Decide what to commit.
        tables: The blocks.
        num_rows: B.
        random: Random numbers, for policies that draw.
    """

    def __init__(
        self,
        logits_of: CanvasLogitsOf,
        rules: StepRules,
        tables: BlockTables,
        num_rows: int,
        random: RowStreams | None = None,
    ) -> None:
        self._logits_of = logits_of
        self._rules = rules
        self._tables = tables
        self._random = random
        self._progress = BlockProgress(num_rows, tables.device)

    def by(self, logits_of: CanvasLogitsOf) -> FixedStep:
        """Return the same step by another network: a row goes on with either where it is after a step of the other.

        Args:
            logits_of: The network.
        """
        step = copy.copy(self)
        step._logits_of = logits_of
        return step

    def begin(self, rows: torch.Tensor | None = None) -> None:
        """Begin anew: rows `(B',)` int64, or all by default, are in no block yet."""
        self._progress.begin(rows)

    def __call__(self, state: DenoisingState) -> None:
        """Denoise once, in place. Rows that are finished stay as they are."""
        places = torch.arange(self._tables.length, device=state.canvas.device)
        masked = state.masked & state.active.unsqueeze(-1)
        # The first masked position; 0 where there is none, and nothing comes of it.
        turn = self._progress.turn(masked, self._tables.at(masked.long().argmax(-1)))
        valid = places < torch.minimum(state.lengths, turn.end).unsqueeze(-1)

        logits = self._logits_of(state.canvas, valid)
        probabilities = self._rules.answer_probabilities(logits, state.canvas, masked, turn.wanted)
        if probabilities is not None:
            is_first = (state.steps_made == 0).unsqueeze(-1)
            state.answer_probabilities.copy_(torch.where(is_first, probabilities, state.answer_probabilities))
        random = None if self._random is None else self._random.at(state.steps_made)
        decision = self._rules.decide(logits, state.canvas, masked, turn.wanted, turn.steps_left, random)
        state.commit(decision)
        self._progress.advance(turn, decision.transfer.any(-1))
        if self._rules.ends_answers:
            state.end_answers(self._rules.eos_token_ids)
        state.finish_rows(self._rules.eos_token_ids)


def denoise_fixed(
    run_step: Callable[[], None], state: DenoisingState, num_steps: int, *, check_every: int = 4
) -> Iterator[DenoisingState]:
    """Denoise canvases by steps of fixed shapes.

    Whether all rows are finished is asked every few steps without waiting for the answer, so that a few steps may
    follow that change nothing.

    Args:
        run_step: Denoises the state once, in place.
        state: What is denoised.
        num_steps: N.
        check_every: After how many steps to ask.

    Yields:
        The same state, after each step.
    """
    pending: HostCopy | None = None
    for step in range(1, num_steps + 1):
        run_step()
        yield state
        if pending is not None and pending.has_come:
            if not pending.wait()[0]:
                return
            pending = None
        if pending is None and step % check_every == 0:
            pending = HostCopy([state.active.any()])
