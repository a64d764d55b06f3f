# SPDX-License-Identifier: Apache-2.0
"""Continuous batching: a row that is finished makes room for the next prompt while the other rows go on.

In a batch of fixed shapes every row takes as long as the one that needs the most steps. Here a row is a *slot*: as
soon as its answer is finished another prompt is loaded into it, so that all slots work until no prompt is waiting.
Rows do not see each other and count their own steps, so an answer is the one that its prompt has alone.

The host learns which rows are finished one step late, while the next step runs, and does not wait for the device.

Shapes: B slots, L canvas length, C answers that a pattern lists.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.host_copies_geodit import HostCopy, index_on
from geodit.modeling_geodit.predictors_geodit import PromptBranch
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.step_capture_geodit import CapturedLoop

__all__ = ["FinishedAnswer", "PromptQueue", "WaitingPrompts", "denoise_in_slots"]


@dataclass(frozen=True)
class WaitingPrompts:
    """Prompts, embedded, with their canvases.

    Args:
        first: Number of the first of them among all prompts.
        branches: The prompts, and with guidance those that say nothing.
        state: Their canvases.
        random: Random numbers; `None` where nothing is drawn.
    """

    first: int
    branches: tuple[PromptBranch, ...]
    state: DenoisingState
    random: RowStreams | None

    def __len__(self) -> int:
        return len(self.state.lengths)

    def split(self, count: int) -> tuple[WaitingPrompts, WaitingPrompts]:
        """Return the first of them, and the rest.

        Args:
            count: How many the first are, less than all.
        """
        return self._part(0, count), self._part(count, len(self))

    def _part(self, start: int, stop: int) -> WaitingPrompts:
        rows = slice(start, stop)
        return WaitingPrompts(
            self.first + start,
            tuple(branch.take(rows) for branch in self.branches),
            self.state.take(rows),
            None if self.random is None else self.random.take(rows),
        )


class PromptQueue:
    """Prompts that are prepared when a slot is free for them.

    Args:
        prompts: Batches of prompts.
    """

    def __init__(self, prompts: Iterator[WaitingPrompts]) -> None:
        self._prompts = prompts
        self._next: WaitingPrompts | None = None

    def peek(self) -> WaitingPrompts | None:
        """Return the batch, or what is left of it, that comes next; `None` when there is none."""
        if self._next is None:
            self._next = next(self._prompts, None)
        return self._next

    def pop(self, count: int) -> WaitingPrompts:
        """Take prompts of the next batch.

        Args:
            count: How many at most.

        Raises:
            IndexError: when none is left.
        """
        prompts = self.peek()
        if prompts is None:
            raise IndexError("No prompt is left.")
        self._next = None
        if len(prompts) > count:
            prompts, self._next = prompts.split(count)
        return prompts


@dataclass(frozen=True)
class FinishedAnswer:
    """The answer to one of many prompts, on the CPU. [`GeoDiTGenerateOutput`] says more of the fields.

    Args:
        index: Number of the prompt, counted from 0 over all batches.
        canvas: `(L,)` int64, the tokens of the answer.
        commit_steps: `(L,)` int64.
        confidences: `(L,)` float32.
        end_probabilities: `(L,)` float32.
        steps_made: In how many steps it was denoised.
        answer_probabilities: `(C,)` float32; `None` without a pattern that lists answers.
    """

    index: int
    canvas: torch.Tensor
    commit_steps: torch.Tensor
    confidences: torch.Tensor
    end_probabilities: torch.Tensor
    steps_made: int
    answer_probabilities: torch.Tensor | None

    @classmethod
    def of_rows(cls, numbers: list[int], state: DenoisingState) -> list[FinishedAnswer]:
        """Return the answers of some rows.

        Args:
            numbers: The number of each row's prompt.
            state: The rows, on the CPU.
        """
        steps_made = state.steps_made.tolist()
        has_answers = state.answer_probabilities.shape[1] > 0
        return [
            cls(
                number,
                state.canvas[row],
                state.commit_steps[row],
                state.confidences[row],
                state.end_probabilities[row],
                steps_made[row],
                state.answer_probabilities[row] if has_answers else None,
            )
            for row, number in enumerate(numbers)
        ]


class _Slots:
    """Which prompt is in which slot.

    Args:
        loop: Denoises the slots.
    """

    def __init__(self, loop: CapturedLoop) -> None:
        self._loop = loop
        self._numbers: list[int | None] = [None] * loop.num_rows
        self._since = [0] * loop.num_rows
        loop.state.active.zero_()

    @property
    def free(self) -> list[int]:
        """The slots that nothing is in."""
        return [slot for slot, number in enumerate(self._numbers) if number is None]

    @property
    def are_empty(self) -> bool:
        """Whether nothing is in any of them."""
        return all(number is None for number in self._numbers)

    def load(self, prompts: WaitingPrompts, step: int) -> None:
        """Put prompts into free slots.

        Args:
            prompts: As many as are free at most.
            step: The first step that they take part in.
        """
        slots = self.free[: len(prompts)]
        self._loop.load(prompts.branches, prompts.state, prompts.random, slots)
        for row, slot in enumerate(slots):
            self._numbers[slot] = prompts.first + row
            self._since[slot] = step

    def take_finished(self, step: int, active: list[bool]) -> tuple[list[int], DenoisingState] | None:
        """Empty the slots that are finished.

        Args:
            step: The step after which `active` was looked at.
            active: Of each slot whether it was still being denoised then.

        Returns:
            The numbers of their prompts and what has come of them; `None` if there are none.
        """
        done = [
            slot
            for slot, number in enumerate(self._numbers)
            if number is not None and self._since[slot] <= step and not active[slot]
        ]
        if not done:
            return None
        numbers = [number for slot in done if (number := self._numbers[slot]) is not None]
        for slot in done:
            self._numbers[slot] = None
        state = self._loop.state
        return numbers, state.take(index_on(state.canvas.device, done))


def denoise_in_slots(loop: CapturedLoop, queue: PromptQueue) -> Iterator[tuple[list[int], DenoisingState]]:
    """Denoise prompts until none is left, or the next one has more places than the loop.

    Args:
        loop: Denoises the slots; nobody else may use it in the meantime.
        queue: The prompts.

    Yields:
        Numbers of prompts and their finished rows, on the CPU, as they finish.
    """
    slots = _Slots(loop)
    asked: deque[tuple[int, HostCopy]] = deque()
    leaving: deque[tuple[list[int], DenoisingState, HostCopy]] = deque()
    step = 0
    while True:
        while (free := slots.free) and (prompts := queue.peek()) is not None and loop.takes(prompts.branches):
            slots.load(queue.pop(len(free)), step + 1)
        if not slots.are_empty:
            loop.run_step()
            step += 1
            asked.append((step, HostCopy([loop.state.active])))
        # While the step runs, the host looks after those that have left before it.
        while leaving:
            numbers, state, copy = leaving.popleft()
            yield numbers, state.with_tensors(copy.wait())
        if slots.are_empty:
            return
        while asked and (asked[0][1].has_come or len(asked) > 1):
            asked_after, copy = asked.popleft()
            finished = slots.take_finished(asked_after, copy.wait()[0].tolist())
            if finished is not None:
                numbers, state = finished
                leaving.append((numbers, state, HostCopy(state.tensors)))
