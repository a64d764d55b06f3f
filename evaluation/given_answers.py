# SPDX-License-Identifier: Apache-2.0
"""Answers that another program wrote to the questions of a data set.

JSON lines, one for each question, with `image_id`, `task`, `query` where the task takes one, and either `text`, in
which boxes are read as a notation has them, or `boxes` (`[x1, y1, x2, y2]` in pixels of the original image) with
`labels` and `scores` if there are any. A question without a line was not answered, and counts as wrong.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import datasets

from geodit.configuration.text_files import check_regular_file, parse_json_object
from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import (
    TASKS,
    Box,
    Question,
    check_columns,
    check_tasks,
    decode_stored_image,
    read_boxes,
    row_questions,
)
from geodit.evaluation.answers import AnswerRecord
from geodit.processing.boxes_geodit import BoxCodec

__all__ = ["read_given_answers"]

_FIELDS = frozenset({"image_id", "task", "query", "text", "boxes", "labels", "scores"})
_BOX_TASKS = ("ground", "detect")
_MAX_LINE = 2**22

_Key = tuple[str, str, str]


def read_given_answers(
    path: str | Path,
    dataset: datasets.Dataset,
    *,
    tasks: Sequence[str] | None = None,
    codec: BoxCodec | None = None,
    ignored_images: Collection[str] = (),
) -> list[AnswerRecord]:
    """Read answers, and put them beside the questions that they answer.

    Args:
        path: The file.
        dataset: A data set as [`geodit.data.schema`] describes it.
        tasks: The questions that count; by default those of all tasks.
        codec: The notation of boxes in texts; needed where an answer to a question about boxes is a text.
        ignored_images: Images that are not asked about, as those beyond a limit: lines about them are passed over.

    Returns:
        One record for each question, in the order of the data set. Several questions of one image with the same task
        and query are answered by as many lines, in their order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line cannot be read, answers no question, or answers one again, or a score is not from 0 to 1;
            the message names it.
    """
    check_columns(dataset.column_names)
    check_tasks(tasks)
    waiting: defaultdict[_Key, list[int]] = defaultdict(list)
    asked = list(_asked(dataset, tasks))
    for number, (image_id, question, _) in enumerate(asked):
        waiting[image_id, question.task, question.query].append(number)
    ignored = {*ignored_images} - {image_id for image_id, _, _ in asked}
    found: dict[int, AnswerRecord] = {}
    for where, line in _lines(Path(path)):
        key = (str(line.get("image_id")), str(line.get("task")), str(line.get("query", "")))
        if key[0] in ignored or (tasks is not None and key[1] in TASKS and key[1] not in tasks):
            continue
        if not waiting[key]:
            raise ValueError(
                f"{where}: there is no question {key[1]} {key[2]!r} about image {key[0]!r} left to answer"
            )
        number = waiting[key].pop(0)
        image_id, question, size = asked[number]
        try:
            found[number] = _record(line, image_id, question, size, codec)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from error
    if not found:
        raise ValueError(f"{path} has no answer to a question of the data set")
    return [
        found.get(number) or AnswerRecord(image_id, size, question, "", (), (), False, 0)
        for number, (image_id, question, size) in enumerate(asked)
    ]


def _asked(dataset: datasets.Dataset, tasks: Sequence[str] | None) -> Iterator[tuple[str, Question, tuple[int, int]]]:
    """Yield image id, question and (height, width) of the image of each question."""
    if isinstance(dataset.features["image"], datasets.Image):
        dataset = dataset.cast_column("image", datasets.Image(decode=False))
    for row in dataset:
        width, height = decode_stored_image(row["image"]).size
        for question in row_questions(row):
            if tasks is None or question.task in tasks:
                yield row["image_id"], question, (height, width)


def _lines(path: Path) -> Iterator[tuple[str, JsonObject]]:
    try:
        check_regular_file(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}: give one with an answer in each line") from error
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE + 1), b""), 1):
            where = f"{path}, line {number}"
            if len(line) > _MAX_LINE:
                raise ValueError(f"{where} is longer than {_MAX_LINE:,} bytes")
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(f"{where} is not UTF-8: {error.reason}") from error
            if text.strip():
                values = parse_json_object(text, where, allow_nan=False)
                if unknown := sorted(set(values) - _FIELDS):
                    known = ", ".join(sorted(_FIELDS))
                    raise ValueError(f"{where} has unknown fields {', '.join(unknown)}; known are {known}")
                yield where, values


def _record(
    line: JsonObject, image_id: str, question: Question, image_size: tuple[int, int], codec: BoxCodec | None
) -> AnswerRecord:
    text = line.get("text", "")
    if not isinstance(text, str):
        raise ValueError(f"text must be a string, got {type(text).__name__}")
    if "boxes" not in line and "text" not in line:
        raise ValueError("it has neither text nor boxes")
    if question.task not in _BOX_TASKS:
        return AnswerRecord(image_id, image_size, question, text.strip(), (), (), bool(text.strip()), 0)
    if "boxes" in line:
        boxes = _boxes(line["boxes"])
        labels = line.get("labels") or [question.query] * len(boxes)
        scores = [float(score) for score in line.get("scores") or ()]
        if len(labels) != len(boxes) or (scores and len(scores) != len(boxes)):
            raise ValueError(f"{len(boxes)} boxes need as many labels, and scores if there are any")
        if not all(0 <= score <= 1 for score in scores):
            raise ValueError("scores must be numbers from 0 to 1")
        names = tuple(str(label) for label in labels)
        return AnswerRecord(image_id, image_size, question, text.strip(), boxes, names, True, 0, scores=tuple(scores))
    if codec is None:
        raise ValueError("boxes in a text need to be said how they are written: give the box format")
    parse = codec.decode(text, image_size)
    return AnswerRecord(
        image_id,
        image_size,
        question,
        text.strip(),
        read_boxes(parse.boxes),
        tuple(question.query if label is None else label for label in parse.labels),
        parse.parsed,
        0,
        corners=tuple(parse.corners) if any(parse.corners) else (),
    )


def _boxes(values: object) -> tuple[Box, ...]:
    if not isinstance(values, list) or not all(isinstance(box, list) and len(box) == 4 for box in values):
        raise ValueError("boxes must be a list of [x1, y1, x2, y2]")
    boxes = read_boxes(values)
    for box in boxes:
        if not all(math.isfinite(value) for value in box) or box[0] > box[2] or box[1] > box[3]:
            raise ValueError(f"the box {list(box)} is not (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2")
    return boxes
