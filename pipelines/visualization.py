# SPDX-License-Identifier: Apache-2.0
"""Pictures of answers: boxes on the image, and the order in which the canvas was denoised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from geodit.processing.turned_boxes_geodit import Corners

if TYPE_CHECKING:
    # Not for use: the data packages need `datasets`, which answering does without.
    from geodit.data.schema import Question

Color = tuple[int, int, int]

# Least length of the short side of a picture, so that labels can be read on small images.
_SHORT_SIDE = 480
# With more boxes than this, a text that is wider than its box is shortened.
_CROWD = 20
# Paul Tol's "bright" palette, which stays distinct for all kinds of color vision; without its gray.
_LABEL_COLORS: tuple[Color, ...] = (
    (238, 102, 119),
    (102, 204, 238),
    (204, 187, 68),
    (170, 51, 119),
    (34, 136, 51),
    (68, 119, 170),
)
# Every fourth of viridis, from the first step to the last; dark to light, so that it also reads in gray.
_STEP_COLORS: tuple[Color, ...] = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_MASK_COLOR: Color = (225, 225, 225)
_BLACK: Color = (0, 0, 0)
_WHITE: Color = (255, 255, 255)


def draw_boxes(
    image: Image.Image | NDArray[np.uint8],
    boxes: Sequence[Sequence[float]],
    labels: Sequence[str] | None = None,
    scores: Sequence[float] | None = None,
    corners: Sequence[Corners | None] | None = None,
) -> Image.Image:
    """Draws boxes with their labels and scores.

    Args:
        image: the image, or its pixels (H, W, 3) as uint8. It is left as it is.
        boxes: `[x1, y1, x2, y2]` in pixels of the image.
        labels: one a box; boxes of one label have one color.
        scores: one a box.
        corners: the four corners of each box that is turned, and None for each upright one.

    Returns:
        A picture of the image, enlarged by a whole factor if its short side is under 480 pixels. Among many
        boxes a text that is wider than its box gives way to the score alone, or to nothing.

    Raises:
        ValueError: if there are not as many labels, scores or corners as boxes.
    """
    for name, values in (("labels", labels), ("scores", scores), ("corners", corners)):
        if values is not None and len(values) != len(boxes):
            raise ValueError(f"there must be one of {name} a box: {len(boxes)} boxes, {len(values)} {name}")
    picture = (image if isinstance(image, Image.Image) else Image.fromarray(image)).convert("RGB")
    factor = max(1, -(-_SHORT_SIDE // min(picture.size)))
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    unit = max(1, round(min(picture.size) / 300))
    font = ImageFont.load_default(12 if len(boxes) > _CROWD else max(12, 9 * unit))
    draw = ImageDraw.Draw(picture)
    names = list(dict.fromkeys(labels or ()))
    # Texts are drawn last, so that no box crosses them.
    texts: list[tuple[tuple[float, float], str, Color]] = []
    for index, box in enumerate(boxes):
        label = labels[index] if labels is not None else ""
        color = _LABEL_COLORS[names.index(label) % len(_LABEL_COLORS) if label else 0]
        x1, y1, x2, y2 = (value * factor for value in box)
        turned = None if corners is None else corners[index]
        if turned is None:
            draw.rectangle((x1 - unit, y1 - unit, x2 + unit, y2 + unit), outline=_BLACK, width=1)
            draw.rectangle((x1, y1, x2, y2), outline=color, width=unit + 1)
        else:
            ring = [(x * factor, y * factor) for x, y in (*turned, turned[0])]
            draw.line(ring, fill=_BLACK, width=unit + 3, joint="curve")
            draw.line(ring, fill=color, width=unit + 1, joint="curve")
        score = f"{scores[index]:.2f}" if scores is not None else ""
        candidates = [" ".join(part for part in (label, score) if part), score]
        if len(boxes) > _CROWD:
            candidates = [text for text in candidates if font.getlength(text) + 6 <= x2 - x1]
        if candidates and candidates[0]:
            texts.append(((x1, y1), candidates[0], color))
    for corner, text, color in texts:
        _draw_tag(draw, picture.size, corner, text, color, font)
    return picture


def draw_answer(image: Image.Image, question: Question, answer: Mapping[str, Any]) -> Image.Image:
    """Draws an answer beside the truth: boxes on the image, and what was asked and said below it.

    Args:
        image: the image that was asked about.
        question: what was asked, with the true answer; its boxes are labelled `true`.
        answer: what `GeoDiTProcessor.post_process_generation` returns.
    """
    boxes = [*question.boxes, *answer["boxes"]]
    labels = ["true"] * len(question.boxes) + list(answer["labels"])
    corners = [
        *(question.corners or [None] * len(question.boxes)),
        *(answer.get("corners") or [None] * len(answer["boxes"])),
    ]
    picture = draw_boxes(image, boxes, labels, corners=corners)
    truth = question.answer or _number_of_boxes(len(question.boxes))
    said = _number_of_boxes(len(answer["boxes"])) if answer["boxes"] else answer["text"] or "nothing"
    return _captioned(picture, (f"{question.task} {question.query}".strip(), f"answer: {said}", f"truth: {truth}"))


def draw_questions(image: Image.Image, questions: Sequence[Question]) -> Image.Image:
    """Draw an image with all that is asked about it: the boxes of detection on it, and the rest below.

    Args:
        image: The image.
        questions: What is asked about it, with answers.
    """
    # Boxes of grounding are mostly among those of detection.
    found = (
        seen
        for one in questions
        for seen in zip(one.boxes, one.labels, one.corners or [None] * len(one.boxes), strict=True)
    )
    boxes = list(dict.fromkeys(found))
    picture = draw_boxes(
        image,
        [box for box, _, _ in boxes],
        [label for _, label, _ in boxes],
        corners=[corners for _, _, corners in boxes],
    )
    return _captioned(picture, [_as_line(one) for one in questions])


def contact_sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Put pictures side by side, in rows that are as high as their highest picture.

    Args:
        pictures: At least one.
        columns: Pictures in a row.
    """
    gap = 8
    width = max(picture.width for picture in pictures)
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.height for picture in row) for row in rows]
    columns = min(columns, len(pictures))
    sheet = Image.new("RGB", (gap + (width + gap) * columns, gap + sum(height + gap for height in heights)), _WHITE)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            sheet.paste(picture, (gap + (width + gap) * column, top))
        top += height + gap
    return sheet


def _as_line(question: Question) -> str:
    """Return a question and its answer as a line of text."""
    asked = f"{question.task} {question.query}".strip()
    if question.task not in ("detect", "ground"):
        return f"{asked}: {question.answer}"
    if not question.boxes:
        return f"{asked}: none"
    return f"{asked}: {_number_of_boxes(len(question.boxes))}"


def _number_of_boxes(number: int) -> str:
    return f"{number} box{'es' * (number != 1)}" if number else "none"


def _captioned(picture: Image.Image, texts: Sequence[str]) -> Image.Image:
    """Return a picture with lines of text below it."""
    font = ImageFont.load_default(14)
    lines = [line for text in texts for line in _wrap(text, font, picture.width - 12)]
    framed = Image.new("RGB", (picture.width, picture.height + 20 * len(lines) + 8), _WHITE)
    framed.paste(picture)
    draw = ImageDraw.Draw(framed)
    for number, line in enumerate(lines):
        draw.text((6, picture.height + 4 + 20 * number), line, _BLACK, font)
    return framed


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
    texts = [_cell_text(token) for token in tokens]
    cell_width = 12 + max(44, *(round(font.getlength(text)) for text in texts))
    cell_height, margin, gap = 28, 12, 24
    head = margin + round(font.getlength(f"step {num_steps}")) + 10
    columns = min(max_columns, len(tokens))
    blocks = -(-len(tokens) // columns)
    block_height = cell_height * (num_steps + 1) + gap
    picture = Image.new("RGB", (head + columns * cell_width + margin, blocks * block_height + margin), _WHITE)
    draw = ImageDraw.Draw(picture)
    for position, (text, commit_step) in enumerate(zip(texts, commit_steps, strict=True)):
        block, column = divmod(position, columns)
        top, left = margin + block * block_height, head + column * cell_width
        middle = left + cell_width / 2
        draw.text((middle, top + cell_height / 2), str(position + 1), _BLACK, font, anchor="mm")
        for step in range(num_steps):
            y = top + (step + 1) * cell_height
            if column == 0:
                draw.text((margin, y + cell_height / 2), f"step {step + 1}", _BLACK, font, anchor="lm")
            committed = step >= commit_step >= 0
            color = _step_color(commit_step, num_steps) if committed else _MASK_COLOR
            outline = _BLACK if step == commit_step else _WHITE
            draw.rectangle((left, y, left + cell_width - 2, y + cell_height - 2), color, outline)
            ink = _ink(color) if committed else (130, 130, 130)
            shown = text if committed else "[M]"
            draw.text((middle - 1, y + cell_height / 2 - 1), shown, ink, font, anchor="mm")
    return picture


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break a text between words into lines that are no wider; a word that is wider has a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _draw_tag(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    corner: tuple[float, float],
    text: str,
    color: Color,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Write on a filled ground above the box, or within it where the picture ends."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font)
    width, height = right - left + 6, bottom - top + 6
    x = min(max(corner[0], 0), max(size[0] - width, 0))
    y = corner[1] - height if corner[1] >= height else max(corner[1], 0)
    draw.rectangle((x, y, x + width, y + height), color)
    draw.text((x + 3 - left, y + 3 - top), text, _ink(color), font)


def _cell_text(token: str) -> str:
    """Return a token as it fits a cell: `<loc_12>` becomes `12`, white space becomes visible, long ones are cut."""
    if token.startswith("<loc_") and token.endswith(">"):
        return token[len("<loc_") : -1]
    text = token.strip() or "\u00b7"
    return text if len(text) <= 12 else f"{text[:11]}\u2026"


def _step_color(step: int, num_steps: int) -> Color:
    place = (len(_STEP_COLORS) - 1) * step / max(num_steps - 1, 1)
    index = min(int(place), len(_STEP_COLORS) - 2)
    low, high = np.array(_STEP_COLORS[index]), np.array(_STEP_COLORS[index + 1])
    red, green, blue = np.rint(low + (high - low) * (place - index)).astype(int).tolist()
    return red, green, blue


def _ink(ground: Color) -> Color:
    """Black or white, whichever stands out; weights of ITU-R BT.601."""
    red, green, blue = ground
    return _BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _WHITE
