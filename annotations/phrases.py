# SPDX-License-Identifier: Apache-2.0
"""Phrases that refer to exactly one object of an image: by its class, its size, its position or its order.

A phrase is made only where nobody would doubt it: an extreme is well ahead of the next object, and no object of its
kind stands near the border of a region that a phrase names.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from geodit.annotations.records import LabeledObject
from geodit.annotations.words import ClassWords

__all__ = ["Phrase", "referring_phrases"]

# Ahead of the next object by this share of the image's side, or by this factor of its area.
_POSITION_MARGIN = 0.06
_AREA_RATIO = 1.25
# Objects within this share of the side from the border of a region, a ninth of the image, are neither in nor out.
_REGION_MARGIN = 0.03
# Rows of so many objects are counted through.
_ORDERED = range(3, 6)
_ORDINALS = ("first", "second", "third", "fourth", "fifth")

_REGIONS = (
    ("in the top left", "at the top", "in the top right"),
    ("on the left", "in the center", "on the right"),
    ("in the bottom left", "at the bottom", "in the bottom right"),
)


@dataclass(frozen=True)
class Phrase:
    """A phrase and the object that it refers to.

    Args:
        sort: `"source"`, `"class"`, `"size"`, `"position"`, `"region"` or `"order"`.
        text: The phrase.
        target: The object.
    """

    sort: str
    text: str
    target: LabeledObject


def referring_phrases(
    objects: Sequence[LabeledObject],
    image_size: tuple[int, int],
    words: ClassWords,
    partial: frozenset[str] = frozenset(),
) -> list[Phrase]:
    """Return all phrases that refer to exactly one object.

    Args:
        objects: All objects of the image.
        image_size: `(height, width)` in pixels.
        words: The words for their classes.
        partial: Classes of which the image shows objects that are not in `objects`: nothing is said of these.
    """
    phrases = [Phrase("source", one.phrase, one) for one in objects if one.phrase and _is_alone(one, objects)]
    for label in sorted({one.label for one in objects} - partial):
        group = [one for one in objects if one.label == label]
        word = words.singular(label)
        if len(group) == 1:
            phrases.append(Phrase("class", f"the {word}", group[0]))
        else:
            phrases += _extremes(word, group, image_size)
            phrases += _ordered(word, group, image_size)
        phrases += _regions(word, group, image_size)
    texts = [phrase.text for phrase in phrases]
    return [phrase for phrase in phrases if texts.count(phrase.text) == 1]


def _is_alone(one: LabeledObject, objects: Sequence[LabeledObject]) -> bool:
    return sum(other.phrase == one.phrase for other in objects) == 1


def _center(one: LabeledObject) -> tuple[float, float]:
    x1, y1, x2, y2 = one.box
    return (x1 + x2) / 2, (y1 + y2) / 2


def _area(one: LabeledObject) -> float:
    x1, y1, x2, y2 = one.box
    return (x2 - x1) * (y2 - y1)


def _extremes(word: str, group: Sequence[LabeledObject], image_size: tuple[int, int]) -> Iterator[Phrase]:
    by_area = sorted(group, key=_area)
    if _area(by_area[1]) >= _AREA_RATIO * _area(by_area[0]):
        yield Phrase("size", f"the smallest {word}", by_area[0])
    if _area(by_area[-1]) >= _AREA_RATIO * _area(by_area[-2]):
        yield Phrase("size", f"the largest {word}", by_area[-1])
    height, width = image_size
    for adjective, axis, sign in (
        ("leftmost", 0, 1),
        ("rightmost", 0, -1),
        ("topmost", 1, 1),
        ("bottommost", 1, -1),
    ):
        first, second, *_ = sorted(group, key=lambda one: sign * _center(one)[axis])
        ahead = sign * (_center(second)[axis] - _center(first)[axis])
        edge = axis if sign == 1 else axis + 2
        outermost = all(sign * first.box[edge] < sign * one.box[edge] for one in group if one is not first)
        if outermost and ahead >= _POSITION_MARGIN * (width, height)[axis]:
            yield Phrase("position", f"the {adjective} {word}", first)


def _ordered(word: str, group: Sequence[LabeledObject], image_size: tuple[int, int]) -> Iterator[Phrase]:
    """Count through objects from left to right, or from top to bottom, if their order is plain."""
    if len(group) not in _ORDERED:
        return
    height, width = image_size
    for axis, way in ((0, "from the left"), (1, "from the top")):
        row = sorted(group, key=lambda one: _center(one)[axis])
        steps = [_center(after)[axis] - _center(before)[axis] for before, after in itertools.pairwise(row)]
        if min(steps) < _POSITION_MARGIN * (width, height)[axis]:
            continue
        for ordinal, one in list(zip(_ORDINALS, row, strict=False))[1:-1]:
            yield Phrase("order", f"the {ordinal} {word} {way}", one)


def _regions(word: str, group: Sequence[LabeledObject], image_size: tuple[int, int]) -> Iterator[Phrase]:
    for row in range(3):
        for column in range(3):
            # "On the left" may be said of the corners too, so that none of its kind may stand there.
            across = (0, 3) if column == 1 and row != 1 else (column, column + 1)
            down = (0, 3) if row == 1 and column != 1 else (row, row + 1)
            rivals = [one for one in group if _stands_in(one, across, down, image_size, _REGION_MARGIN)]
            at_home = ((column, column + 1), (row, row + 1))
            if len(rivals) == 1 and _stands_in(rivals[0], *at_home, image_size, -_REGION_MARGIN):
                yield Phrase("region", f"the {word} {_REGIONS[row][column]}", rivals[0])


def _stands_in(
    one: LabeledObject, columns: tuple[int, int], rows: tuple[int, int], image_size: tuple[int, int], margin: float
) -> bool:
    x, y = _center(one)
    height, width = image_size
    return (
        columns[0] / 3 - margin <= x / width <= columns[1] / 3 + margin
        and rows[0] / 3 - margin <= y / height <= rows[1] / 3 + margin
    )
