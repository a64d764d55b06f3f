# SPDX-License-Identifier: Apache-2.0
"""The answers that are furthest from the truth, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import datasets
from PIL import Image

from geodit.data.schema import StoredImage, decode_stored_image, row_questions
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.scoring import score_answers
from geodit.pipelines.visualization import contact_sheet, draw_answer

__all__ = ["draw_mistakes", "worst_answers"]

# What tells a worse answer from a better one where there is only one answer: CIDEr needs many.
_FIGURES = {"caption": "bleu4", "ground": "mean_iou", "detect": "f1", "vqa": "accuracy", "classify": "accuracy"}
_COLUMNS = 4


def worst_answers(answers: Sequence[AnswerRecord], number: int) -> list[AnswerRecord]:
    """Return the worst answers, of each task in turn, the worst first; those that are right are none of them.

    Args:
        answers: Answers to questions of any tasks.
        number: How many at most.
    """
    by_task: dict[str, list[tuple[float, int, AnswerRecord]]] = {}
    for place, answer in enumerate(answers):
        task = answer.question.task
        value = float(score_answers([answer])[task][_FIGURES[task]])
        if value < 1.0:
            # Of detections that are all wrong, those are worse that miss or invent more.
            boxes = len(answer.boxes) + len(answer.question.boxes)
            by_task.setdefault(task, []).append((value - boxes * 1e-6, place, answer))
    ranked = [sorted(some, key=lambda one: one[:2]) for some in by_task.values()]
    found: list[AnswerRecord] = []
    for rank in range(max(map(len, ranked), default=0)):
        found.extend(some[rank][2] for some in ranked if rank < len(some))
    return found[:number]


def draw_mistakes(answers: Sequence[AnswerRecord], rows: datasets.Dataset) -> Image.Image:
    """Draw answers beside the truth, on a sheet.

    Args:
        answers: At least one.
        rows: The data set with their images.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(rows["image_id"]):
        places.setdefault(name, []).append(place)
    asked = rows.select_columns(["questions"])
    stored = rows.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
    pictures = []
    for answer in answers:
        # Images of several data sets may have the same name.
        named = places[answer.image_id]
        place = next((one for one in named if answer.question in row_questions(asked[one])), named[0])
        image = decode_stored_image(cast(StoredImage, stored[place]["image"]))
        said = {
            "text": answer.text,
            "boxes": [list(box) for box in answer.boxes],
            "labels": list(answer.labels),
            "corners": list(answer.corners),
        }
        pictures.append(draw_answer(image, answer.question, said))
    return contact_sheet(pictures, _COLUMNS)
