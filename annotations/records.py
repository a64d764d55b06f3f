# SPDX-License-Identifier: Apache-2.0
"""What an annotated image says, whatever the format it was read from."""

from __future__ import annotations

from dataclasses import dataclass

from geodit.data.schema import Box
from geodit.processing.turned_boxes_geodit import Corners, Point

__all__ = ["BadRecord", "LabeledImage", "LabeledObject", "Point", "TextAnswer"]


@dataclass(frozen=True)
class LabeledObject:
    """An object in an image.

    Args:
        label: Its class, as the source names it.
        box: `(x1, y1, x2, y2)` around it, upright, in pixels of the image.
        corners: The four corners of a turned box, in order, in pixels; `None` for an upright one.
        difficult: Whether the source calls it hard to see.
        phrase: What refers to this object alone, if the source has that.
        line: Line or number of its record in the source, counted from 1; 0 if there is none.
    """

    label: str
    box: Box
    corners: Corners | None = None
    difficult: bool = False
    phrase: str = ""
    line: int = 0


@dataclass(frozen=True)
class TextAnswer:
    """A question and its answer in words.

    Args:
        question: What is asked.
        answer: What is right.
    """

    question: str
    answer: str


@dataclass(frozen=True)
class LabeledImage:
    """An image with what is known of it.

    Args:
        image: Its path, or what else [`~geodit.rasters.imagery.open_image`] takes.
        origin: File, and where there is one line or record, that says so; for messages.
        image_size: `(height, width)` in pixels as the source states it; `None` if it does not.
        objects: All objects of the classes that were labeled. No objects is a statement, too.
        captions: Each describes the whole image.
        answers: Questions with their answers.
        category: Class of the whole scene; empty if unknown.
        split: `"train"`, `"validation"` or `"test"` if the source says so, else empty.
        group: What the image belongs to, such as its raster, for splits that do not leak; empty if unknown.
        partial_labels: Classes of which there may be objects that are not in `objects`, so that they can neither be
            counted nor said to be absent.
    """

    image: str
    origin: str
    image_size: tuple[int, int] | None = None
    objects: tuple[LabeledObject, ...] = ()
    captions: tuple[str, ...] = ()
    answers: tuple[TextAnswer, ...] = ()
    category: str = ""
    split: str = ""
    group: str = ""
    partial_labels: frozenset[str] = frozenset()


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be used, or is odd.

    Args:
        origin: File and line or record.
        reason: What is wrong with it, as half a sentence.
        kind: What kind of problem that is, see [`~geodit.annotations.import_report.PROBLEM_KINDS`].
    """

    origin: str
    reason: str
    kind: str = "record"
