# SPDX-License-Identifier: Apache-2.0
"""Pictures of answers: boxes on the image, and the order in which the canvas was denoised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geodit.data.drawing import (
    BLACK,
    WHITE,
    Color,
    contact_sheet,
    draw_answer,
    draw_boxes,
    draw_questions,
    ink_on,
)

__all__ = [
    "MASK_COLOR",
    "STEP_COLORS",
    "cell_text",
    "contact_sheet",
    "denoising_picture",
    "draw_answer",
    "draw_boxes",
    "draw_questions",
    "step_color",
]

# Every fourth of viridis, from the first step to the last; dark to light, so that it also reads in gray.
STEP_COLORS: tuple[Color, ...] = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
MASK_COLOR: Color = (225, 225, 225)


def denoising_picture(
    tokens: Sequence[str],
    commit_steps: Sequence[int],
    num_steps: int | None = None,
    max_columns: int = 16,
) -> Image.Image:
    """Draws the canvas after every step of denoising.

    A row is a step and a column is a position of the canvas. A cell is gray and shows `[M]` until its token
    is committed; from then on it shows the token, in the color of the step that committed it. A canvas longer
    than `max_columns` is broken into several such grids, one below the other.

    Args:
        tokens: (L,) the final tokens.
        commit_steps: (L,) the step, counted from 0, at which each was committed; -1 for what never was, after the
            end of the answer.
        num_steps: N, the rows; by default up to the last step that committed a token.
        max_columns: positions side by side.

    Raises:
        ValueError: if there are no tokens, not one step a token, or a step that is not below `num_steps`.
    """
    if not tokens or len(tokens) != len(commit_steps):
        raise ValueError(f"there must be one commit step a token: {len(tokens)} tokens, {len(commit_steps)} steps")
    if num_steps is None:
        num_steps = max(commit_steps) + 1
    if min(commit_steps) < -1 or max(commit_steps) >= num_steps:
        raise ValueError(f"commit steps must be from -1 to {num_steps - 1}, got {sorted(set(commit_steps))}")
    if max_columns < 1:
        raise ValueError(f"max_columns must be at least 1, got {max_columns}")
    font = ImageFont.load_default(16)
    texts = [cell_text(token) for token in tokens]
    cell_width = 12 + max(44, *(round(font.getlength(text)) for text in texts))
    cell_height, margin, gap = 28, 12, 24
    head = margin + round(font.getlength(f"step {num_steps}")) + 10
    columns = min(max_columns, len(tokens))
    blocks = -(-len(tokens) // columns)
    block_height = cell_height * (num_steps + 1) + gap
    picture = Image.new("RGB", (head + columns * cell_width + margin, blocks * block_height + margin), WHITE)
    draw = ImageDraw.Draw(picture)
    for position, (text, commit_step) in enumerate(zip(texts, commit_steps, strict=True)):
        block, column = divmod(position, columns)
        top, left = margin + block * block_height, head + column * cell_width
        middle = left + cell_width / 2
        draw.text((middle, top + cell_height / 2), str(position + 1), BLACK, font, anchor="mm")
        for step in range(num_steps):
            y = top + (step + 1) * cell_height
            if column == 0:
                draw.text((margin, y + cell_height / 2), f"step {step + 1}", BLACK, font, anchor="lm")
            committed = step >= commit_step >= 0
            color = step_color(commit_step, num_steps) if committed else MASK_COLOR
            outline = BLACK if step == commit_step else WHITE
            draw.rectangle((left, y, left + cell_width - 2, y + cell_height - 2), color, outline)
            ink = ink_on(color) if committed else (130, 130, 130)
            shown = text if committed else "[M]"
            draw.text((middle - 1, y + cell_height / 2 - 1), shown, ink, font, anchor="mm")
    return picture


def cell_text(token: str) -> str:
    """Return a token as it fits a cell: `<loc_12>` becomes `12`, white space becomes visible, long ones are cut."""
    if token.startswith("<loc_") and token.endswith(">"):
        return token[len("<loc_") : -1]
    text = token.strip() or "\u00b7"
    return text if len(text) <= 12 else f"{text[:11]}\u2026"


def step_color(step: int, num_steps: int) -> Color:
    """Return the color of a denoising step, counted from 0, of so many."""
    place = (len(STEP_COLORS) - 1) * step / max(num_steps - 1, 1)
    index = min(int(place), len(STEP_COLORS) - 2)
    low, high = np.array(STEP_COLORS[index]), np.array(STEP_COLORS[index + 1])
    red, green, blue = np.rint(low + (high - low) * (place - index)).astype(int).tolist()
    return red, green, blue
