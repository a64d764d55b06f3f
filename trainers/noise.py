# SPDX-License-Identifier: Apache-2.0
"""The noise of an update: a function of the seed and the update's number, however the batch is cut.

It is drawn once for the whole update, and every process takes the part of its own rows. So neither gradient
accumulation nor the number of processes changes what is hidden, stratified timesteps are spread over all answers of
the update, and a run that is resumed goes on with the noise that it would have had.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geodit.modeling_geodit.diffusion_geodit import number_canvases, sample_timesteps


@dataclass(frozen=True)
class BatchSize:
    """How much noise a micro-batch needs.

    Args:
        num_answers: S.
        num_positions: N, the positions of their canvases.
    """

    num_answers: int = 0
    num_positions: int = 0

    @classmethod
    def of(cls, batch: Mapping[str, torch.Tensor]) -> "BatchSize":
        """Count the answers and canvas positions of a batch of [`GeoDiTDataCollator`]."""
        answers, num_answers = number_canvases(batch["labels"] != -100, batch.get("segment_ids"))
        return cls(num_answers, int((answers >= 0).sum()))


@dataclass(frozen=True)
class BatchNoise:
    """What [`forward_process`] needs of random numbers for one micro-batch.

    Args:
        timesteps: `(S,)` in [0, 1), one for each answer.
        uniform: `(N,)` in [0, 1), one for each canvas position.
    """

    timesteps: torch.Tensor
    uniform: torch.Tensor


def step_generator(seed: int, step: int) -> torch.Generator:
    """The source of the noise of one update."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def draw_noise(
    sizes: Sequence[Sequence[BatchSize]], process: int, *, generator: torch.Generator, stratified: bool = False
) -> list[BatchNoise]:
    """Draw the noise of an update and return what belongs to one process.

    Args:
        sizes: For each process the sizes of its micro-batches, as many for each. The first micro-batches of all
            processes come first in the update, then the second ones: as one process would have cut it.
        process: Index of the process.
        generator: A CPU generator in the same state on every process.
        stratified: See [`sample_timesteps`].

    Returns:
        One entry for each micro-batch of the process.
    """
    order = [(rank, batch) for batch in range(len(sizes[0])) for rank in range(len(sizes))]
    answers = [sizes[rank][batch].num_answers for rank, batch in order]
    positions = [sizes[rank][batch].num_positions for rank, batch in order]
    timesteps = sample_timesteps(sum(answers), generator=generator, stratified=stratified).split(answers)
    uniform = torch.rand(sum(positions), generator=generator).split(positions)
    parts = zip(order, timesteps, uniform, strict=True)
    return [BatchNoise(*noise) for (rank, _), *noise in parts if rank == process]
