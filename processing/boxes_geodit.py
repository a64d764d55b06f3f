# SPDX-License-Identifier: Apache-2.0
"""Boxes as text, read into pixels and written: one codec for each notation of vision-language models of the field.

Every codec turns pixel boxes `[x1, y1, x2, y2]` of the original image into text and back. A text is a run of
boxes; words before a box are its label, and a label holds for the boxes after it until the next label::

    ship[12, 40, 20, 52] [30, 41, 36, 50] harbor[0, 0, 100, 30]

An image without objects is written as the word `none`.

`decode` accepts any text whatever, because it reads what a model wrote. It never guesses: a box whose corners
are reversed, whose sides have no length or whose numbers are out of range is left out, and anything that is
not a complete box or a label makes `BoxParse.parsed` False.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from geodit.processing.turned_boxes_geodit import Corners, OrientedBox, as_corners, corners_of, oriented_box_of

NO_BOXES = "none"
"""What is written when there is no box to write."""

BOX_FORMATS = (
    "location_tokens",
    "integers_100",
    "integers_1000",
    "geochat",
    "padded_square_2",
    "padded_square_3",
)
"""The names that `get_box_codec` knows."""

# What may stand around a label or between two boxes without meaning anything.
_SEPARATORS = " \t\r\n,;:."
# A notation that has no place for all of a turned box writes it shorter, as long as this share of its area is left.
_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class BoxParse:
    """What a codec read from a text.

    Attributes:
        boxes: `[x1, y1, x2, y2]` in pixels, inside the image, each with `x2 > x1` and `y2 > y1`.
        labels: One label for each box; None where the text names none.
        parsed: True if all of the text was understood: at least one box or the word `none`, no box rejected,
            nothing left over.
        oriented_boxes: For notations with an angle, the rotated rectangle of each of `boxes`; otherwise
            empty.
    """

    boxes: list[list[float]] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    parsed: bool = False
    oriented_boxes: list[OrientedBox] = field(default_factory=list)

    @property
    def corners(self) -> list[Corners | None]:
        """The corners of each of `boxes`, which may reach out of the image; `None` for an upright box."""
        if not self.oriented_boxes:
            return [None] * len(self.boxes)
        return [None if box.is_upright else corners_of(box) for box in self.oriented_boxes]


class BoxCodec(ABC):
    """Writes boxes as text and reads them back.

    A subclass defines the notation of one box; labels, order and error handling are common to all.

    A coordinate that is encoded and decoded comes back within half a quantum of its value, where the quantum
    is the side of the image divided by the number of steps of the notation. A box thinner than one quantum is
    widened to one, so that it stays a box; its coordinates come back within one and a half quanta.
    """

    name: str
    """The name under which `get_box_codec` finds the codec."""

    has_angle: ClassVar[bool] = False
    """Whether a box that is not upright is written as such. If not, the upright box around it is written."""

    _separator: ClassVar[str] = " "
    _box_pattern: ClassVar[re.Pattern[str]]
    # What must not occur outside a complete box: the debris of a broken one.
    _debris_pattern: ClassVar[re.Pattern[str]]

    @property
    def answer_expression(self) -> str:
        """A regular expression of the answers without labels: the word `none`, or one or more boxes.

        Boxes are spelled as `encode` spells them. The syntax is that of Rust's crate `regex` and of Python's `re`; the
        whole of an answer matches. `decode` understands all that matches, but for boxes without an area and, on padded
        squares, in the padding: where two numbers are in order, no expression of a bearable length says.
        """
        box = self._box_expression
        return f"{NO_BOXES}|{box}(?:{self._separator}{box})*"

    def encode(
        self,
        boxes: Iterable[Sequence[float]],
        image_size: tuple[int, int],
        labels: Sequence[str | None] | None = None,
        *,
        corners: Sequence[Sequence[Sequence[float]] | None] | None = None,
    ) -> str:
        """Write boxes as text, in the order given.

        Args:
            boxes: `[x1, y1, x2, y2]` in pixels of the image; of a turned box, the upright one around what of it lies
                in the image.
            image_size: `(height, width)` of the image in pixels.
            labels: One label for each box, or None to write no labels. A label equal to the one before it is
                not repeated.
            corners: The four corners `[x, y]` of each box that is turned, and None for each that is upright; by
                default all are. A notation without an angle (`has_angle`) does not look at them.

        Returns:
            The text; `none` if there are no boxes.

        Raises:
            ValueError: If a box is not finite, has no area or leaves the image, there are not as many corners as
                boxes, or a label could not be read back.
        """
        size = _check_image_size(image_size)
        checked = [_check_box(box, size) for box in boxes]
        of_boxes = _check_corners(corners, len(checked))
        written = [
            self._write_box(box, size) if turned is None else self._write_turned_box(turned, box, size)
            for box, turned in zip(checked, of_boxes, strict=True)
        ]
        return self._join(written, labels)

    def decode(self, text: str, image_size: tuple[int, int]) -> BoxParse:
        """Read boxes from any text. `_read_box` of the subclass turns the numbers of one box into pixels.

        Args:
            text: What a model wrote.
            image_size: `(height, width)` of the image in pixels.

        Returns:
            The boxes that are well formed, their labels, and whether the whole text was understood.

        Raises:
            ValueError: If `image_size` is not two positive numbers. No text raises.
        """
        size = _check_image_size(image_size)
        if _strip(text).lower() == NO_BOXES:
            return BoxParse(parsed=True)

        boxes: list[list[float]] = []
        labels: list[str | None] = []
        oriented_boxes: list[OrientedBox] = []
        label: str | None = None
        understood = True
        end = 0
        for match in self._box_pattern.finditer(text):
            gap = self._clean_gap(text[end : match.start()])
            if gap:
                if self._is_label(gap):
                    label = gap
                else:
                    understood = False
            end = match.end()

            box = self._read_box(match.groups(), size)
            if box is None or not (box[0] < box[2] and box[1] < box[3]):
                understood = False
                continue
            boxes.append(box)
            labels.append(label)
            oriented_box = self._read_oriented_box(match.groups(), size)
            if oriented_box is not None:
                oriented_boxes.append(oriented_box)

        # Words after the last box label nothing.
        parsed = understood and bool(boxes) and not self._clean_gap(text[end:])
        return BoxParse(boxes=boxes, labels=labels, parsed=parsed, oriented_boxes=oriented_boxes)

    def box_ends(self, text: str) -> list[int]:
        """Return the position in `text` just after each complete box, in ascending order."""
        return [match.end() for match in self._box_pattern.finditer(text)]

    @property
    @abstractmethod
    def _box_expression(self) -> str:
        """A regular expression of one box, as `_write_box` writes it."""

    @abstractmethod
    def _write_box(self, box: list[float], size: tuple[float, float]) -> str:
        """Write one valid box. `size` is (height, width)."""

    def _write_turned_box(self, corners: Corners, box: list[float], size: tuple[float, float]) -> str:
        """Write one valid box that is turned; `box` is the upright one around what of it lies in the image."""
        return self._write_box(box, size)

    @abstractmethod
    def _read_box(self, groups: tuple[str, ...], size: tuple[float, float]) -> list[float] | None:
        """Read one box from the groups of `_box_pattern`; None if a number is out of range."""

    def _read_oriented_box(self, groups: tuple[str, ...], size: tuple[float, float]) -> OrientedBox | None:
        return None

    def _clean_gap(self, gap: str) -> str:
        return _strip(gap)

    def _is_label(self, gap: str) -> bool:
        return (
            any(character.isalpha() for character in gap)
            and gap.lower() != NO_BOXES
            and self._debris_pattern.search(gap) is None
        )

    def _join(self, written: list[str], labels: Sequence[str | None] | None) -> str:
        if labels is None:
            labels = [None] * len(written)
        if len(labels) != len(written):
            raise ValueError(
                f"There must be one label for each box, got {len(labels)} labels for {len(written)} boxes."
            )
        if not written:
            return NO_BOXES
        parts: list[str] = []
        current: str | None = None
        for text, label in zip(written, labels, strict=True):
            if label != current:
                if label is None:
                    raise ValueError(
                        "A box without a label cannot follow one with a label, whose label it would take: "
                        "put the boxes without labels first, or label all."
                    )
                if self._clean_gap(label) != label or not self._is_label(label):
                    raise ValueError(
                        f"The label {label!r} could not be read back from the text. A label needs a letter, "
                        f"no separator ({_SEPARATORS!r}) at its ends, nothing that looks like a box of the "
                        f"format {self.name!r}, and is not the word {NO_BOXES!r}."
                    )
                current = label
                text = label + text
            parts.append(text)
        return self._separator.join(parts)


class IntegerBoxCodec(BoxCodec):
    """`[x1, y1, x2, y2]` with integers from 0 to `scale`, relative to the image's width and height.

    Args:
        scale: 100 or 1000, the two scales in use.

    Raises:
        ValueError: If the scale is another number.
    """

    _box_pattern = re.compile(r"\[" + r"\s*,".join([r"\s*([0-9]{1,4})"] * 4) + r"\s*\]", re.ASCII)
    _debris_pattern = re.compile(r"[\[\]]|[0-9]\s*,\s*[0-9]", re.ASCII)

    def __init__(self, scale: int = 1000) -> None:
        if scale not in (100, 1000):
            raise ValueError(f"`scale` must be 100 or 1000, got {scale!r}.")
        self.scale = scale
        self.name = f"integers_{scale}"

    @property
    def _box_expression(self) -> str:
        return r"\[" + ", ".join([_integer_expression(self.scale)] * 4) + r"\]"

    def _write_box(self, box: list[float], size: tuple[float, float]) -> str:
        x1, y1, x2, y2 = _quantize_to_points(box, size, self.scale)
        return f"[{x1}, {y1}, {x2}, {y2}]"

    def _read_box(self, groups: tuple[str, ...], size: tuple[float, float]) -> list[float] | None:
        return _points_to_pixels(groups, size, self.scale)


class GeoChatBoxCodec(BoxCodec):
    """GeoChat's `{<x1><y1><x2><y2>|<theta>}`: integers from 0 to 100 and an angle in whole degrees.

    The four numbers are the extent of a rectangle before it is turned by theta about its centre, in pixels.
    `decode` gives the axis-aligned bounding box of the turned rectangle, cut off at the border of the image,
    and the rectangle itself in `BoxParse.oriented_boxes`. GeoChat's own marks `<p>`, `</p>` and `<delim>` are
    accepted.

    A turned box is written with an angle above -45 and up to 45 degrees. Its extent before the turn may leave the
    image where it does not itself, and the notation has no numbers for that. Then it is written by the angle that is
    a quarter turn away, with sides swapped, if more of it fits so; it is shortened about its centre to what fits; and
    if less than half of its area would be left, the upright box around it is written. What is not shortened comes back
    with its angle within half a degree and its extent within half a quantum.

    The authors do not say in which direction theta turns. Here it is clockwise as seen in the image, as in the
    rectangles of OpenCV and in programs that evaluate GeoChat (`videollava/eval/` of github.com/ermongroup/TEOChat).
    GeoChat's own demo draws boxes turned the other way. The boxes around them are the same in both.

    Source: Kuckreja et al., "GeoChat: Grounded Large Vision-Language Model for Remote Sensing", CVPR 2024.
    """

    name = "geochat"
    has_angle = True
    scale = 100

    _box_pattern = re.compile(
        r"\{" + r"\s*<\s*([0-9]{1,4})\s*>" * 4 + r"\s*\|\s*<\s*(-?[0-9]{1,3})\s*>\s*\}", re.ASCII
    )
    _debris_pattern = re.compile(r"[{}<>|]")

    @property
    def _box_expression(self) -> str:
        # An angle of 0 has no sign.
        angle = f"(?:-{_integer_expression(360, 1)}|{_integer_expression(360)})"
        return r"\{" + f"<{_integer_expression(self.scale)}>" * 4 + rf"\|<{angle}>\}}"

    def encode(
        self,
        boxes: Iterable[Sequence[float]],
        image_size: tuple[int, int],
        labels: Sequence[str | None] | None = None,
        angles: Sequence[float] | None = None,
        *,
        corners: Sequence[Sequence[Sequence[float]] | None] | None = None,
    ) -> str:
        """Write boxes as text, in the order given; see `BoxCodec.encode`.

        Args:
            boxes: `[x1, y1, x2, y2]` in pixels of the image; with `angles`, before rotation.
            image_size: `(height, width)` of the image in pixels.
            labels: One label for each box, or None.
            angles: One angle in degrees for each box, from -360 to 360, rounded to whole degrees.
            corners: The four corners of each box that is turned, in the place of angles.

        Returns:
            The text; `none` if there are no boxes.

        Raises:
            ValueError: As `BoxCodec.encode`; also if an angle is out of range, or angles and corners are given both.
        """
        if angles is None:
            return super().encode(boxes, image_size, labels, corners=corners)
        if corners is not None:
            raise ValueError("Angles and corners are two ways to say how boxes are turned: give one of them.")
        size = _check_image_size(image_size)
        checked = [_check_box(box, size) for box in boxes]
        if len(angles) != len(checked):
            raise ValueError(f"There must be one angle for each box, got {len(angles)} for {len(checked)} boxes.")
        written = []
        for box, angle in zip(checked, angles, strict=True):
            if not (math.isfinite(angle) and abs(angle) <= 360):
                raise ValueError(f"An angle must lie between -360 and 360 degrees, got {angle!r}.")
            written.append(self._write_box(box, size, round(angle)))
        return self._join(written, labels)

    def _write_box(self, box: list[float], size: tuple[float, float], angle: int = 0) -> str:
        x1, y1, x2, y2 = _quantize_to_points(box, size, self.scale)
        return f"{{<{x1}><{y1}><{x2}><{y2}>|<{angle}>}}"

    def _write_turned_box(self, corners: Corners, box: list[float], size: tuple[float, float]) -> str:
        try:
            center_x, center_y, width, height, exact = oriented_box_of(corners)
        except ValueError:  # without an area
            return self._write_box(box, size)
        angle = math.floor(exact + 0.5)
        if angle == -45:  # the same as 45, with sides swapped
            width, height, angle = height, width, 45
        most_x, most_y = 2 * min(center_x, size[1] - center_x), 2 * min(center_y, size[0] - center_y)
        written, best = self._write_box(box, size), _LEAST_SHARE
        quarter_turn = angle - 90 if angle > 0 else angle + 90
        for along_x, along_y, degrees in ((width, height, angle), (height, width, quarter_turn)):
            x, y = min(along_x, most_x) / 2, min(along_y, most_y) / 2
            share = 4 * x * y / (width * height)
            if min(x, y) > 0 and share >= best:
                extent = [center_x - x, center_y - y, center_x + x, center_y + y]
                # The other way has to be better by more than rounding.
                written, best = self._write_box(extent, size, degrees), share + 1e-9
        return written

    def _read_box(self, groups: tuple[str, ...], size: tuple[float, float]) -> list[float] | None:
        oriented_box = self._read_oriented_box(groups, size)
        if oriented_box is None:
            return None
        if oriented_box.angle == 0:  # without the rounding errors of going through the centre
            return _points_to_pixels(groups[:4], size, self.scale)
        center_x, center_y, width, height, angle = oriented_box
        cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
        half_width = (width * cos + height * sin) / 2
        half_height = (width * sin + height * cos) / 2
        return [
            max(center_x - half_width, 0.0),
            max(center_y - half_height, 0.0),
            min(center_x + half_width, size[1]),
            min(center_y + half_height, size[0]),
        ]

    def _read_oriented_box(self, groups: tuple[str, ...], size: tuple[float, float]) -> OrientedBox | None:
        box = _points_to_pixels(groups[:4], size, self.scale)
        angle = int(groups[4])
        if box is None or abs(angle) > 360 or not (box[0] < box[2] and box[1] < box[3]):
            return None
        x1, y1, x2, y2 = box
        return OrientedBox((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, float(angle))

    def _clean_gap(self, gap: str) -> str:
        for mark in ("<p>", "</p>", "<delim>"):
            gap = gap.replace(mark, " ")
        return _strip(gap)


class PaddedSquareBoxCodec(BoxCodec):
    """`[x1, y1, x2, y2]` with decimals from 0 to 1 on the image padded to a square, the image in its middle.

    This is how LLaVA writes boxes, whose `expand2square` pads the shorter side on both ends before the image
    is resized. `decode` takes the padding off again: a coordinate in the padding is rejected, unless it lies
    within one quantum of the image, from where it is moved onto the border. Only the numbers are defined on
    the square: the codec does not pad the image itself.

    Args:
        decimals: Digits after the point, 2 or 3.

    Raises:
        ValueError: If it is another number.
    """

    _number = r"([0-9]{1,4}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})"
    _box_pattern = re.compile(r"\[" + r"\s*,".join([r"\s*" + _number] * 4) + r"\s*\]", re.ASCII)
    _debris_pattern = re.compile(r"[\[\]]|[0-9]\s*,\s*[0-9.]", re.ASCII)

    def __init__(self, decimals: int = 3) -> None:
        if decimals not in (2, 3):
            raise ValueError(f"`decimals` must be 2 or 3, got {decimals!r}.")
        self.decimals = decimals
        self.name = f"padded_square_{decimals}"

    @property
    def _box_expression(self) -> str:
        number = rf"(?:0\.[0-9]{{{self.decimals}}}|1\.{'0' * self.decimals})"
        return r"\[" + ", ".join([number] * 4) + r"\]"

    def _write_box(self, box: list[float], size: tuple[float, float]) -> str:
        side, left, top = self._square(size)
        x1, y1, x2, y2 = box
        on_square = [x1 + left, y1 + top, x2 + left, y2 + top]
        steps = 10**self.decimals
        quantized = _quantize_to_points(on_square, (side, side), steps)
        numbers = tuple(f"{number / steps:.{self.decimals}f}" for number in quantized)
        return f"[{', '.join(numbers)}]"

    def _read_box(self, groups: tuple[str, ...], size: tuple[float, float]) -> list[float] | None:
        side, left, top = self._square(size)
        tolerance = side / 10**self.decimals * (1 + 1e-9)
        box = []
        for text, offset, length in zip(groups, (left, top, left, top), (size[1], size[0]) * 2, strict=True):
            value = float(text)
            pixel = value * side - offset
            if value > 1 or pixel < -tolerance or pixel > length + tolerance:
                return None
            box.append(min(max(pixel, 0.0), length))
        return box

    @staticmethod
    def _square(size: tuple[float, float]) -> tuple[float, float, float]:
        """Return the square's side and the position (left, top) of the image in it, in pixels."""
        height, width = size
        side = max(height, width)
        return side, float((side - width) // 2), float((side - height) // 2)


class LocationTokenBoxCodec(BoxCodec):
    """`<loc_12><loc_40><loc_55><loc_80>`: four tokens a box, as Florence-2 has them.

    Width and height are each divided into `bins` bins. A coordinate is written as the bin that it falls into
    and read as the middle of that bin.

    Source: Xiao et al., "Florence-2: Advancing a Unified Representation for a Variety of Vision Tasks", CVPR
    2024.

    Args:
        bins: Number of bins, at least 2.

    Raises:
        ValueError: If it is fewer, or not an integer.
    """

    name = "location_tokens"

    _separator = ""
    _box_pattern = re.compile(r"\s*".join([r"<loc_([0-9]{1,6})>"] * 4), re.ASCII)
    _debris_pattern = re.compile(r"[<>]|loc_")

    def __init__(self, bins: int) -> None:
        if type(bins) is not int or not 2 <= bins <= 1_000_000:
            raise ValueError(f"`bins` must be an integer from 2 to 1000000, got {bins!r}.")
        self.bins = bins

    @property
    def _box_expression(self) -> str:
        return f"<loc_{_integer_expression(self.bins - 1)}>" * 4

    def _write_box(self, box: list[float], size: tuple[float, float]) -> str:
        height, width = size
        x1, x2 = self._bins_of(box[0], box[2], width)
        y1, y2 = self._bins_of(box[1], box[3], height)
        return f"<loc_{x1}><loc_{y1}><loc_{x2}><loc_{y2}>"

    def _bins_of(self, low: float, high: float, length: float) -> tuple[int, int]:
        # The far border of the image belongs to the last bin.
        low_bin, high_bin = (min(math.floor(value * self.bins / length), self.bins - 1) for value in (low, high))
        middle = (low + high) / 2 * self.bins / length - 0.5
        return _widen(low_bin, high_bin, middle, self.bins - 1)

    def _read_box(self, groups: tuple[str, ...], size: tuple[float, float]) -> list[float] | None:
        bins = [int(text) for text in groups]
        if max(bins) >= self.bins:
            return None
        height, width = size
        return [(bin_ + 0.5) * length / self.bins for bin_, length in zip(bins, (width, height) * 2, strict=True)]


def get_box_codec(name: str, location_bins: int | None = None) -> BoxCodec:
    """Return the codec of that name.

    Args:
        name: One of `BOX_FORMATS`.
        location_bins: Number of location tokens; needed by `"location_tokens"` and not used by the others.

    Returns:
        A new codec.

    Raises:
        ValueError: If the name is unknown, or `"location_tokens"` is asked for without `location_bins`.
    """
    if name == "location_tokens":
        if location_bins is None:
            raise ValueError("The box format 'location_tokens' needs `location_bins`, the number of location tokens.")
        return LocationTokenBoxCodec(location_bins)
    if name == "integers_100":
        return IntegerBoxCodec(100)
    if name == "integers_1000":
        return IntegerBoxCodec(1000)
    if name == "geochat":
        return GeoChatBoxCodec()
    if name == "padded_square_2":
        return PaddedSquareBoxCodec(2)
    if name == "padded_square_3":
        return PaddedSquareBoxCodec(3)
    raise ValueError(f"Unknown box format {name!r}. Choose one of: {', '.join(BOX_FORMATS)}.")


def _integer_expression(maximum: int, minimum: int = 0) -> str:
    """Write a regular expression of the integers from `minimum` (0 or 1) to `maximum` (1 or more), no leading 0."""
    digits = str(maximum)
    parts = [] if minimum else ["0"]
    parts += ["[1-9]" + "[0-9]" * more for more in range(len(digits) - 1)]
    # As many digits as the maximum: equal to it up to some place, where a lower digit leaves the rest open.
    for place, digit in enumerate(digits):
        lowest = 1 if place == 0 else 0
        if int(digit) > lowest:
            parts.append(f"{digits[:place]}[{lowest}-{int(digit) - 1}]" + "[0-9]" * (len(digits) - place - 1))
    parts.append(digits)
    return f"(?:{'|'.join(parts)})"


def _strip(text: str) -> str:
    return text.strip().strip(_SEPARATORS)


def _check_image_size(image_size: tuple[int, int]) -> tuple[float, float]:
    try:
        height, width = (float(length) for length in image_size)
    except (TypeError, ValueError):
        height = width = math.nan
    if not (math.isfinite(height) and math.isfinite(width) and height > 0 and width > 0):
        raise ValueError(f"`image_size` must be (height, width) in pixels, both positive, got {image_size!r}.")
    return height, width


def _check_box(box: Sequence[float], size: tuple[float, float]) -> list[float]:
    values = [float(value) for value in box]
    height, width = size
    if len(values) != 4 or not all(math.isfinite(value) for value in values):
        raise ValueError(f"A box must be four finite numbers [x1, y1, x2, y2] in pixels, got {values}.")
    x1, y1, x2, y2 = values
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"A box needs x1 < x2 and y1 < y2, got {values}.")
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        raise ValueError(
            f"The box {values} leaves the image of {height:g} x {width:g} (height x width) pixels: clip it first."
        )
    return values


def _check_corners(corners: Sequence[Sequence[Sequence[float]] | None] | None, num_boxes: int) -> list[Corners | None]:
    if corners is None:
        return [None] * num_boxes
    if len(corners) != num_boxes:
        raise ValueError(
            f"There must be corners, or None, for each box, got {len(corners)} of them for {num_boxes} boxes."
        )
    return [None if one is None else as_corners(one) for one in corners]


def _quantize_to_points(box: list[float], size: tuple[float, float], steps: int) -> tuple[int, int, int, int]:
    """Round a box to a grid of `steps` steps per side: the numbers from 0 to `steps` are points."""
    height, width = size
    x1, x2 = _points_of(box[0], box[2], width, steps)
    y1, y2 = _points_of(box[1], box[3], height, steps)
    return x1, y1, x2, y2


def _points_of(low: float, high: float, length: float, steps: int) -> tuple[int, int]:
    # floor(x + 0.5), because round() goes to the even neighbour, which may join points one step apart.
    low_point, high_point = (math.floor(value * steps / length + 0.5) for value in (low, high))
    return _widen(low_point, high_point, (low + high) / 2 * steps / length, steps)


def _widen(low: int, high: int, middle: float, maximum: int) -> tuple[int, int]:
    """Keep the two ends of a side apart by moving the end that lies nearer to its new place."""
    if low < high:
        return low, high
    if (middle >= low and low < maximum) or low == 0:
        return low, low + 1
    return low - 1, low


def _points_to_pixels(groups: Sequence[str], size: tuple[float, float], steps: int) -> list[float] | None:
    points = [int(text) for text in groups]
    if max(points) > steps:
        return None
    height, width = size
    return [point * length / steps for point, length in zip(points, (width, height) * 2, strict=True)]
