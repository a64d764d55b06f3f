# SPDX-License-Identifier: Apache-2.0
"""How EarthDial scores: precision without recall, and a class by the words that it shares with the true one.

Source: Soni et al., "EarthDial: Turning multi-sensory earth observations to interactive dialogues", CVPR 2025, and the
files that `EARTHDIAL.sources` names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.bootstrap import Figures
from geodit.evaluation.metrics.polygon_iou import iou_of_polygons
from geodit.evaluation.protocols.answer_boxes import outlines, true_outlines
from geodit.evaluation.protocols.base import EvaluationProtocol, Quirk, Source, mean_figures
from geodit.evaluation.protocols.caption_scores import reference_captions, rouge_of_each

__all__ = ["EARTHDIAL", "shared_words", "split_words"]

# What NLTK's word tokenizer sets apart in short answers: commas and colons, but not before a digit; other marks and
# brackets; a full stop at the end.
_COMMA = re.compile(r"([,:])([^\d]|$)")
_MARK = re.compile(r"(--|\.{2,}|[;@#$%&?!*()\[\]{}<>]|(?<!\.)\.(?=[\])}>]*$))")


def split_words(text: str) -> list[str]:
    """Split a text without its spaces into the words and marks that NLTK's `word_tokenize` finds.

    Quotation marks and apostrophes stay in their word, which is simpler than NLTK's rules.
    """
    apart = _MARK.sub(r" \1 ", text.replace(" ", "").lower())
    return _COMMA.sub(r" \1 \2", apart).split()


def shared_words(truth: str, given: str) -> float:
    """Return how many different words and marks two answers share, per word of the true one, repetitions counted.

    Args:
        truth: The true answer.
        given: The answer that was given.
    """
    words = split_words(truth.strip())
    shared = {*words} & {*split_words(given.strip())}
    return len(shared) / len(words) if shared else 0.0


def _texts(answers: Sequence[AnswerRecord]) -> Figures:
    return mean_figures({"accuracy": [shared_words(answer.question.answer, answer.text) for answer in answers]})


def _boxes(answers: Sequence[AnswerRecord]) -> Figures:
    # Right boxes and all boxes of each answer.
    counts = np.zeros((len(answers), 2))
    for row, answer in zip(counts, answers, strict=True):
        found, truths = outlines(answer), true_outlines(answer)
        row[:] = sum(any(iou_of_polygons(box, truth) >= 0.5 for truth in truths) for box in found), len(found)
    is_single = np.asarray([len(answer.question.boxes) == 1 for answer in answers])

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        drawn, single = counts[indices], is_single[indices]
        return {
            "precision_50": _precision(drawn),
            "precision_50_single": _precision(drawn[single]),
            "precision_50_multiple": _precision(drawn[~single]),
        }

    return figures


def _precision(counts: NDArray[np.float64]) -> float | None:
    """Return the share of right boxes; 0 without boxes, and `None` without questions."""
    if not len(counts):
        return None
    right, boxes = counts.sum(axis=0)
    return float(right / boxes) if boxes else 0.0


def _captions(answers: Sequence[AnswerRecord]) -> Figures:
    captions = [answer.text for answer in answers]
    references = [reference_captions(answer) for answer in answers]
    return mean_figures(
        {
            "rouge_1": rouge_of_each(captions, references, "rouge1"),
            "rouge_l": rouge_of_each(captions, references, "rougeL"),
        }
    )


EARTHDIAL = EvaluationProtocol(
    name="earthdial",
    description="EarthDial's scripts: precision of boxes without recall, ROUGE of captions, shared words of answers",
    sources=(
        Source(
            "hiyamdebary/EarthDial",
            "3a7cf358e3320ea34939937352341609ad4c0aec",
            (
                "src/earthdial/eval/rs_detection/eval.py",
                "src/earthdial/eval/rs_image_caption/eval.py",
                "src/earthdial/eval/rs_vqa/eval.py",
            ),
        ),
        Source(
            "hiyamdebary/EarthDial",
            "9f677e4fa6b92c5e0622d00ab3eb5cd51253f9ae",
            ("src/earthdial/eval/rs_classification/eval.py",),
        ),
    ),
    quirks=(
        Quirk(
            "precision_only",
            ("ground", "detect"),
            "Only the share of predicted boxes that are right is reported. Missed objects and empty answers cost "
            "nothing: one right box in the whole set is enough for a precision of 1.",
        ),
        Quirk(
            "many_boxes_on_one_object",
            ("ground", "detect"),
            "A true box can be matched any number of times: a right box that is repeated counts as often.",
        ),
        Quirk(
            "no_class",
            ("detect",),
            "The class of a box is not compared.",
        ),
        Quirk(
            "shared_words",
            ("vqa", "classify"),
            "What is called accuracy is the number of different words that both answers have, divided by the "
            "number of words of the true one. Spaces are removed before, so that only punctuation separates "
            'words, and it counts as a word: "river,road" reaches 1/3 of "forest,water", and "a,b,c" reaches 4/5 '
            "of itself.",
        ),
        Quirk(
            "mean_over_references",
            ("caption",),
            "ROUGE is the mean over all references of a caption, not the best of them.",
        ),
    ),
    scorers={"caption": _captions, "ground": _boxes, "detect": _boxes, "vqa": _texts, "classify": _texts},
    headlines={
        "caption": "rouge_l",
        "ground": "precision_50",
        "detect": "precision_50",
        "vqa": "accuracy",
        "classify": "accuracy",
    },
    left_out={
        "caption.meteor": "NLTK's METEOR needs WordNet, a download",
        "caption.rouge": "only where rouge-score is not installed: pip install 'geodit[rouge]'",
        "detect.precision_small": "records do not have the size groups of GeoChat's data",
    },
)
