# SPDX-License-Identifier: Apache-2.0
"""How other models write boxes, read into pixels of the original image and written.

Half of the families write as a codec of [`geodit.processing.boxes_geodit`] does; the rest is here. The rules are those
of the codecs: any text is accepted, nothing is guessed, and the well-formed boxes of an answer that could not be read
as a whole are kept. A number that a notation does not have (1200 of 0 to 1000) makes a box malformed. Where a notation
has numbers for what lies outside the image, such as pixels, a box is cut off at the border.
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeGuard

from geodit.processing.boxes_geodit import (
    BoxCodec,
    BoxParse,
    GeoChatBoxCodec,
    IntegerBoxCodec,
    LocationTokenBoxCodec,
    PaddedSquareBoxCodec,
)
from geodit.processing.polygons import surrounding_box
from geodit.processing.turned_boxes_geodit import Corners, OrientedBox, as_corners, corners_of, oriented_box_of

__all__ = [
    "NOTATIONS",
    "BoxNotation",
    "CodecNotation",
    "EarthDialBoxCodec",
    "JsonNotation",
    "PixelLinesNotation",
    "get_notation",
]

Size = tuple[int, int]
"""(height, width) in pixels."""

_NONE = re.compile(r"(?:there (?:are|is) )?(?:none|no boxes|no objects)\.?", re.IGNORECASE)
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*(?:```)?", re.IGNORECASE | re.DOTALL)
_BOX_KEYS = ("bbox_2d", "bbox")


class BoxNotation(ABC):
    """Writes the boxes of an image as text and reads them back."""

    name: str
    """The name under which `get_notation` finds it."""

    has_angle: bool = False
    """Whether boxes that are not upright are written as such."""

    @abstractmethod
    def decode(self, text: str, image_size: Size, seen_size: Size | None = None) -> BoxParse:
        """Read boxes from any text.

        Args:
            text: What a model wrote.
            image_size: Height and width of the original image, in pixels.
            seen_size: Height and width to which the processor resized the image; by default `image_size`. Only
                notations in pixels depend on it.

        Returns:
            The well-formed boxes in pixels of the original image, their labels, and whether all of the text was
            understood.
        """

    @abstractmethod
    def encode(
        self,
        boxes: Sequence[Sequence[float]],
        image_size: Size,
        seen_size: Size | None = None,
        labels: Sequence[str] | None = None,
        corners: Sequence[Corners | None] | None = None,
    ) -> str:
        """Write boxes, as the model would.

        Args:
            boxes: `[x1, y1, x2, y2]` in pixels of the original image.
            image_size: Height and width of the original image, in pixels.
            seen_size: Height and width to which the processor resizes it; by default `image_size`.
            labels: The class of each box.
            corners: The corners of each box that is turned; not looked at by a notation without an angle.

        Raises:
            ValueError: If a notation cannot write a box or label.
        """


class CodecNotation(BoxNotation):
    """The notation of a codec, possibly with marks around it.

    Args:
        name: Name of the notation.
        codec: The codec.
        marks: Texts that mean nothing to the codec, and are taken for space.
        nested: Whether boxes are in a second pair of brackets: `[[1, 2, 3, 4], [5, 6, 7, 8]]`.
    """

    def __init__(self, name: str, codec: BoxCodec, marks: Iterable[str] = (), *, nested: bool = False) -> None:
        self.name = name
        self.has_angle = codec.has_angle
        self._codec = codec
        self._marks = tuple(marks)
        self._nested = nested

    def decode(self, text: str, image_size: Size, seen_size: Size | None = None) -> BoxParse:
        """Read boxes from any text; see `BoxNotation.decode`."""
        for mark in self._marks:
            text = text.replace(mark, " ")
        if self._nested:
            text = re.sub(r"\[\s*\[", "[", re.sub(r"\]\s*\]", "]", text))
        return self._codec.decode(text, image_size)

    def encode(
        self,
        boxes: Sequence[Sequence[float]],
        image_size: Size,
        seen_size: Size | None = None,
        labels: Sequence[str] | None = None,
        corners: Sequence[Corners | None] | None = None,
    ) -> str:
        """Write boxes, without marks; see `BoxNotation.encode`."""
        return self._codec.encode(boxes, image_size, labels, corners=corners)


class EarthDialBoxCodec(GeoChatBoxCodec):
    """EarthDial's `[[x1, y1, x2, y2, angle]]`: the numbers of GeoChat in brackets, each box in two pairs of them.

    The extent of a rectangle before it is turned may leave the image, and its numbers are then below 0 or above 100,
    as in the data that EarthDial is evaluated on.

    Source: `src/earthdial/eval/rs_detection/` of github.com/hiyamdebary/EarthDial: `eval.py`, and the answers in
    `results/GeoChat.jsonl`. Its `eval.py` turns the other way than `GeoChatBoxCodec`, truth and answer alike.
    """

    name = "earthdial"

    _separator = ""
    _box_pattern = re.compile(r"\[\s*\[" + r"\s*,".join([r"\s*(-?[0-9]{1,3})"] * 5) + r"\s*\]\s*\]", re.ASCII)
    _debris_pattern = re.compile(r"[\[\]]|[0-9]\s*,\s*[0-9]", re.ASCII)

    @property
    def _box_expression(self) -> str:
        number = r"-?(?:0|[1-9][0-9]?|1[0-9]{2})"
        return r"\[\[" + ", ".join([number] * 5) + r"\]\]"

    def _write_box(self, box: list[float], size: tuple[float, float], angle: int = 0) -> str:
        numbers = re.findall(r"-?\d+", super()._write_box(box, size, angle))
        return f"[[{', '.join(numbers)}]]"

    def _read_box(self, groups: tuple[str, ...], size: tuple[float, float]) -> list[float] | None:
        oriented_box = self._read_oriented_box(groups, size)
        return None if oriented_box is None else _cut_off(surrounding_box(corners_of(oriented_box)), size)

    def _read_oriented_box(self, groups: tuple[str, ...], size: tuple[float, float]) -> OrientedBox | None:
        x1, y1, x2, y2, angle = (int(group) for group in groups)
        if not (x1 < x2 and y1 < y2) or abs(angle) > 360 or min(x1, y1) < -self.scale or max(x2, y2) > 2 * self.scale:
            return None
        height, width = (length / self.scale for length in size)
        box = OrientedBox(
            (x1 + x2) / 2 * width, (y1 + y2) / 2 * height, (x2 - x1) * width, (y2 - y1) * height, float(angle)
        )
        return box if _cut_off(surrounding_box(corners_of(box)), size) is not None else None

    def _clean_gap(self, gap: str) -> str:
        for mark in ("<ref>", "</ref>", "<box>", "</box>"):
            gap = gap.replace(mark, " ")
        return super()._clean_gap(gap)


class JsonNotation(BoxNotation):
    """A list of objects in JSON, `[{"bbox_2d": [x1, y1, x2, y2], "label": "ship"}]`, as such or in a code fence.

    `bbox` is read as `bbox_2d`, a box may stand without an object around it, and an object without a list. An empty
    list or the word `none` is no boxes.

    Args:
        name: Name of the notation.
        scale: What the sides of the image are divided into, such as 1000; None for pixels of the resized image.
    """

    def __init__(self, name: str, scale: int | None) -> None:
        self.name = name
        self._scale = scale

    def decode(self, text: str, image_size: Size, seen_size: Size | None = None) -> BoxParse:
        """Read boxes from any text; see `BoxNotation.decode`."""
        text = text.strip()
        if _NONE.fullmatch(text):
            return BoxParse(parsed=True)
        if fenced := _FENCE.fullmatch(text):
            text = fenced[1]
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            items, understood = list(_objects_in(text)), False
        else:
            items = document if isinstance(document, list) and not _is_box(document) else [document]
            understood = True

        boxes: list[list[float]] = []
        labels: list[str | None] = []
        for item in items:
            label: object = None
            if isinstance(item, dict):
                label = item.get("label")
                item = next((item[key] for key in _BOX_KEYS if key in item), None)
            box = _placed(item, self._scale, image_size, seen_size)
            if box is None or not (label is None or isinstance(label, str)):
                understood = False
                continue
            boxes.append(box)
            labels.append(label.strip() or None if label else None)
        return BoxParse(boxes, labels, understood)

    def encode(
        self,
        boxes: Sequence[Sequence[float]],
        image_size: Size,
        seen_size: Size | None = None,
        labels: Sequence[str] | None = None,
        corners: Sequence[Corners | None] | None = None,
    ) -> str:
        """Write boxes, rounded to integers; see `BoxNotation.encode`."""
        names = [None] * len(boxes) if labels is None else labels
        written = [
            {"bbox_2d": _rounded(box, self._scale, image_size, seen_size), **({} if name is None else {"label": name})}
            for box, name in zip(boxes, names, strict=True)
        ]
        return json.dumps(written, ensure_ascii=False)


class PixelLinesNotation(BoxNotation):
    """Lines of pixels of the resized image and a label: `12,40,20,52 ship`, or the eight numbers of four corners.

    `There are none.` is no boxes. A line without a label is malformed.

    Source: `rscovlm/eval/metric/` of github.com/VisionXLab/RSCoVLM: `metric.py` and `dense_det.py`.
    """

    name = "pixel_lines"
    has_angle = True

    _line = re.compile(r"(-?[0-9]{1,6}(?:,-?[0-9]{1,6}){3}(?:(?:,-?[0-9]{1,6}){4})?)\s+(\S.*)", re.ASCII)

    def decode(self, text: str, image_size: Size, seen_size: Size | None = None) -> BoxParse:
        """Read boxes from any text; see `BoxNotation.decode`."""
        if _NONE.fullmatch(text.strip()):
            return BoxParse(parsed=True)
        boxes: list[list[float]] = []
        labels: list[str | None] = []
        turned: list[OrientedBox] = []
        understood = True
        for line in filter(None, map(str.strip, text.splitlines())):
            match = self._line.fullmatch(line)
            oriented = None if match is None else _rectangle(match[1], image_size, seen_size)
            box = None if oriented is None else _cut_off(surrounding_box(corners_of(oriented)), image_size)
            if match is None or oriented is None or box is None:
                understood = False
                continue
            boxes.append(box)
            labels.append(match[2].strip())
            turned.append(oriented)
        return BoxParse(boxes, labels, understood and bool(boxes), turned)

    def encode(
        self,
        boxes: Sequence[Sequence[float]],
        image_size: Size,
        seen_size: Size | None = None,
        labels: Sequence[str] | None = None,
        corners: Sequence[Corners | None] | None = None,
    ) -> str:
        """Write boxes, rounded to whole pixels; see `BoxNotation.encode`.

        Raises:
            ValueError: If there are no labels, which the notation does not do without.
        """
        if not boxes:
            return "There are none."
        if labels is None:
            raise ValueError("each line of this notation ends in a label: give one for each box")
        turned = [None] * len(boxes) if corners is None else corners
        lines = []
        for box, label, points in zip(boxes, labels, turned, strict=True):
            numbers = [value for point in points for value in point] if points else box
            lines.append(",".join(map(str, _rounded(numbers, None, image_size, seen_size))) + f" {label}")
        return "\n".join(lines)


NOTATIONS: tuple[BoxNotation, ...] = (
    JsonNotation("json_pixels", None),
    JsonNotation("json_1000", 1000),
    PixelLinesNotation(),
    CodecNotation("internvl", IntegerBoxCodec(1000), ("<ref>", "</ref>", "<box>", "</box>"), nested=True),
    CodecNotation("florence2", LocationTokenBoxCodec(1000), ("</s>", "<s>", "<pad>")),
    CodecNotation("geochat", GeoChatBoxCodec()),
    CodecNotation("earthdial", EarthDialBoxCodec()),
    CodecNotation("integers_1000", IntegerBoxCodec(1000)),
    CodecNotation("padded_square", PaddedSquareBoxCodec(2)),
)
"""Every notation; the codecs of `geodit.processing.boxes_geodit` that no family uses are not among them."""


def get_notation(name: str) -> BoxNotation:
    """Return the notation of that name.

    Raises:
        ValueError: If there is none; the message lists those there are.
    """
    for notation in NOTATIONS:
        if notation.name == name:
            return notation
    raise ValueError(
        f"unknown notation of boxes {name!r}; the notations are {', '.join(one.name for one in NOTATIONS)}"
    )


def _is_box(value: object) -> TypeGuard[list[float]]:
    """Whether a value is four finite numbers."""
    return isinstance(value, list) and len(value) == 4 and all(_is_number(one) for one in value)


def _is_number(value: object) -> bool:
    # An integer of JSON may be too large for a float; no coordinate is, nor is it true or NaN.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _objects_in(text: str) -> Iterator[object]:
    """Yield the objects of a text that is not JSON as a whole, such as an answer that was cut off."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield value
        start = text.find("{", end)


def _steps(scale: int | None, image_size: Size, seen_size: Size | None) -> tuple[float, float]:
    """Return how many units of a notation the width and the height of the image have."""
    height, width = image_size if seen_size is None else seen_size
    return (float(width), float(height)) if scale is None else (float(scale), float(scale))


def _placed(value: object, scale: int | None, image_size: Size, seen_size: Size | None) -> list[float] | None:
    """Return a box in pixels of the original image; `None` if it is none."""
    if not _is_box(value):
        return None
    x1, y1, x2, y2 = (float(number) for number in value)
    across, down = _steps(scale, image_size, seen_size)
    if scale is not None and not (min(x1, y1) >= 0 and max(x2, y2) <= scale):
        return None
    height, width = image_size
    return _cut_off((x1 * width / across, y1 * height / down, x2 * width / across, y2 * height / down), image_size)


def _cut_off(box: tuple[float, float, float, float], size: tuple[float, float]) -> list[float] | None:
    """Cut a box off at the border of the image; `None` if nothing is left, or corners are reversed."""
    height, width = size
    x1, y1, x2, y2 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    return [x1, y1, x2, y2] if x1 < x2 and y1 < y2 else None


def _rectangle(numbers: str, image_size: Size, seen_size: Size | None) -> OrientedBox | None:
    """Read the pixels of two or four corners; `None` if they enclose nothing, or two are reversed."""
    values = [int(number) for number in numbers.split(",")]
    across, down = _steps(None, image_size, seen_size)
    height, width = image_size
    points = [(x * width / across, y * height / down) for x, y in zip(values[::2], values[1::2], strict=True)]
    if len(points) == 2:
        (x1, y1), (x2, y2) = points
        if not (x1 < x2 and y1 < y2):
            return None
        return OrientedBox((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0.0)
    try:
        return oriented_box_of(as_corners(points))
    except ValueError:
        return None


def _rounded(values: Sequence[float], scale: int | None, image_size: Size, seen_size: Size | None) -> list[int]:
    """Return alternating x and y in the units of a notation."""
    height, width = image_size
    factors = [
        unit / length for unit, length in zip(_steps(scale, image_size, seen_size), (width, height), strict=True)
    ]
    return [math.floor(value * factors[index % 2] + 0.5) for index, value in enumerate(values)]
