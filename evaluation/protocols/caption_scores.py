# SPDX-License-Identifier: Apache-2.0
"""Scores of captions that several protocols share, by the libraries that the projects use."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.optional import import_optional

__all__ = ["cider_of_each", "reference_captions", "rouge_of_each"]


class _Score(Protocol):
    fmeasure: float


class _RougeScorer(Protocol):
    def score(self, target: str, prediction: str) -> dict[str, _Score]: ...


def reference_captions(answer: AnswerRecord) -> tuple[str, ...]:
    """Return the reference captions of a question, at least one.

    Raises:
        ValueError: If there are none.
    """
    captions = answer.question.references or tuple(filter(None, [answer.question.answer]))
    if not captions:
        raise ValueError(f"image {answer.image_id!r} has no reference caption; give at least one")
    return captions


def cider_of_each(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Return pycocoevalcap's CIDEr of each caption, on its scale of 0 to 10.

    Args:
        captions: N captions; words are separated by white space.
        references: The reference captions of each, whose words weigh by how many of the N lists they occur in.

    Returns:
        Array of shape (N,).
    """
    scorer = import_optional("pycocoevalcap.cider.cider").Cider()
    _, scores = scorer.compute_score(
        {index: list(of_image) for index, of_image in enumerate(references)},
        {index: [caption] for index, caption in enumerate(captions)},
    )
    return np.asarray(scores, dtype=np.float64)


def rouge_of_each(captions: Sequence[str], references: Sequence[Sequence[str]], kind: str) -> list[float] | None:
    """Return rouge_score's F-measure of each caption, with its stemmer, as the mean over the caption's references.

    Args:
        captions: N captions.
        references: The reference captions of each.
        kind: `"rouge1"` or `"rougeL"`.

    Returns:
        N figures from 0 to 1; `None` if rouge-score is not installed.
    """
    try:
        module = importlib.import_module("rouge_score.rouge_scorer")
    except ImportError:
        return None
    scorer: _RougeScorer = module.RougeScorer([kind], use_stemmer=True)
    return [
        sum(scorer.score(reference, caption)[kind].fmeasure for reference in of_image) / len(of_image)
        for caption, of_image in zip(captions, references, strict=True)
    ]
