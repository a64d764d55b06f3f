# SPDX-License-Identifier: Apache-2.0
"""Reads the boxes of an answer that is not finished: those whose tokens are all committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from geodit.processing.box_scores import BoxScore, read_box_tokens

if TYPE_CHECKING:
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["PartialBox", "read_partial_boxes"]


class PartialBox(NamedTuple):
    """A box of an answer that is not finished.

    Args:
        box: `[x1, y1, x2, y2]` in pixels of the image.
        label: What it is.
        score: In [0, 1].
        start: Place of its first token on the canvas.
        stop: One past the last.
    """

    box: list[float]
    label: str
    score: float
    start: int
    stop: int


def read_partial_boxes(
    processor: GeoDiTProcessor,
    task: str,
    query: str,
    ids: Sequence[int],
    image_size: tuple[int, int],
    confidences: Sequence[float],
    end_probabilities: Sequence[float],
    *,
    mask_token_id: int,
    rule: BoxScore,
    tokens_per_box: int | None = None,
) -> list[PartialBox]:
    """Read the boxes whose tokens are all committed.

    Where a box begins is known of the tokens before the first mask, and of all tokens if every box has as many.

    Args:
        processor: The model's processor.
        task: A task that is answered by boxes.
        query: What was asked.
        ids: The L tokens of the canvas, with `mask_token_id` where nothing is committed.
        image_size: (height, width) of the image in pixels.
        confidences: The L probabilities of the tokens.
        end_probabilities: The L probabilities of EOS in their places.
        mask_token_id: Id of `[M]`.
        rule: From what the network said of a box's tokens to its score.
        tokens_per_box: How many tokens each box has, and nothing lies between two boxes; `None` if that is not known.

    Returns:
        The boxes in the order of their tokens.
    """
    known = [token != mask_token_id for token in ids]
    first_mask = known.index(False) if False in known else len(known)
    if tokens_per_box is None:
        spans = _spans_before(processor, ids[:first_mask])
    else:
        starts = range(0, len(ids) - tokens_per_box + 1, tokens_per_box)
        spans = [(at, at + tokens_per_box) for at in starts if all(known[at : at + tokens_per_box])]
    found = []
    for start, stop in spans:
        part = slice(start, stop)
        text = str(processor.decode_canvas(list(ids[part])))
        # A label holds for the boxes after it as well.
        context = str(processor.decode_canvas(list(ids[:stop]))) if tokens_per_box is None else text
        boxes = processor.post_process_generation(text, task, image_size, query=query)["boxes"]
        labels = processor.post_process_generation(context, task, image_size, query=query)["labels"]
        scores = read_box_tokens(processor, ids[part], image_size, confidences[part], end_probabilities[part])
        if boxes and labels and scores:
            found.append(PartialBox(list(boxes[-1]), str(labels[-1]), rule(scores[-1]), start, stop))
    return found


def _spans_before(processor: GeoDiTProcessor, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return where the complete boxes of some tokens begin and end."""
    text = str(processor.decode_canvas(list(ids)))
    reached = [len(str(processor.decode_canvas(list(ids[: count + 1])))) for count in range(len(ids))]
    spans = []
    start = 0
    for end in processor.box_codec.box_ends(text):
        stop = next((index for index, length in enumerate(reached) if length >= end), len(ids) - 1) + 1
        spans.append((start, stop))
        start = stop
    return spans
