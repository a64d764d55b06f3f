# SPDX-License-Identifier: Apache-2.0
"""Sheets of pictures: answers of boxes that are right, that have a wrong box, and that missed an object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import datasets
from PIL import Image

from geodit.data.drawing import BLUE, GREEN, RED, captioned, contact_sheet, draw_boxes
from geodit.data.schema import StoredImage, decode_stored_image
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.report.box_outcomes import BoxOutcome, judge_answer
from geodit.processing.turned_boxes_geodit import Corners

__all__ = ["SHEETS", "draw_sheets"]

SHEETS = {
    "right": "every box is right, and every object is found",
    "wrong": "at least one box is wrong",
    "missed": "no box is wrong, but an object is missed",
}
"""The sheets by name, with what is on them."""

_TASKS = ("ground", "detect")
_COLORS = {"right": GREEN, "wrong": RED, "missed": BLUE}
_COLUMNS = 4


def draw_sheets(
    answers: Sequence[AnswerRecord], rows: datasets.Dataset, number: int = 12
) -> dict[tuple[str, str], Image.Image]:
    """Draw answers of boxes, some of each outcome, from all over the data set.

    Boxes that are right are green, boxes that are wrong are red, and true boxes that were missed are blue.

    Args:
        answers: Answers of one run.
        rows: The data set, as [`geodit.data.schema`] describes it.
        number: Pictures on a sheet, at most.

    Returns:
        The sheets that have a picture, by task and name.
    """
    by_sheet: dict[tuple[str, str], list[tuple[AnswerRecord, BoxOutcome]]] = {
        (task, name): [] for task in _TASKS for name in SHEETS
    }
    for answer in answers:
        if answer.question.task in _TASKS:
            outcome = judge_answer(answer)
            # Where there is nothing to see and nothing was seen, a picture shows nothing.
            if outcome.right or outcome.found:
                by_sheet[answer.question.task, outcome.name].append((answer, outcome))
    places = {name: place for place, name in enumerate(rows["image_id"])}
    stored = rows.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))

    def picture(answer: AnswerRecord, outcome: BoxOutcome) -> Image.Image:
        image = decode_stored_image(cast(StoredImage, stored[places[answer.image_id]]["image"]))
        return _draw(image, answer, outcome)

    return {
        key: contact_sheet([picture(*one) for one in _spread(some, number)], _COLUMNS)
        for key, some in by_sheet.items()
        if some
    }


def _spread(some: Sequence[tuple[AnswerRecord, BoxOutcome]], number: int) -> list[tuple[AnswerRecord, BoxOutcome]]:
    """Return so many elements at most, at even distances."""
    count = min(number, len(some))
    return [some[index * len(some) // count] for index in range(count)]


def _draw(image: Image.Image, answer: AnswerRecord, outcome: BoxOutcome) -> Image.Image:
    question = answer.question
    missed = [index for index, found in enumerate(outcome.found) if not found]
    given = len(outcome.right)
    labels = ["right" if right else "wrong" for right in outcome.right] + ["missed"] * len(missed)
    picture = draw_boxes(
        image,
        [*answer.boxes[:given], *(question.boxes[index] for index in missed)],
        labels,
        corners=[*_corners(answer.corners, range(given)), *_corners(question.corners, missed)],
        colors=_COLORS,
    )
    counts = ", ".join(f"{labels.count(name)} {name}" for name in _COLORS if name in labels)
    note = counts if answer.parsed else f"{counts}; the answer did not parse"
    return captioned(picture, (f"{answer.image_id}: {question.task} {question.query}".strip(), note))


def _corners(corners: Sequence[Corners | None], indices: Sequence[int]) -> list[Corners | None]:
    return [corners[index] if corners else None for index in indices]
