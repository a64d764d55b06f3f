# SPDX-License-Identifier: Apache-2.0
"""Measured times as a bar chart."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from geodit.speed.contestants import Kind
from geodit.speed.results import Measurement, PointResult, SpeedResult
from geodit.speed.tables import format_seconds

__all__ = ["KIND_COLORS", "draw_chart"]

Color = tuple[int, int, int]

# Of Paul Tol's "bright" palette, which stays distinct for all kinds of color vision.
KIND_COLORS: dict[Kind, Color] = {
    "geodit": (68, 119, 170),
    "autoregressive": (238, 102, 119),
    "reference": (187, 187, 187),
    "floor": (34, 136, 51),
}
_BLACK: Color = (0, 0, 0)
_GRAY: Color = (90, 90, 90)
_WHITE: Color = (255, 255, 255)

_SCALE = 2  # pixels a unit: the chart is read on dense screens too
_MARGIN, _GAP = 16 * _SCALE, 12 * _SCALE
_BAR, _ROW = 14 * _SCALE, 22 * _SCALE
_LONGEST_BAR = 460 * _SCALE
_TITLE_SIZE, _TEXT_SIZE = 14 * _SCALE, 12 * _SCALE


def draw_chart(result: SpeedResult) -> Image.Image:
    """Draw one group of bars per workload, one bar per contestant, as long as its median time.

    The pale part of a bar is the prefix, where it is known; a line spans the shortest and the longest run; a dotted
    line is the floor. Each group has a scale of its own, so that its longest bar fills the width.

    Args:
        result: At least one point.
    """
    title, text = ImageFont.load_default(_TITLE_SIZE), ImageFont.load_default(_TEXT_SIZE)
    measurements = [measurement for point in result.points for measurement in point.measurements]
    names = max(text.getlength(measurement.name) for measurement in measurements)
    values = max(text.getlength(_value(measurement)) for measurement in measurements)
    left = _MARGIN + round(names) + _GAP
    heads = [point.workload.describe() for point in result.points]
    machine = result.machine
    notes = (
        f"rounds: {result.repeats}; bars and figures: median (minimum to maximum); pale: prefix; dotted: floor",
        f"shape {result.shape.name}; {machine['processor']}, {machine['device']}, {machine['threads']} threads",
    )
    widest_line = max(*(title.getlength(head) for head in heads), *(text.getlength(note) for note in notes))
    width = max(left + _LONGEST_BAR + _GAP + round(values), _MARGIN + round(widest_line)) + _MARGIN
    group_heights = [2 * _ROW + _ROW * len(point.measurements) for point in result.points]
    picture = Image.new("RGB", (width, 2 * _MARGIN + sum(group_heights) + _ROW * len(notes)), _WHITE)
    draw = ImageDraw.Draw(picture)
    top = _MARGIN
    for point, head, height in zip(result.points, heads, group_heights, strict=True):
        draw.text((_MARGIN, top + _ROW / 2), head, _BLACK, title, anchor="lm")
        _draw_group(draw, point, left, top + _ROW + _ROW // 4, text)
        top += height
    for line, note in enumerate(notes):
        draw.text((_MARGIN, top + _ROW * (line + 0.5)), note, _GRAY, text, anchor="lm")
    return picture


def _draw_group(
    draw: ImageDraw.ImageDraw,
    point: PointResult,
    left: int,
    top: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    longest = max(measurement.total.maximum for measurement in point.measurements)

    def x(seconds: float) -> int:
        return left + round(_LONGEST_BAR * seconds / longest)

    for row, measurement in enumerate(point.measurements):
        middle = top + row * _ROW + _ROW // 2
        upper, lower = middle - _BAR // 2, middle + _BAR // 2
        total, color = measurement.total, KIND_COLORS[measurement.kind]
        draw.text((left - _GAP, middle), measurement.name, _BLACK, font, anchor="rm")
        draw.rectangle((left, upper, x(total.median), lower), color)
        if measurement.prefix is not None:
            draw.rectangle((left, upper, x(measurement.prefix.median), lower), _pale(color))
        draw.line((x(total.minimum), middle, x(total.maximum), middle), _BLACK, _SCALE)
        for end in (total.minimum, total.maximum):
            draw.line((x(end), middle - _BAR // 4, x(end), middle + _BAR // 4), _BLACK, _SCALE)
        draw.text((x(total.maximum) + _GAP, middle), _value(measurement), _BLACK, font, anchor="lm")
    floor = point.fastest("floor")
    if floor is not None:
        bottom = top + _ROW * len(point.measurements)
        for y in range(top, bottom, 4 * _SCALE):
            draw.line((x(floor.total.median), y, x(floor.total.median), y + 2 * _SCALE), KIND_COLORS["floor"], _SCALE)


def _value(measurement: Measurement) -> str:
    total = measurement.total
    spread = f"{format_seconds(total.minimum)} to {format_seconds(total.maximum)}"
    return f"{format_seconds(total.median)} ({spread})"


def _pale(color: Color) -> Color:
    """Return a color half way to white."""
    red, green, blue = ((value + 255) // 2 for value in color)
    return red, green, blue
