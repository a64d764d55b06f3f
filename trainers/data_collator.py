# SPDX-License-Identifier: Apache-2.0
"""From questions to training batches: prompt, canvas and labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from geodit.data.schema import Question
from geodit.processing.processing_geodit import GeoDiTProcessor


class GeoDiTDataCollator:
    """Turns questions into the batches that [`GeoDiTTrainer`] takes.

    A row of a batch is `[image][prompt][canvas][padding]`. The canvas is the answer followed by EOS up to the canvas
    length of the task; it is the part that the diffusion process masks and the loss is taken over. In training without
    images a text, the context, may stand in the image's place.

    A row may hold several questions about its image, `[image][prompt][canvas][prompt][canvas]...[padding]`, which see
    the image and nothing of each other. That is several times cheaper than a row for each of them, and exactly the
    same in `attention_mode="prefix"`; in `"full"` mode the model refuses it.

    Args:
        processor: Makes prompts and answers. Its chat template must put the image before everything else.
    """

    def __init__(self, processor: GeoDiTProcessor) -> None:
        self.processor = processor

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate a batch.

        Args:
            items: Each with `image` (PIL image, or None for text alone) and either `question` (a [`Question`]), as
                [`QuestionDataset`] yields them, or `questions` (several, about the same image). An item without an
                image may have a `context` (a text), and needs `image_size` if its answers have boxes.

        Returns:
            `input_ids`, `attention_mask` and `labels` `(B, L)` (labels are -100 outside the canvas); if there is an
            image, `pixel_values` and whatever else the processor makes of the images; if an item has several
            questions, `segment_ids` and `position_ids` `(B, L)` that keep them apart.
        """
        rows = [_Row() for _ in items]
        images = [item["image"] for item in items if item["image"] is not None]
        for row, item in zip(rows, items, strict=True):
            image = item["image"]
            if image is not None:
                num_image_tokens = self.processor.count_image_tokens((image.height, image.width))
                row.append_shared([self.processor.image_token_id] * num_image_tokens)
            elif item.get("context"):
                row.append_shared(self.processor.tokenizer(item["context"], add_special_tokens=False)["input_ids"])
        prompts = iter(self._prompts(items))
        for row, item in zip(rows, items, strict=True):
            for question in item_questions(item):
                row.append_question(next(prompts), self._canvas(question, item))

        pad = self.processor.tokenizer.pad_token_id
        batch = {
            "input_ids": _pad([row.input_ids for row in rows], pad),
            "attention_mask": _pad([[1] * len(row.input_ids) for row in rows], 0),
            "labels": _pad([row.labels for row in rows], -100),
        }
        if any("questions" in item for item in items):
            batch["segment_ids"] = _pad([row.segment_ids for row in rows], 0)
            batch["position_ids"] = _pad([row.position_ids for row in rows], 0)
        if images:
            batch.update(self.processor(images=images, return_tensors="pt"))
        return batch

    def _prompts(self, items: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """Token ids of the prompts of all questions, in order, without the image before them."""
        asked = [question for item in items for question in item_questions(item)]
        tasks, queries = [question.task for question in asked], [question.query for question in asked]
        prompts: list[list[int]] = self.processor(text=queries, task=tasks, padding=False)["input_ids"]
        return prompts

    def _canvas(self, question: Question, item: Mapping[str, Any]) -> list[int]:
        image = item["image"]
        answer = self.processor.format_answer(
            question.task,
            answer=question.answer,
            boxes=question.boxes,
            labels=question.labels,
            image_size=(image.height, image.width) if image is not None else item.get("image_size"),
        )
        return self.processor.encode_answer(answer, self.processor.canvas_length(question.task))


@dataclass
class _Row:
    """A row of a batch as it grows."""

    input_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    segment_ids: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)
    num_shared: int = 0
    num_questions: int = 0

    def append_shared(self, ids: list[int]) -> None:
        """What all questions of the row see."""
        self.num_shared = len(ids)
        self._append(ids, [-100] * len(ids), segment=0, start=0)

    def append_question(self, prompt: list[int], canvas: list[int]) -> None:
        self.num_questions += 1
        labels = [-100] * len(prompt) + canvas
        self._append(prompt + canvas, labels, segment=self.num_questions, start=self.num_shared)

    def _append(self, ids: list[int], labels: list[int], segment: int, start: int) -> None:
        self.input_ids += ids
        self.labels += labels
        self.segment_ids += [segment] * len(ids)
        self.position_ids += range(start, start + len(ids))


def item_questions(item: Mapping[str, Any]) -> Sequence[Question]:
    """The questions of an item that [`GeoDiTDataCollator`] takes, one or several."""
    return item["questions"] if "questions" in item else [item["question"]]


def _pad(rows: list[list[int]], value: int) -> torch.Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
