# SPDX-License-Identifier: Apache-2.0
"""Denoising as a film: the canvas after each step beside the picture, as an animated GIF."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from geodit.data.drawing import BLACK, WHITE, draw_boxes, ink_on
from geodit.pipelines.denoising_steps import DenoisingStep
from geodit.pipelines.visualization import MASK_COLOR, cell_text, step_color

__all__ = ["denoising_film", "film_frames"]

_PICTURE_SIDE = 384
_COLUMNS = 8
_CELL_WIDTH, _CELL_HEIGHT, _MARGIN = 84, 34, 16
_LAST_FRAME = 2000
_COLORS = 96


def denoising_film(
    pixels: NDArray[np.uint8],
    image_size: tuple[int, int],
    steps: Sequence[DenoisingStep],
    *,
    milliseconds: int = 400,
    check: Callable[[], None] | None = None,
) -> bytes:
    """Draw an animated GIF of the steps of an answer.

    Args:
        pixels: `(H, W, 3)`, a copy of the image of any size.
        image_size: `(height, width)` of the image, in whose pixels the boxes are.
        steps: All of them, in order.
        milliseconds: How long each is shown; the last one for two seconds.
        check: Called before each frame is drawn; may raise, which ends the drawing.

    Raises:
        ValueError: If there are none.
    """
    film = _Film(pixels, image_size, steps)
    # One palette for all, without dithering: a fraction of the bytes.
    palette = film.frame(len(steps)).quantize(_COLORS, dither=Image.Dither.NONE)

    def frames() -> Iterator[Image.Image]:
        for number in range(len(steps) + 1):
            if check is not None:
                check()
            yield film.frame(number).quantize(palette=palette, dither=Image.Dither.NONE)

    durations = [milliseconds] * len(steps) + [_LAST_FRAME]
    buffer = io.BytesIO()
    drawn = frames()
    next(drawn).save(buffer, "GIF", save_all=True, append_images=drawn, duration=durations, loop=0)
    return buffer.getvalue()


def film_frames(
    pixels: NDArray[np.uint8], image_size: tuple[int, int], steps: Sequence[DenoisingStep]
) -> list[Image.Image]:
    """Draw the frames: one before the first step, and one after each; arguments as for [`denoising_film`]."""
    film = _Film(pixels, image_size, steps)
    return [film.frame(number) for number in range(len(steps) + 1)]


class _Film:
    """Draws one frame at a time; arguments as for [`denoising_film`]."""

    def __init__(self, pixels: NDArray[np.uint8], image_size: tuple[int, int], steps: Sequence[DenoisingStep]) -> None:
        if not steps:
            raise ValueError("there are no steps to show: ask first")
        self._steps = steps
        self._total = max(step.number for step in steps)
        # Once, and small: each frame draws on a copy of it.
        self._picture = _fitted(Image.fromarray(pixels))
        width, height = self._picture.size
        self._factors = np.array([width / image_size[1], height / image_size[0]] * 2)

    def frame(self, number: int) -> Image.Image:
        """Draw what is known after so many steps."""
        if number == 0:
            blank = ("[M]",) * len(self._steps[0].denoising.tokens)
            return _frame(_fitted(draw_boxes(self._picture, [])), 0, self._total, blank, (-1,) * len(blank))
        step = self._steps[number - 1]
        boxes = [(np.array(box) * self._factors).tolist() for box in step.boxes]
        picture = _fitted(draw_boxes(self._picture, boxes, step.labels, step.scores))
        return _frame(picture, step.number, self._total, step.denoising.tokens, step.denoising.commit_steps)


def _fitted(picture: Image.Image) -> Image.Image:
    """Return a picture at the size that it has in a frame."""
    # A strip becomes wider: boxes are drawn on a copy whose short side is enlarged.
    scale = _PICTURE_SIDE / max(picture.size)
    width, height = (max(_PICTURE_SIDE // 8, round(side * scale)) for side in picture.size)
    return picture.resize((width, height))


def _frame(
    picture: Image.Image, number: int, total: int, tokens: Sequence[str], commit_steps: Sequence[int]
) -> Image.Image:
    columns = min(_COLUMNS, len(tokens))
    rows = -(-len(tokens) // columns)
    head = 40
    grid = (columns * _CELL_WIDTH, rows * _CELL_HEIGHT)
    height = max(picture.height, head + grid[1]) + 2 * _MARGIN
    frame = Image.new("RGB", (picture.width + grid[0] + 3 * _MARGIN, height), WHITE)
    frame.paste(picture, (_MARGIN, _MARGIN))
    draw, left = ImageDraw.Draw(frame), picture.width + 2 * _MARGIN
    draw.text((left, _MARGIN), f"step {number} of {total}", BLACK, ImageFont.load_default(20))
    font = ImageFont.load_default(15)
    for place, (token, commit_step) in enumerate(zip(tokens, commit_steps, strict=True)):
        row, column = divmod(place, columns)
        x, y = left + column * _CELL_WIDTH, _MARGIN + head + row * _CELL_HEIGHT
        is_known = commit_step >= 0
        color = step_color(commit_step, total) if is_known else MASK_COLOR
        draw.rectangle((x, y, x + _CELL_WIDTH - 3, y + _CELL_HEIGHT - 3), color)
        text = "" if token == "[M]" or (token == "[EOS]" and not is_known) else cell_text(token)
        middle = (x + _CELL_WIDTH / 2 - 1, y + _CELL_HEIGHT / 2 - 1)
        draw.text(middle, text, ink_on(color) if is_known else (130, 130, 130), font, anchor="mm")
    return frame
