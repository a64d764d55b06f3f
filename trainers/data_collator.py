# SPDX-License-Identifier: Apache-2.0
"""From questions to training batches: prompt, canvas and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from geodit.data.schema import Question
from geodit.processing.processing_geodit import GeoDiTProcessor


class GeoDiTDataCollator:
    """Turns questions into the batches that [`GeoDiTTrainer`] takes.

    A row of a batch is `[padding][image][prompt][canvas][padding]`. The canvas is the answer followed by EOS up to
    the canvas length of the task; it is the part that the diffusion process masks and the loss is taken over.

    Args:
        processor: Makes prompts and answers.
    """

    def __init__(self, processor: GeoDiTProcessor) -> None:
        self.processor = processor

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate a batch.

        Args:
            items: Each with `question` (a [`Question`]) and `image` (PIL image, or None for text alone), as
                [`QuestionDataset`] yields them. An item may carry its own `prompt` (a text) in place of its task's.

        Returns:
            `input_ids`, `attention_mask` and `labels` `(B, L)` (labels are -100 outside the canvas) and, if there is
            an image, `pixel_values` `(images, 3, H, W)`.
        """
        images = [[] if item["image"] is None else [item["image"]] for item in items]
        tasks, queries = zip(*(_prompt(item) for item in items), strict=True)
        inputs = self.processor(
            images=images if any(images) else None,
            text=list(queries),
            task=list(tasks),
            return_tensors="pt",
        )
        canvases = [self._canvas(item) for item in items]
        longest = max(len(canvas) for canvas in canvases)
        canvas_ids = torch.full((len(items), longest), self.processor.tokenizer.pad_token_id)
        canvas_mask = torch.zeros((len(items), longest), dtype=torch.long)
        for row, canvas in enumerate(canvases):
            canvas_ids[row, : len(canvas)] = torch.tensor(canvas)
            canvas_mask[row, : len(canvas)] = 1

        batch = {
            "input_ids": torch.cat([inputs["input_ids"], canvas_ids], dim=1),
            "attention_mask": torch.cat([inputs["attention_mask"], canvas_mask], dim=1),
            "labels": torch.cat(
                [torch.full_like(inputs["input_ids"], -100), canvas_ids.masked_fill(canvas_mask == 0, -100)], dim=1
            ),
        }
        if "pixel_values" in inputs:
            batch["pixel_values"] = inputs["pixel_values"]
        return batch

    def _canvas(self, item: Mapping[str, Any]) -> list[int]:
        question: Question = item["question"]
        image = item["image"]
        answer = self.processor.format_answer(
            question.task,
            answer=question.answer,
            boxes=question.boxes,
            labels=question.labels,
            image_size=(image.height, image.width) if image is not None else item.get("image_size"),
        )
        return self.processor.encode_answer(answer, self.processor.canvas_length(question.task))


def _prompt(item: Mapping[str, Any]) -> tuple[str, str]:
    """The task and query that the processor makes the prompt of an item from."""
    prompt = item.get("prompt")
    if prompt is not None:
        return "vqa", prompt  # the task whose prompt is the query itself
    question: Question = item["question"]
    return question.task, question.query
