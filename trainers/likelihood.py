# SPDX-License-Identifier: Apache-2.0
"""A bound on the negative log-likelihood of held-out answers, by many draws of t for each of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from accelerate import Accelerator
from torch import nn

from geodit.configuration.types_geodit import Batch
from geodit.data.schema import TASKS
from geodit.modeling_geodit.diffusion_geodit import (
    answer_losses,
    fixed_count_process,
    number_canvases,
    weighted_token_losses,
)
from geodit.trainers.host_canvases import HostCanvases
from geodit.trainers.item_records import TASK_IDS, model_inputs
from geodit.trainers.noise import AnswerNoise, UpdateNoise

_UNKNOWN_TASK = ""


@torch.no_grad()
def answer_nll(model: nn.Module, batch: Batch, mask_token_id: int, draws: Sequence[AnswerNoise]) -> torch.Tensor:
    """Estimate an upper bound on the negative log-likelihood of every answer of a batch.

    Args:
        model: The model, in evaluation mode.
        batch: A batch of [`GeoDiTDataCollator`].
        mask_token_id: The id of `[M]`.
        draws: K times noise for the batch. The timesteps of the k-th are moved to [k/K, (k+1)/K), so that those of an
            answer are spread evenly over [0, 1).

    Returns:
        `(S,)` float32, in nats a token of the canvas; the EOS after an answer are part of it, as in generation.
    """
    labels, canvases = batch["labels"], HostCanvases.of_batch(batch)
    canvas_mask = labels != -100
    total: torch.Tensor | float = 0.0
    for draw, noise in enumerate(draws):
        noised = fixed_count_process(
            canvases.input_ids,
            canvases.canvas_mask,
            mask_token_id,
            timesteps=(draw + noise.timesteps) / len(draws),
            uniform=noise.uniform,
            segment_ids=canvases.segment_ids,
        ).to(labels.device)
        inputs = model_inputs(batch) | {
            "input_ids": noised.input_ids,
            "canvas_mask": canvas_mask,
            "logits_to_keep": noised.targets,
        }
        total = total + answer_losses(weighted_token_losses(model(**inputs).logits, labels, noised), noised)
    return cast(torch.Tensor, total / len(draws))


def evaluate_nll(
    model: nn.Module,
    batches: Iterable[Batch],
    mask_token_id: int,
    *,
    num_draws: int,
    seed: int,
    accelerator: Accelerator,
) -> dict[str, float]:
    """Estimate the bound on a whole data set. Every process must call it.

    Args:
        model: The model, in evaluation mode.
        batches: A prepared data loader over batches of a [`ItemRecordCollator`].
        mask_token_id: The id of `[M]`.
        num_draws: K, draws of t for each answer.
        seed: Seed of the noise.
        accelerator: Gathers the answers of all processes, without those that only fill up the last batch.

    Returns:
        `nll`, the mean over all answers in nats a token, and `nll_<task>`, over those of a task. Each has its standard
        error, `..._stderr`, which holds both the choice of the answers and that of the noise; a mean over one answer
        has none. `nll_answers` is how many answers there are.
    """
    records: list[tuple[str, float]] = []
    for index, batch in enumerate(batches):
        canvases = HostCanvases.of_batch(batch)
        noise = UpdateNoise.of_batches([canvases] * num_draws, accelerator, seed=seed, step=index)
        draws = [noise.take(canvases.canvas_mask, canvases.segment_ids) for _ in range(num_draws)]
        values = answer_nll(model, batch, mask_token_id, draws).tolist()
        ids = batch[TASK_IDS].tolist() if TASK_IDS in batch else None
        tasks = [_UNKNOWN_TASK] * len(values) if ids is None else [TASKS[index] for index in ids]
        rows: list[list[tuple[str, float]]] = [[] for _ in range(len(batch["labels"]))]
        for row, task, value in zip(_rows_of_answers(batch), tasks, values, strict=True):
            rows[row].append((task, value))
        # By rows, since those are what the last batch is filled up with.
        gathered = accelerator.gather_for_metrics(rows, use_gather_object=True)
        records.extend(record for row in gathered for record in row)
    figures = _mean_and_error("nll", [value for _, value in records]) | {"nll_answers": len(records)}
    for task in TASKS:
        figures |= _mean_and_error(f"nll_{task}", [value for name, value in records if name == task])
    return figures


def _rows_of_answers(batch: Batch) -> list[int]:
    """Return the row that each answer of a batch is in, in the order of their numbers."""
    canvases = HostCanvases.of_batch(batch)
    answers, num_answers = number_canvases(canvases.canvas_mask, canvases.segment_ids)
    present = answers >= 0
    rows = torch.zeros(num_answers, dtype=torch.long, device=answers.device)
    rows[answers[present]] = present.nonzero()[:, 0]
    return [int(row) for row in rows.tolist()]


def _mean_and_error(name: str, values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return {name: mean}
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return {name: mean, f"{name}_stderr": math.sqrt(variance / len(values))}
