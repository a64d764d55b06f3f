# SPDX-License-Identifier: Apache-2.0
"""Scores of captions that several protocols share, by the libraries that the projects use."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol

from geodit.evaluation.answers import AnswerRecord

__all__ = ["reference_captions", "rouge_of_each"]


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
