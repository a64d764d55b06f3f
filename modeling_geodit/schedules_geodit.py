# SPDX-License-Identifier: Apache-2.0
"""When tokens are committed: the blocks of a canvas, and how many tokens a denoising step commits at least.

Shapes: B batch, N denoising steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch


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
    each block behind it is one extension.

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


class TransferSchedule(ABC):
    """How many tokens each step commits at least.

    It is asked before every step, as a selection may commit more than it must, and then less is left to do.
    """

    @abstractmethod
    def num_transfer(self, num_masked: torch.Tensor, steps_left: int | torch.Tensor) -> torch.Tensor:
        """Say how many tokens the next step must commit so that the steps suffice.

        Args:
            num_masked: `(B,)` integers, the masked positions of each row.
            steps_left: How many steps there still are, the next one included; a tensor may have no dimensions.

        Returns:
            `(B,)` int64, from 0 to `num_masked`; all of `num_masked` when `steps_left` is 1.
        """

    def tokens_per_step(self, num_masked: torch.Tensor, steps: int) -> torch.Tensor:
        """Unroll the schedule for steps that commit exactly what they must.

        Args:
            num_masked: `(B,)` integers, the masked positions of each row before the first step.
            steps: N.

        Returns:
            `(B, N)` int64; each row sums to its `num_masked`.
        """
        left = num_masked.long()
        plan = []
        for steps_left in range(steps, 0, -1):
            plan.append(self.num_transfer(left, steps_left))
            left = left - plan[-1]
        return torch.stack(plan, dim=-1)


class LinearSchedule(TransferSchedule):
    """An even share of what is left, rounded up.

    When every step commits exactly its share, this is LLaDA's schedule: `num_masked // N` tokens a step, and one
    more in each of the first `num_masked % N`. (With M = qN + r tokens for N steps and 0 < r < N, the share is q + 1,
    and q(N - 1) + (r - 1) tokens remain for N - 1 steps: the same with r smaller by one. With r = 0 it is q to the
    end.)
    """

    def num_transfer(self, num_masked: torch.Tensor, steps_left: int | torch.Tensor) -> torch.Tensor:
        """See [`TransferSchedule.num_transfer`]."""
        return -(-num_masked.long() // steps_left)


__all__ = ["Block", "LinearSchedule", "TransferSchedule", "plan_blocks"]
