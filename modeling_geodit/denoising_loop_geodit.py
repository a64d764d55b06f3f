# SPDX-License-Identifier: Apache-2.0
"""The eager denoising loop: the network runs on the rows that are not finished.

It is made of four objects: a [`CanvasPredictor`] turns the canvas into logits (it alone knows the network),
[`StepRules`] decide what to commit, a [`DenoisingState`] holds what has been committed so far, and [`Block`]s are the
parts of the canvas that are denoised one after the other.

Shapes: B batch, L canvas length, N denoising steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from geodit.modeling_geodit.decoding_geodit import Block
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.predictors_geodit import CanvasPredictor
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.step_rules_geodit import StepRules

__all__ = ["denoise"]


def denoise(
    predictor: CanvasPredictor,
    rules: StepRules,
    state: DenoisingState,
    blocks: Iterable[Block],
    random: RowStreams | None = None,
    *,
    initial_length: int | None = None,
) -> Iterator[DenoisingState]:
    """Denoise a canvas in place, one step at a time.

    Every step runs the network once, on the rows that are not finished, and commits at least one token of each of
    them that has any masked in the block. A block that is full ends before its steps are used up.

    Args:
        predictor: Gives the logits.
        rules: Decide what to commit.
        state: The canvas to denoise. If it has alternatives, each step notes those of the positions that it predicts.
        blocks: Blocks in the order in which they are denoised.
        random: Random numbers, for policies that draw.
        initial_length: The canvas starts with so many positions and ends from there on with the block that is being
            denoised; `None` for a canvas that is there as a whole.

    Yields:
        The same state, after each step.
    """
    for block in blocks:
        if initial_length is not None:
            state.stop = max(block.stop, initial_length)
        begins_block = True
        for steps_left in range(block.steps, 0, -1):
            masked, canvas = state.masked[state.rows], state.canvas[state.rows]
            wanted = torch.zeros_like(masked)
            wanted[:, block.start : block.stop] = masked[:, block.start : block.stop]
            if not wanted.any():
                break
            logits = predictor(
                canvas[:, : state.stop],
                state.valid[state.rows],
                wanted[:, : state.stop],
                begins_block=begins_block,
            )
            begins_block = False
            if state.step == 0:
                probabilities = rules.answer_probabilities(logits, canvas, masked, wanted)
                if probabilities is not None:
                    state.answer_probabilities.copy_(probabilities)
            if state.alternatives is not None:
                count = state.alternatives.tokens.shape[-1]
                state.alternatives.note(*rules.policy.most_probable(logits, count), wanted, state.rows)
            numbers = None if random is None else random.at(state.steps_made[state.rows])
            state.commit(rules.decide(logits, canvas, masked, wanted, steps_left, numbers), state.rows)
            state.step += 1
            if rules.ends_answers:
                state.end_answers(rules.eos_token_ids)
            state.finish_rows(rules.eos_token_ids)
            active = state.active.tolist()
            going_on = [index for index, row in enumerate(state.rows) if active[row]]
            if going_on and len(going_on) < len(state.rows):
                predictor.keep_rows(going_on)
                random = None if random is None else random.take(going_on)
            state.rows = [state.rows[index] for index in going_on]
            yield state
            if not going_on:
                return
