# SPDX-License-Identifier: Apache-2.0
"""Canvases that are long enough for the answers of a data set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import datasets

from geodit.data.schema import decode_stored_image, row_questions
from geodit.processing.boxes_geodit import LocationTokenBoxCodec
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.tasks_geodit import resolve_task

__all__ = ["check_canvas_lengths", "longest_answers", "set_canvas_lengths"]

_ROWS_AT_ONCE = 1024


def set_canvas_lengths(processor: GeoDiTProcessor, lengths: Mapping[str, int]) -> None:
    """Give tasks of a processor other canvases, as it is saved with the model.

    Raises:
        ValueError: If a task is unknown, or a length is below 1.
    """
    for name, length in lengths.items():
        processor.tasks[name] = replace(resolve_task(processor.tasks, name), max_new_tokens=length)


def longest_answers(rows: datasets.Dataset, processor: GeoDiTProcessor) -> dict[str, int]:
    """Return the tokens of the longest answer of each task.

    Args:
        rows: A data set as [`geodit.data.schema`] describes it.
        processor: The model's processor.
    """
    longest: dict[str, int] = {}
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        texts: dict[str, set[str]] = {}
        for task, text in _answers(rows.select(range(start, min(start + _ROWS_AT_ONCE, len(rows)))), processor):
            texts.setdefault(task, set()).add(text)
        for task, some in texts.items():
            ids = processor.tokenizer(sorted(some), add_special_tokens=False)["input_ids"]
            longest[task] = max(longest.get(task, 0), *map(len, ids))
    return longest


def check_canvas_lengths(rows: Iterable[datasets.Dataset], processor: GeoDiTProcessor) -> None:
    """Refuse data with answers that no canvas holds, which training would cut short.

    Raises:
        ValueError: If there are any.
    """
    needed: dict[str, int] = {}
    for part in rows:
        for task, length in longest_answers(part, processor).items():
            if length > max(needed.get(task, 0), processor.canvas_length(task)):
                needed[task] = length
    if needed:
        tasks = " ".join(f"{task}={length}" for task, length in sorted(needed.items()))
        raise ValueError(
            "Answers do not fit their canvases and would be cut short. Give these tasks longer ones, by "
            f"canvas_lengths with at least {tasks}, or import with --max-objects, which cuts crowded images smaller."
        )


def _answers(rows: datasets.Dataset, processor: GeoDiTProcessor) -> Iterator[tuple[str, str]]:
    """Yield the task and the answer of every question."""
    needs_sizes = not isinstance(processor.box_codec, LocationTokenBoxCodec)
    columns = ["image", "questions"] if needs_sizes else ["questions"]
    rows = rows.select_columns(columns)
    if needs_sizes and isinstance(rows.features["image"], datasets.Image):
        rows = rows.cast_column("image", datasets.Image(decode=False))
    for row in rows:
        questions = row_questions(row)
        boxes = [box for question in questions for box in question.boxes]
        if boxes and needs_sizes:
            width, height = decode_stored_image(row["image"]).size
        else:
            # A location token is one token, whatever it stands for.
            width, height = (max([1, *(math.ceil(box[place]) for box in boxes)]) for place in (2, 3))
        for question in questions:
            yield (
                question.task,
                processor.format_answer(
                    question.task,
                    answer=question.answer,
                    boxes=question.boxes,
                    labels=question.labels,
                    image_size=(height, width),
                ),
            )
