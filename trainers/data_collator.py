# SPDX-License-Identifier: Apache-2.0
"""From questions to training batches: prompt, canvas and labels."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from geodit.configuration.types_geodit import Item
from geodit.data.schema import Question
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.conversations import is_conversation, read_conversation


class GeoDiTDataCollator:
    """Turns questions and conversations into the batches that [`GeoDiTTrainer`] takes.

    A row of a batch is `[image][prompt][canvas][padding]`. The canvas is the answer followed by EOS up to the canvas
    length of the task; it is the part that the diffusion process masks and the loss is taken over. In training without
    images a text, the context, may stand in the image's place.

    A row may hold several questions about its image, `[image][prompt][canvas][prompt][canvas]...[padding]`, which see
    the image and nothing of each other. That is several times cheaper than a row for each of them, and exactly the
    same in `attention_mode="prefix"`; in `"full"` mode the model refuses it.

    A conversation has its images first, all turns before the last as the prompt, and the assistant's last turn on a
    canvas of `max_new_tokens`, whatever its length: ask with the same.

    Args:
        processor: Makes prompts and answers. Its chat template must put the image before everything else.
        max_new_tokens: Canvas length of conversations in tokens; by default that of `generate()`. An answer that is
            longer is an error.
    """

    def __init__(self, processor: GeoDiTProcessor, max_new_tokens: int = 32) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
        self.processor = processor
        self.max_new_tokens = max_new_tokens

    def __call__(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Collate a batch.

        Args:
            items: Each with `image` (PIL image, or None for text alone) and either `question` (a [`Question`]), as
                [`QuestionDataset`] yields them, or `questions` (several, about the same image). An item without an
                image may have a `context` (a text), and needs `image_size` if its answers have boxes. Or all of them
                conversations, see [`read_conversation`].

        Returns:
            `input_ids`, `attention_mask` and `labels` `(B, L)` (labels are -100 outside the canvas); if there is an
            image, `pixel_values` and whatever else the processor makes of the images; if an item has several
            questions, `segment_ids` and `position_ids` `(B, L)` that keep them apart.

        Raises:
            ValueError: If an item is neither, is a conversation that cannot be read, or its answer does not fit.
        """
        conversations = [isinstance(item, Mapping) and is_conversation(item) for item in items]
        if any(conversations):
            if not all(conversations):
                raise ValueError("A batch holds either questions or conversations: train on one kind of data set.")
            return self._collate_conversations(items)
        for place, item in enumerate(items):
            _check_item(item, place)
        rows = [_Row() for _ in items]
        images = [item["image"] for item in items if item["image"] is not None]
        for row, item in zip(rows, items, strict=True):
            image = item["image"]
            if image is not None:
                num_image_tokens = self.processor.count_image_tokens((image.height, image.width))
                row.append_shared([self.processor.image_token_id] * num_image_tokens)
            elif item.get("context"):
                row.append_shared(self.processor.tokenizer(item["context"], add_special_tokens=False)["input_ids"])
        prompts, encode = iter(self._prompts(items)), functools.cache(self.processor.encode_answer)
        for row, item in zip(rows, items, strict=True):
            for question in item_questions(item):
                length = self.processor.canvas_length(question.task)
                row.append_question(next(prompts), encode(self._answer(question, item), length))

        batch = self._pad_rows(rows)
        if any("questions" in item for item in items):
            batch["segment_ids"] = _pad([row.segment_ids for row in rows], 0)
            batch["position_ids"] = _pad([row.position_ids for row in rows], 0)
        if images:
            batch.update(self.processor(images=images, return_tensors="pt"))
        return batch

    def _pad_rows(self, rows: Sequence[_Row]) -> dict[str, torch.Tensor]:
        return {
            "input_ids": _pad([row.input_ids for row in rows], self.processor.tokenizer.pad_token_id),
            "attention_mask": _pad([[1] * len(row.input_ids) for row in rows], 0),
            "labels": _pad([row.labels for row in rows], -100),
        }

    def _collate_conversations(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        rows, conversations, canvases = [_Row() for _ in items], [], []
        for place, item in enumerate(items):
            try:
                conversations.append(read_conversation(item, self.processor))
                canvases.append(self._conversation_canvas(conversations[-1].answer))
            except ValueError as error:
                raise ValueError(f"{_item_name(item, place)} cannot be trained on: {error}.") from error
        images = [list(conversation.images) for conversation in conversations]
        inputs = self.processor(
            images=images if any(images) else None,
            text=[conversation.prompt for conversation in conversations],
            padding_side="right",
            return_tensors="pt",
        )
        padded, lengths = inputs.pop("input_ids"), inputs.pop("attention_mask").sum(-1)
        for row, ids, length, canvas in zip(rows, padded.tolist(), lengths.tolist(), canvases, strict=True):
            row.append_question(ids[:length], canvas)
        return {**self._pad_rows(rows), **inputs}

    def _conversation_canvas(self, answer: str) -> list[int]:
        num_tokens = len(self.processor.tokenizer(answer, add_special_tokens=False)["input_ids"])
        if num_tokens > self.max_new_tokens:
            raise ValueError(
                f"its answer {answer[:60]!r} has {num_tokens} tokens, more than the canvas of "
                f"max_new_tokens={self.max_new_tokens}; shorten it, or give "
                f"data_collator=GeoDiTDataCollator(processor, max_new_tokens=...)"
            )
        return self.processor.encode_answer(answer, self.max_new_tokens)

    def _prompts(self, items: Sequence[Item]) -> list[list[int]]:
        """Return token ids of the prompts of all questions, in order, without the image before them."""
        asked = [(question.task, question.query) for item in items for question in item_questions(item)]
        # The questions of a batch are much alike, and to render a template takes longer than to find a prompt again.
        distinct = list(dict.fromkeys(asked))
        tasks, queries = [task for task, _ in distinct], [query for _, query in distinct]
        prompts = self.processor(text=queries, task=tasks, padding=False)["input_ids"]
        found: dict[tuple[str, str], list[int]] = dict(zip(distinct, prompts, strict=True))
        return [found[question] for question in asked]

    def _answer(self, question: Question, item: Item) -> str:
        image = item["image"]
        return self.processor.format_answer(
            question.task,
            answer=question.answer,
            boxes=question.boxes,
            labels=question.labels,
            corners=question.corners,
            image_size=(image.height, image.width) if image is not None else item.get("image_size"),
        )


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
        """Append what all questions of the row see."""
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


def item_questions(item: Item) -> Sequence[Question]:
    """Return the questions of an item that [`GeoDiTDataCollator`] takes, one or several."""
    return item["questions"] if "questions" in item else [item["question"]]


def _check_item(item: object, place: int) -> None:
    """Refuse an item that is neither questions about an image nor a conversation, in one sentence.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(item, Mapping) and "image" in item and ("question" in item or "questions" in item):
        if all(isinstance(question, Question) for question in item_questions(item)):
            return
        raise ValueError(
            f"The questions of {_item_name(item, place)} are no `Question`: wrap a data set with the columns of "
            "geodit.data.schema in QuestionDataset, or give rows with `messages` and `images`."
        )
    found = ", ".join(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
    raise ValueError(
        f"An item needs `image` (None for text alone) with `question` or `questions`, or `messages`, or `prompt` and "
        f"`completion`; {_item_name(item, place)} has {found or 'nothing, as with remove_unused_columns=True'}."
    )


def _item_name(item: object, place: int) -> str:
    """Name an item by what it is called in its data set, or by its place in the batch, which is counted from 0."""
    names = [item[key] for key in ("image_id", "id") if key in item] if isinstance(item, Mapping) else []
    return f"item {names[0]}" if names else f"item {place} of the batch"


def _pad(rows: list[list[int]], value: int) -> torch.Tensor:
    """Pad rows with a value up to the longest, `(B, L)` int64."""
    padded = np.full((len(rows), max(map(len, rows), default=0)), value, dtype=np.int64)
    for padded_row, row in zip(padded, rows, strict=True):
        padded_row[: len(row)] = row
    return torch.from_numpy(padded)
