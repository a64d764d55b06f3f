# SPDX-License-Identifier: Apache-2.0
"""Boxes of answers as protocols take them."""

from __future__ import annotations

from collections.abc import Sequence

from geodit.data.schema import Box
from geodit.evaluation.answers import AnswerRecord
from geodit.processing.polygons import box_corners
from geodit.processing.turned_boxes_geodit import Corners

__all__ = ["first_box", "outlines", "true_box", "true_outlines"]


def first_box(answer: AnswerRecord) -> Box | None:
    """Return the first box of an answer in pixels, whether or not the answer parsed; `None` if it has no box."""
    return answer.boxes[0] if answer.boxes else None


def true_box(answer: AnswerRecord) -> Box:
    """Return the true box of a grounding question, in pixels.

    Raises:
        ValueError: If the question has not exactly one.
    """
    boxes = answer.question.boxes
    if len(boxes) != 1:
        raise ValueError(
            f"image {answer.image_id!r}: grounding {answer.question.query!r} needs exactly one true box, "
            f"but has {len(boxes)}"
        )
    return boxes[0]


def outlines(answer: AnswerRecord) -> list[Corners]:
    """Return the four corners of each box of an answer, in pixels; a turned box keeps its own."""
    return _outlines(answer.boxes, answer.corners)


def true_outlines(answer: AnswerRecord) -> list[Corners]:
    """Return the four corners of each true box of a question, in pixels; a turned box keeps its own."""
    return _outlines(answer.question.boxes, answer.question.corners)


def _outlines(boxes: Sequence[Box], corners: Sequence[Corners | None]) -> list[Corners]:
    turned = corners or (None,) * len(boxes)
    return [own or box_corners(box) for box, own in zip(boxes, turned, strict=True)]
