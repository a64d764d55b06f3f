# SPDX-License-Identifier: Apache-2.0
"""The canvases of a batch and their history, which denoising steps change in place.

Shapes: B rows, L canvas length, C answers that a pattern lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from geodit.configuration.types_geodit import Arguments
from geodit.modeling_geodit.decoding_geodit import Decision
from geodit.modeling_geodit.grids_geodit import is_any_of

__all__ = ["Alternatives", "DenoisingState"]


@dataclass
class Alternatives:
    """The most probable tokens of each position, by the last step in which it was masked.

    Where something has been committed, they are those of the step that committed it.

    Args:
        tokens: `(B, L, A)` int64, the most probable first.
        probabilities: `(B, L, A)` float32, their probabilities; 0 where the network was not asked.
    """

    tokens: torch.Tensor
    probabilities: torch.Tensor

    @classmethod
    def none_of(cls, canvas: torch.Tensor, count: int) -> Alternatives:
        """Return those of a canvas `(B, L)` that the network has not been asked about."""
        tokens = canvas.unsqueeze(-1).repeat(1, 1, count)
        return cls(tokens, torch.zeros(tokens.shape, dtype=torch.float32, device=canvas.device))

    def note(self, tokens: torch.Tensor, probabilities: torch.Tensor, wanted: torch.Tensor, rows: list[int]) -> None:
        """Write those of one step, in place.

        Args:
            tokens: `(K, A)` int64, a row for each true element of `wanted`.
            probabilities: `(K, A)`.
            wanted: `(len(rows), L)` bool.
            rows: The rows that the step is about.
        """
        which, places = wanted.nonzero(as_tuple=True)
        chosen = torch.tensor(rows, device=which.device)[which]
        self.tokens[chosen, places] = tokens
        self.probabilities[chosen, places] = probabilities.float()


@dataclass
class DenoisingState:
    """The canvas and its history.

    Args:
        canvas: `(B, L)` int64, `[M]` where nothing has been committed.
        commit_steps: `(B, L)` int64, -1 where nothing has been committed.
        confidences: `(B, L)` float32, 0 where nothing has been committed.
        end_probabilities: `(B, L)` float32, that of EOS in the step that committed something; 0 likewise.
        lengths: `(B,)` int64, where the canvas of each row ends at last.
        ends: `(B,)` int64, where the answer of each row ends as far as that is known: one past its first EOS, or
            where its canvas ends.
        stop: Where the part of the canvas ends that is there so far; L unless it grows.
        steps_made: `(B,)` int64, in how many steps each row was denoised.
        active: `(B,)` bool, the rows that are not finished.
        answer_probabilities: `(B, C)` float32, with a pattern of C answers that of each by the first step.
        rows: The rows that are not finished, ascending; a loop of fixed shapes does not know them.
        step: How many steps have been made; likewise.
        alternatives: The most probable tokens of each position, where they were asked for.
    """

    canvas: torch.Tensor
    commit_steps: torch.Tensor
    confidences: torch.Tensor
    end_probabilities: torch.Tensor
    lengths: torch.Tensor
    ends: torch.Tensor
    steps_made: torch.Tensor
    active: torch.Tensor
    answer_probabilities: torch.Tensor
    stop: int
    rows: list[int] = field(default_factory=list)
    step: int = 0
    alternatives: Alternatives | None = None

    @classmethod
    def fully_masked(
        cls,
        lengths: torch.Tensor,
        canvas_length: int,
        mask_token_id: int,
        fill: int | torch.Tensor,
        num_answers: int = 0,
    ) -> DenoisingState:
        """Return the state that denoising starts from.

        Args:
            lengths: `(B,)` int64, the length of each row's canvas.
            canvas_length: L.
            mask_token_id: Id of `[M]`.
            fill: The token after the end of a shorter canvas; `(B, 1)` int64 where rows differ.
            num_answers: C.
        """
        shape, device = (len(lengths), canvas_length), lengths.device
        behind = torch.arange(canvas_length, device=device) >= lengths.unsqueeze(-1)
        return cls(
            canvas=torch.where(behind, fill, mask_token_id),
            commit_steps=torch.full(shape, -1, dtype=torch.long, device=device),
            confidences=torch.zeros(shape, dtype=torch.float32, device=device),
            end_probabilities=torch.zeros(shape, dtype=torch.float32, device=device),
            lengths=lengths,
            ends=lengths.clone(),
            steps_made=torch.zeros_like(lengths),
            active=torch.ones_like(lengths, dtype=torch.bool),
            answer_probabilities=torch.zeros(len(lengths), num_answers, dtype=torch.float32, device=device),
            stop=canvas_length,
            rows=list(range(len(lengths))),
        )

    @property
    def valid(self) -> torch.Tensor:
        """`(B, stop)` bool, true where a canvas is."""
        return torch.arange(self.stop, device=self.canvas.device) < self.lengths.unsqueeze(-1)

    @property
    def masked(self) -> torch.Tensor:
        """`(B, L)` bool, true where a token is still to be committed."""
        in_answer = torch.arange(self.canvas.shape[1], device=self.canvas.device) < self.ends.unsqueeze(-1)
        return in_answer & (self.commit_steps < 0)

    def commit(self, decision: Decision, rows: Sequence[int] | None = None) -> None:
        """Write a step's decision into the canvas, in place.

        Args:
            decision: The decision.
            rows: The rows that it is about; all of them by default, and then nothing is read by the host.
        """
        chosen = slice(None) if rows is None else list(rows)
        for grid, values in (
            (self.canvas, decision.tokens),
            (self.commit_steps, self.steps_made[chosen].unsqueeze(-1)),
            (self.confidences, decision.confidence.float()),
            (self.end_probabilities, decision.end_probability.float()),
        ):
            grid[chosen] = torch.where(decision.transfer, values, grid[chosen])
        self.steps_made[chosen] += decision.transfer.any(-1).long()

    def end_answers(self, eos_token_ids: Sequence[int], rows: torch.Tensor | None = None) -> None:
        """Fill what stands after the first EOS of each row with EOS, in place, whatever was committed there.

        It is no part of the answer, and is not masked any more.

        Args:
            eos_token_ids: The tokens that end an answer; the first of them is what is filled in.
            rows: `(B,)` bool, the rows that this is done to; all by default.
        """
        places = torch.arange(self.canvas.shape[1], device=self.canvas.device)
        is_end = is_any_of(self.canvas, eos_token_ids) & (self.commit_steps >= 0)
        chosen = True if rows is None else rows.unsqueeze(-1)
        first = places.masked_fill(~(is_end & chosen), self.canvas.shape[1]).amin(-1)
        self.ends.copy_(torch.minimum(self.ends, first + 1))
        self._fill((places >= self.ends.unsqueeze(-1)) & ~is_end & chosen, eos_token_ids[0])

    def cut(self, lengths: Sequence[int], fill: int) -> None:
        """Shorten answers, in place.

        Args:
            lengths: How many tokens of each row stay.
            fill: The token after them.
        """
        places = torch.arange(self.canvas.shape[1], device=self.canvas.device)
        self._fill(places >= torch.tensor(lengths, device=self.canvas.device).unsqueeze(-1), fill)

    def _fill(self, behind: torch.Tensor, fill: int) -> None:
        self.canvas.masked_fill_(behind, fill)
        self.commit_steps.masked_fill_(behind, -1)
        self.confidences.masked_fill_(behind, 0)
        self.end_probabilities.masked_fill_(behind, 0)

    def finish_rows(self, eos_token_ids: Sequence[int]) -> None:
        """Find the rows that nothing is left to do for; they are not `active` any more.

        That is a row that is full, and one that has an EOS token with nothing masked before it: what would stand
        after it is no part of the answer, and becomes EOS without being denoised.

        Args:
            eos_token_ids: The tokens that end an answer.
        """
        committed = self.commit_steps >= 0
        in_front = committed.long().cumprod(-1).bool()
        ended = (is_any_of(self.canvas, eos_token_ids) & in_front).any(-1)
        full = in_front.sum(-1) >= self.lengths
        if eos_token_ids:
            rest = (self.active & ended & ~full).unsqueeze(-1) & ~committed
            self.canvas.masked_fill_(rest, eos_token_ids[0])
        self.active.logical_and_(~(ended | full))

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All that is in the state, in the order in which [`with_tensors`] takes it."""
        return [value for value in vars(self).values() if isinstance(value, torch.Tensor)]

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> DenoisingState:
        """Return a state of other tensors, such as copies of these on another device."""
        names = [name for name, value in vars(self).items() if isinstance(value, torch.Tensor)]
        values: Arguments = dict(zip(names, tensors, strict=True))
        return replace(self, **values)

    def take(self, rows: slice | torch.Tensor) -> DenoisingState:
        """Return some rows: a view of neighbors, or a copy of those that an index `(B',)` int64 names."""
        taken = self.with_tensors([value[rows] for value in self.tensors])
        taken.rows = list(range(len(taken.lengths)))
        return taken

    def copy_(self, other: DenoisingState, rows: torch.Tensor | None = None) -> None:
        """Become what another state is, in the same memory.

        Args:
            other: A state of the same shapes, but for the number of rows where `rows` are given.
            rows: `(B',)` int64, the row that each row of `other` becomes; by default each its own.
        """
        chosen = slice(None) if rows is None else rows
        for target, value in zip(self.tensors, other.tensors, strict=True):
            target[chosen] = value
