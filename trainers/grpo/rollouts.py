# SPDX-License-Identifier: Apache-2.0
"""Answers sampled from a model, as tensors to learn from and as records to reward.

Shapes: P prompts, G answers to each, N = P G rows, Q prompt length, L canvas length, n image tokens, d hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from geodit.configuration.types_geodit import Arguments
from geodit.data.schema import QuestionItem
from geodit.evaluation.answers import AnswerRecord, read_answer
from geodit.modeling_geodit.prompts_geodit import ImageFeatures
from geodit.processing.processing_geodit import GeoDiTProcessor


@dataclass(frozen=True)
class Rollouts:
    """Answers to prompts, row by row.

    Args:
        prompt_ids: `(N, Q)`, image placeholders included.
        prompt_mask: `(N, Q)` bool, false for padding.
        canvas_ids: `(N, L)`, the answers with the EOS after them.
        canvas_mask: `(N, L)` bool, true on the row's canvas, which may be shorter than L.
        decided: `(N, L)` bool, true for the tokens that make up the answer: up to its first EOS and that included.
        commit_steps: `(N, L)`, the denoising step in which each token was committed, counted from 0; -1 for none.
        image_index: `(N,)`, the image of each row.
        image_inputs: `pixel_values`, and `image_sizes` if the processor makes them, of the P images; or
            `image_features`, where the model's part that sees is not trained.
        answers: N records.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    canvas_ids: torch.Tensor
    canvas_mask: torch.Tensor
    decided: torch.Tensor
    commit_steps: torch.Tensor
    image_index: torch.Tensor
    image_inputs: Mapping[str, ImageFeatures]
    answers: tuple[AnswerRecord, ...]

    def __len__(self) -> int:
        return len(self.answers)

    def take(self, rows: torch.Tensor) -> Rollouts:
        """Return some of the rows; the images stay."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("image_inputs", "answers")}
        taken = {name: tensor[rows] for name, tensor in tensors.items()}
        return replace(self, **taken, answers=tuple(self.answers[row] for row in rows.tolist()))

    def images_of_rows(self, rows: torch.Tensor) -> dict[str, ImageFeatures]:
        """Return `image_inputs` with an entry for each of some rows, which may come several times."""
        index = self.image_index[rows]
        return {name: _repeat(value, index) for name, value in self.image_inputs.items()}


def sample_rollouts(
    model: Any,
    processor: GeoDiTProcessor,
    items: Sequence[QuestionItem],
    *,
    num_generations: int = 1,
    temperature: float = 0.0,
    max_denoising_steps: int | None = None,
    generators: Sequence[torch.Generator] | None = None,
    keep_features: bool = False,
) -> Rollouts:
    """Let a model answer questions about images.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`], possibly with adapters.
        processor: Its processor.
        items: P of `dict(image, image_id, question)`.
        num_generations: G.
        temperature: 0 is greedy.
        max_denoising_steps: N denoising steps at most; `None` takes the model's generation configuration.
        generators: N sources of random numbers, one for each answer; needed with a temperature.
        keep_features: Keep what the model sees in the images instead of the images.

    Raises:
        ValueError: when an item has several questions.
    """
    if any("question" not in item for item in items):
        raise ValueError("Answers are sampled to one question an item: set questions_per_row=1.")
    questions = [item["question"] for item in items]
    inputs = processor(
        images=[item["image"] for item in items],
        text=[question.query for question in questions],
        task=[question.task for question in questions],
        return_tensors="pt",
    ).to(model.device)
    image_index = torch.arange(len(items), device=model.device).repeat_interleave(num_generations)
    prompt_ids, prompt_mask = inputs.pop("input_ids")[image_index], inputs.pop("attention_mask")[image_index].bool()
    lengths = torch.tensor([processor.canvas_length(question.task) for question in questions], device=model.device)
    lengths = lengths[image_index]
    settings: Arguments = {"max_new_tokens": int(lengths.max()), "temperature": temperature}
    # The steps are replayed from what they committed: nothing may be overwritten.
    settings["fill_after_eos"] = False
    if max_denoising_steps is not None:
        settings["max_denoising_steps"] = max_denoising_steps

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            features: ImageFeatures = model.get_image_features(**inputs, return_dict=True).pooler_output
            output = model.generate(
                input_ids=prompt_ids,
                attention_mask=prompt_mask.long(),
                image_features=_repeat(features, image_index),
                canvas_lengths=lengths,
                generator=None if generators is None else list(generators),
                return_dict_in_generate=True,
                **settings,
            )
    finally:
        model.train(was_training)

    canvas_ids = output.sequences[:, prompt_ids.shape[1] :]
    canvas_mask = torch.arange(canvas_ids.shape[1], device=canvas_ids.device) < lengths[:, None]
    is_eos = canvas_ids == processor.tokenizer.eos_token_id
    rows = [items[index] for index in image_index.tolist()]
    written = zip(rows, processor.decode_canvas(canvas_ids), output.steps_made.tolist(), strict=True)
    return Rollouts(
        prompt_ids=prompt_ids,
        prompt_mask=prompt_mask,
        canvas_ids=canvas_ids,
        canvas_mask=canvas_mask,
        decided=canvas_mask & (is_eos.long().cumsum(-1) - is_eos.long() == 0),
        commit_steps=output.commit_steps,
        image_index=image_index,
        image_inputs={"image_features": features} if keep_features else dict(inputs),
        answers=tuple(read_answer(processor, item, text, steps) for item, text, steps in written),
    )


def _repeat(value: ImageFeatures, index: torch.Tensor) -> ImageFeatures:
    """Return entries of a tensor or a tuple, which may come several times."""
    return value[index] if isinstance(value, torch.Tensor) else tuple(value[i] for i in index.tolist())
