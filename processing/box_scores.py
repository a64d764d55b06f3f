# SPDX-License-Identifier: Apache-2.0
"""Scores of boxes, from the probabilities of the tokens that they are written with.

A score orders boxes, and should be close to the share of boxes of that score that are right.
`benchmarks/box_scores.py` compares the rules by both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from geodit.modeling_geodit.slots_geodit import FinishedAnswer
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = [
    "BOX_SCORES",
    "DEFAULT_BOX_SCORE",
    "BoxScore",
    "BoxTokens",
    "get_box_score",
    "read_box_tokens",
    "score_boxes",
]


@dataclass(frozen=True)
class BoxTokens:
    """What the network said of the tokens of one box, one or more, when they were committed.

    Args:
        confidences: The probability of each token, in [0, 1].
        end_probability: The probability, in [0, 1], that the answer ended in front of the box: that of EOS in the
            place of the box's first token.
    """

    confidences: tuple[float, ...]
    end_probability: float


BoxScore = Callable[[BoxTokens], float]
"""From what the network said of a box's tokens to the box's score in [0, 1]."""


def _geometric_mean(tokens: BoxTokens) -> float:
    # A probability of zero comes from rounding alone: the token was the most probable of all.
    return math.exp(sum(math.log(max(value, 1e-12)) for value in tokens.confidences) / len(tokens.confidences))


def _arithmetic_mean(tokens: BoxTokens) -> float:
    return math.fsum(tokens.confidences) / len(tokens.confidences)


def _product(tokens: BoxTokens) -> float:
    return math.prod(tokens.confidences)


def _least(tokens: BoxTokens) -> float:
    return min(tokens.confidences)


def _first(tokens: BoxTokens) -> float:
    return tokens.confidences[0]


def _existence(tokens: BoxTokens) -> float:
    return 1 - tokens.end_probability


BOX_SCORES: Mapping[str, BoxScore] = MappingProxyType(
    {
        "geometric_mean": _geometric_mean,
        "arithmetic_mean": _arithmetic_mean,
        "product": _product,
        "least": _least,
        "first": _first,
        "existence": _existence,
    }
)
"""The rules by name: a mean of the probabilities, their product, the least, that of the first token, or that of there
being a box at all rather than the end of the answer."""

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


def read_box_tokens(
    processor: GeoDiTProcessor,
    ids: Sequence[int],
    image_size: tuple[int, int],
    confidences: Sequence[float],
    end_probabilities: Sequence[float],
) -> list[BoxTokens]:
    """Split the probabilities of an answer's tokens by the boxes that the tokens write.

    Args:
        processor: The model's processor.
        ids: The L tokens of the canvas.
        image_size: (height, width) of the image in pixels.
        confidences: The L probabilities of the tokens.
        end_probabilities: The L probabilities of EOS in their places.

    Returns:
        For each box that `processor.box_codec` reads, in order, what was said of its tokens: those after the box
        before it, labels and separators among them, up to its last one.

    Raises:
        ValueError: If there is not one probability of each kind per token.
    """
    for name, values in (("confidences", confidences), ("end probabilities", end_probabilities)):
        if len(ids) != len(values):
            raise ValueError(f"there are {len(ids)} tokens but {len(values)} {name}; give one per token")
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
            begin = min(first, last)
            found.append(BoxTokens(tuple(confidences[begin : last + 1]), end_probabilities[begin]))
        start, first = end, last + 1
    return found


def score_boxes(
    processor: GeoDiTProcessor, answer: FinishedAnswer, image_size: tuple[int, int], rule: BoxScore
) -> list[float]:
    """Score the boxes of an answer.

    Args:
        processor: The model's processor.
        answer: The answer as it was generated.
        image_size: (height, width) of the image in pixels.
        rule: From what the network said of a box's tokens to its score.

    Returns:
        One score for each box that the processor reads, in order, in [0, 1].
    """
    ids, confidences = answer.canvas.tolist(), answer.confidences.tolist()
    tokens = read_box_tokens(processor, ids, image_size, confidences, answer.end_probabilities.tolist())
    return [rule(of_box) for of_box in tokens]
