# SPDX-License-Identifier: Apache-2.0
"""Noise that does not depend on how an update is cut into micro-batches and processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from accelerate import Accelerator

from geodit.modeling_geodit.diffusion_geodit import number_canvases, positions_in_answers, sample_timesteps
from geodit.modeling_geodit.random_geodit import seeded_generator
from geodit.trainers.host_canvases import HostCanvases


@dataclass(frozen=True)
class AnswerNoise:
    """What [`forward_process`] needs to noise S answers with K tokens.

    Args:
        timesteps: `(S,)` in [0, 1).
        uniform: `(K,)` in [0, 1), one number for each canvas token in row-major order.
    """

    timesteps: torch.Tensor
    uniform: torch.Tensor


class UpdateNoise:
    """The noise of all answers of one update, of which every micro-batch takes its share in turn.

    What an answer gets depends on the seed, the step and the answer's place in the update, and on nothing else: one
    process with a batch of 8, two with 4 each and one that accumulates two batches of 4 mask the same tokens, and so
    does a run that was resumed. The place counts micro-batch by micro-batch and, within one, process by process, which
    is the order in which accelerate deals batches out.

    Args:
        seed: Seed of the run.
        step: Updates made before this one.
        counts: `(P, A)` integers, the answers in each of A micro-batches on each of P processes.
        process_index: Which of the P processes this is.
        stratified: As in [`sample_timesteps`], over all answers of the update.
    """

    def __init__(
        self, seed: int, step: int, counts: torch.Tensor, *, process_index: int = 0, stratified: bool = False
    ) -> None:
        self._generator = seeded_generator(seed, step)
        self._num_answers = int(counts.sum())
        # The places of this process's micro-batches: all processes' shares of the earlier ones come first.
        ends = counts.T.flatten().cumsum(0).view(counts.shape[1], counts.shape[0])[:, process_index]
        self._places = [
            slice(int(end - count), int(end)) for end, count in zip(ends, counts[process_index], strict=True)
        ]
        self._timesteps = sample_timesteps(self._num_answers, generator=self._generator, stratified=stratified)
        # One number for each answer and position, drawn position by position: how long the longest canvas elsewhere is
        # changes nothing.
        self._uniform: list[torch.Tensor] = []

    @classmethod
    def of_batches(
        cls,
        batches: Sequence[HostCanvases],
        accelerator: Accelerator,
        *,
        seed: int,
        step: int,
        stratified: bool = False,
    ) -> Self:
        """Return the noise of an update for this process's micro-batches; processes tell each other their counts."""
        answers = [number_canvases(batch.canvas_mask, batch.segment_ids)[1] for batch in batches]
        counts = torch.tensor([answers])
        if accelerator.num_processes > 1:
            counts = accelerator.gather(counts.to(accelerator.device)).cpu()
        return cls(seed, step, counts, process_index=accelerator.process_index, stratified=stratified)

    @property
    def num_left(self) -> int:
        """How many micro-batches of this process have not taken their share."""
        return len(self._places)

    def take(self, canvas_mask: torch.Tensor, segment_ids: torch.Tensor | None = None) -> AnswerNoise:
        """Return the share of this process's next micro-batch.

        Args:
            canvas_mask: `(B, L)` bool, true on the canvas.
            segment_ids: `(B, L)`, where rows hold several questions.

        Raises:
            ValueError: when the micro-batch has another number of answers than the one that was counted, or there was
                none.
        """
        numbering, num_answers = number_canvases(canvas_mask, segment_ids)
        place = self._places.pop(0) if self._places else slice(0, 0)
        if place.stop - place.start != num_answers:
            raise ValueError(
                f"This micro-batch has {num_answers} answers, but noise was prepared for {place.stop - place.start}: "
                "compute_loss() takes the batches of an update once each and in order."
            )
        answer = numbering[canvas_mask].cpu()
        if not num_answers:
            return AnswerNoise(self._timesteps[place], torch.empty(0))
        while len(self._uniform) < int(answer.bincount().amax()):
            self._uniform.append(torch.rand(self._num_answers, generator=self._generator))
        drawn = torch.stack(self._uniform)[:, place]
        return AnswerNoise(self._timesteps[place], drawn[positions_in_answers(answer), answer])
