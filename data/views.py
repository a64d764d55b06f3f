# SPDX-License-Identifier: Apache-2.0
"""The eight ways to look at an overhead image: turned by quarters and mirrored, with boxes and words that follow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geodit.data.schema import Box, Question
from geodit.processing.turned_boxes_geodit import Corners, as_corners

__all__ = ["VIEWS", "View"]

# Where each side of an image comes to lie, in this order.
_SIDES = ("left", "top", "right", "bottom")
# Units of words that name places; where two sides are named, the vertical one comes first.
_OF_SIDE = {
    "on the {}": ("left", "right"),
    "at the {}": ("top", "bottom"),
}
_PLACES = re.compile(
    r"\b(?:(?P<corner>(?:top|bottom|upper|lower)[ -](?:left|right))"
    r"|(?P<phrase>on the (?:left|right)|at the (?:top|bottom))"
    r"|(?P<most>(?:left|right|top|bottom)most)"
    r"|(?P<side>left|right|top|bottom|upper|lower))\b",
    re.IGNORECASE,
)
_AS_SIDE = {"upper": "top", "lower": "bottom"}
_AS_ADJECTIVE = {"top": "upper", "bottom": "lower"}
# What speaks of directions in a way that is not turned with the picture.
_FIXED = re.compile(
    r"\b(?:north|south|east|west|north\w+|south\w+|eastern|western|above|below|beneath|under|over|horizontal\w*|vertical\w*"
    r"|clockwise|counterclockwise|row|column|upward|downward|heading|facing|left-?hand|right-?hand)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class View:
    """A way to look at an image: mirrored at its vertical axis or not, then turned to the left by quarters.

    Args:
        mirrored: Whether left and right are swapped first.
        quarters: How many quarter turns, counter-clockwise, follow; 0 to 3.
    """

    mirrored: bool = False
    quarters: int = 0

    def image(self, image: Image.Image) -> Image.Image:
        """Return the image as it is seen."""
        if self.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if not self.quarters:
            return image
        turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
        return image.transpose(turns[self.quarters - 1])

    def points(self, points: NDArray[np.float64], image_size: tuple[int, int]) -> NDArray[np.float64]:
        """Move points (..., 2), `[x, y]` in pixels, of an image of a size `(height, width)`."""
        height, width = image_size
        x, y = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
        if self.mirrored:
            x = width - x
        for _ in range(self.quarters):
            x, y, width, height = y, width - x, height, width
        return np.stack([x, y], axis=-1)

    def box(self, box: Box, image_size: tuple[int, int]) -> Box:
        """Move a box `(x1, y1, x2, y2)` of an image of a size `(height, width)`."""
        x1, y1, x2, y2 = box
        corners = self.points(np.array([[x1, y1], [x2, y2]]), image_size)
        (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        return left, top, right, bottom

    def corners(self, corners: Corners, image_size: tuple[int, int]) -> Corners:
        """Move the corners of a turned box of an image of a size `(height, width)`."""
        return as_corners(self.points(np.array(corners), image_size).tolist())

    def text(self, text: str) -> str:
        """Return a text whose words for sides and corners follow: "on the left" becomes "at the top"."""
        return _PLACES.sub(self._moved, text)

    def question(self, question: Question, image_size: tuple[int, int]) -> Question:
        """Return what is asked, and answered, about the image as it is seen."""
        return replace(
            question,
            query=self.text(question.query),
            answer=self.text(question.answer),
            references=tuple(self.text(one) for one in question.references),
            boxes=tuple(self.box(box, image_size) for box in question.boxes),
            corners=tuple(one and self.corners(one, image_size) for one in question.corners),
        )

    def _side(self, side: str) -> str:
        number = _SIDES.index(side)
        if self.mirrored and side in ("left", "right"):
            number = 2 - number
        # A quarter turn to the left brings what is on the right to the top.
        return _SIDES[(number - self.quarters) % 4]

    def _moved(self, match: re.Match[str]) -> str:
        return _like(match.group(), self._place(match))

    def _place(self, match: re.Match[str]) -> str:
        text = match.group().lower()
        if match["phrase"]:
            side = self._side(text.rsplit(" ", 1)[1])
            return next(form for form, sides in _OF_SIDE.items() if side in sides).format(side)
        if match["most"]:
            return f"{self._side(text.removesuffix('most'))}most"
        if match["side"]:
            side = self._side(_AS_SIDE.get(text, text))
            return _AS_ADJECTIVE.get(side, side) if text in _AS_SIDE else side
        vertical, separator, horizontal = re.split(r"([ -])", text)
        sides = [self._side(_AS_SIDE.get(vertical, vertical)), self._side(horizontal)]
        first, second = sorted(sides, key=lambda side: side in ("left", "right"))
        return f"{_AS_ADJECTIVE[first] if vertical in _AS_SIDE else first}{separator}{second}"


VIEWS: tuple[View, ...] = tuple(View(mirrored, quarters) for mirrored in (False, True) for quarters in range(4))
"""All eight; the first one changes nothing."""


@cache
def is_turnable(text: str) -> bool:
    """Return whether a text speaks of no direction that does not turn with the picture, such as north."""
    return _FIXED.search(text) is None


def are_turnable(questions: Iterable[Question]) -> bool:
    """Return whether an image may be turned together with what is asked and answered about it."""
    return all(
        is_turnable(text) for question in questions for text in (question.query, question.answer, *question.references)
    )


def _like(original: str, text: str) -> str:
    return text.capitalize() if original[:1].isupper() else text
