# SPDX-License-Identifier: Apache-2.0
"""Scores of boxes, from the probabilities of the tokens that they are written with.

A score orders boxes, and should be close to the share of boxes of that score that are right.
`benchmarks/box_scores.py` compares the rules by both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["BOX_SCORES", "DEFAULT_BOX_SCORE", "BoxScore", "box_confidences", "get_box_score"]

BoxScore = Callable[[Sequence[float]], float]
"""From the probabilities of a box's tokens, one or more, each in [0, 1], to the box's score in [0, 1]."""


def _geometric_mean(confidences: Sequence[float]) -> float:
    # A probability of zero comes from rounding alone: the token was the most probable of all.
    return math.exp(sum(math.log(max(value, 1e-12)) for value in confidences) / len(confidences))


def _arithmetic_mean(confidences: Sequence[float]) -> float:
    return math.fsum(confidences) / len(confidences)


def _first(confidences: Sequence[float]) -> float:
    return confidences[0]


BOX_SCORES: Mapping[str, BoxScore] = MappingProxyType(
    {
        "geometric_mean": _geometric_mean,
        "arithmetic_mean": _arithmetic_mean,
        "product": math.prod,
        "least": min,
        "first": _first,
    }
)
"""The rules by name: a mean of the probabilities, their product, the least, or that of the first token."""

DEFAULT_BOX_SCORE = "geometric_mean"
"""The rule of `GeoDiTPipeline`."""


def get_box_score(name: str) -> BoxScore:
    """Look a rule up.

    Args:
        name: A key of `BOX_SCORES`.

    Raises:
        ValueError: If there is none of that name; the message lists those there are.
    """
    if name not in BOX_SCORES:
        raise ValueError(f"unknown box_score {name!r}: choose one of {', '.join(BOX_SCORES)}")
    return BOX_SCORES[name]


def box_confidences(
    processor: GeoDiTProcessor, ids: Sequence[int], image_size: tuple[int, int], confidences: Sequence[float]
) -> list[tuple[float, ...]]:
    """Split the probabilities of an answer's tokens by the boxes that the tokens write.

    Args:
        processor: The model's processor.
        ids: The L tokens of the canvas.
        image_size: (height, width) of the image in pixels.
        confidences: The L probabilities of the tokens.

    Returns:
        For each box that `processor.box_codec` reads, in order, the probabilities of its tokens: those after the
        box before it, labels and separators among them, up to its last one.

    Raises:
        ValueError: If there is not one probability per token.
    """
    if len(ids) != len(confidences):
        raise ValueError(f"there are {len(ids)} tokens but {len(confidences)} confidences; give one per token")
    codec = processor.box_codec
    text = cast(str, processor.decode_canvas(list(ids)))
    # Where in the text each token ends, whatever the tokenizer: the length of the text up to it.
    token_ends = [len(processor.decode_canvas(list(ids[: count + 1]))) for count in range(len(ids))]
    found = []
    start = first = 0
    for end in codec.box_ends(text):
        last = next((index for index, reached in enumerate(token_ends) if reached >= end), len(ids) - 1)
        # A complete box may still be refused, for instance because its corners are swapped.
        if codec.decode(text[start:end], image_size).boxes:
            found.append(tuple(confidences[min(first, last) : last + 1]))
        start, first = end, last + 1
    return found
