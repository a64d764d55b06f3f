# SPDX-License-Identifier: Apache-2.0
"""How RS_Tester scores, the toolkit in the repository of RSThinker.

Authors of GeoDiT wrote it. It reads boxes of two corners as one corner, width and height, uses no scores of boxes, and
calls a figure of its own CIDEr.

Source: the files that `RS_TESTER.sources` names. Its README and the comment on its IoU say that boxes are corners.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from geodit.data.schema import Box
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.bootstrap import Figures
from geodit.evaluation.metrics.ranked_boxes import VOC2007_RECALLS, mean_precision
from geodit.evaluation.protocols.answer_boxes import first_box, true_box
from geodit.evaluation.protocols.base import EvaluationProtocol, Quirk, Source, mean_figures
from geodit.evaluation.protocols.caption_scores import reference_captions, rouge_of_each

__all__ = [
    "RS_TESTER",
    "character_bleu",
    "eleven_point_precision",
    "greedy_scores",
    "misread_iou",
    "ngram_similarity",
]

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WORD_OF = {str(number): word for number, word in enumerate(_NUMBERS)}
# The weights of the precisions of 1 to 4 characters; those of the third figure sum to 0.99.
_BLEU_WEIGHTS = ((1.0,), (0.5, 0.5), (0.33, 0.33, 0.33), (0.25, 0.25, 0.25, 0.25))
_MARKUP = re.compile(r"\{[^}]*\}|<[^>]*>")
_DETECTION_THRESHOLDS = (0.25, 0.5, 0.75)
_GROUNDING_THRESHOLDS = (0.5, 0.75, 0.95)


def misread_iou(first: Box, second: Box) -> float:
    """Return the IoU of two boxes of corners whose last two numbers are taken for width and height.

    Args:
        first: (x1, y1, x2, y2) in pixels, read as a box from (x1, y1) to (x1 + x2, y1 + y2).
        second: Likewise.

    Returns:
        The IoU; 0 for two boxes without area, where RS_Tester stops with a division by zero.
    """
    (x1, y1, w1, h1), (x2, y2, w2, h2) = first, second
    across = max(0.0, min(x1 + w1, x2 + w2) - max(x1, x2))
    down = max(0.0, min(y1 + h1, y2 + h2) - max(y1, y2))
    shared = across * down
    union = w1 * h1 + w2 * h2 - shared
    return shared / union if union else 0.0


def eleven_point_precision(found: Sequence[Box], truths: Sequence[Box], threshold: float) -> float:
    """Return the 11-point average precision of the boxes of one answer, in the order in which they were written.

    Args:
        found: Boxes of the answer.
        truths: True boxes.
        threshold: A box is right if its misread IoU with its best true box is above this and no box before it took it.

    Returns:
        The average precision; 0 without true boxes or without boxes.
    """
    taken: set[int] = set()
    right = []
    for box in found:
        overlaps = [misread_iou(box, truth) for truth in truths]
        best = int(np.argmax(overlaps)) if overlaps else -1
        right.append(best >= 0 and overlaps[best] > threshold and best not in taken)
        if right[-1]:
            taken.add(best)
    if not found or not truths:
        return 0.0
    return float(mean_precision(np.atleast_2d(right), len(truths), VOC2007_RECALLS)[0])


def greedy_scores(found: Sequence[Box], truths: Sequence[Box], threshold: float) -> tuple[float, float, float]:
    """Return precision, recall and F1 of one answer; each is 0 where it is undefined.

    Args:
        found: Boxes of the answer, each of which takes the best true box that is left.
        truths: True boxes.
        threshold: A box is right if its misread IoU is at least this.
    """
    left = [*truths]
    right = 0
    for box in found:
        overlaps = [misread_iou(box, truth) for truth in left]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best >= 0 and overlaps[best] > 0 and overlaps[best] >= threshold:
            right += 1
            del left[best]
    precision = right / len(found) if found else 0.0
    recall = right / len(truths) if truths else 0.0
    return precision, recall, 2 * right / (len(found) + len(truths)) if right else 0.0


def character_bleu(caption: str, references: Sequence[str]) -> tuple[float, float, float, float]:
    """Return BLEU-1 to BLEU-4 of one caption, over characters, spaces included.

    NLTK's `sentence_bleu` takes lists of words; strings are lists of characters.

    Args:
        caption: The caption.
        references: Its references.
    """
    precisions = [_clipped(caption, references, order) for order in range(1, 5)]
    if not precisions[0][0]:
        return 0.0, 0.0, 0.0, 0.0
    length = len(caption)
    closest = min((len(reference) for reference in references), key=lambda other: (abs(other - length), other))
    brevity = 1.0 if length > closest else math.exp(1 - closest / length)
    logs = [math.log(hits / total) if hits else math.log(sys.float_info.min) for hits, total in precisions]
    one, two, three, four = (
        brevity * math.exp(sum(weight * log for weight, log in zip(weights, logs, strict=False)))
        for weights in _BLEU_WEIGHTS
    )
    return one, two, three, four


def ngram_similarity(caption: str, reference: str) -> float:
    """Return what RS_Tester calls CIDEr: the mean of eight similarities to the first reference, from 0 to 1.

    For each of 1 to 4 words: the share of common word groups, by the longer text, and the cosine of the two texts'
    TF-IDF vectors over these two texts alone, as scikit-learn makes them.

    Args:
        caption: The caption.
        reference: Its first reference.

    Returns:
        The similarity; 0 if both texts have fewer than four words, as a division by zero is caught.
    """
    total = 0.0
    for order in range(1, 5):
        counts = [Counter(_groups(text.split(), order)) for text in (caption, reference)]
        longest = max(of_text.total() for of_text in counts)
        cosine = _tfidf_cosine(caption, reference, order)
        if not longest or cosine is None:
            return 0.0
        total += (counts[0] & counts[1]).total() / longest + cosine
    return total / 8


def _tfidf_cosine(caption: str, reference: str, order: int) -> float | None:
    """Return the cosine of two texts, `None` if neither has a group of so many words of at least two letters."""
    texts = [re.findall(r"\b\w\w+\b", text.lower()) for text in (caption, reference)]
    counts = [Counter(_groups(words, order)) for words in texts]
    groups = sorted({*counts[0], *counts[1]})
    if not groups:
        return None
    weights = [math.log(3 / (1 + sum(group in of_text for of_text in counts))) + 1 for group in groups]
    first, second = (
        np.asarray([of_text[group] * weight for group, weight in zip(groups, weights, strict=True)])
        for of_text in counts
    )
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths else 0.0


def _groups(words: Sequence[Hashable], order: int) -> list[tuple[Hashable, ...]]:
    return [tuple(words[place : place + order]) for place in range(len(words) - order + 1)]


def _clipped(caption: str, references: Sequence[str], order: int) -> tuple[int, int]:
    """Return how many groups of characters of a caption some reference has, at most as often, and how many it has."""
    groups = Counter(_groups(caption, order))
    most: Counter[tuple[Hashable, ...]] = Counter()
    for reference in references:
        most |= Counter(_groups(reference, order))
    return (groups & most).total(), max(1, groups.total())


def _captions(answers: Sequence[AnswerRecord]) -> Figures:
    captions = [_MARKUP.sub("", answer.text) for answer in answers]
    references = [reference_captions(answer) for answer in answers]
    bleu = np.asarray(
        [character_bleu(caption, of_image) for caption, of_image in zip(captions, references, strict=True)]
    )
    firsts = [of_image[:1] for of_image in references]
    return mean_figures(
        {
            **{f"character_bleu{order}": bleu[:, order - 1] for order in range(1, 5)},
            "rouge_l": rouge_of_each(captions, firsts, "rougeL"),
            "ngram_similarity": [
                ngram_similarity(caption, first) for caption, (first,) in zip(captions, firsts, strict=True)
            ],
        }
    )


def _grounding(answers: Sequence[AnswerRecord]) -> Figures:
    found = [first_box(answer) for answer in answers]
    iou = np.asarray(
        [
            misread_iou(box, true_box(answer)) if box is not None else 0.0
            for box, answer in zip(found, answers, strict=True)
        ]
    )
    shares = {
        f"accuracy_{threshold * 100:.0f}": (iou >= threshold).astype(np.float64) for threshold in _GROUNDING_THRESHOLDS
    }
    return mean_figures({**shares, "mean_iou": iou})


def _detection(answers: Sequence[AnswerRecord]) -> Figures:
    values: dict[str, list[float]] = {}
    for answer in answers:
        found, truths = answer.boxes, answer.question.boxes
        for threshold in _DETECTION_THRESHOLDS:
            scores = (
                eleven_point_precision(found, truths, threshold),
                *greedy_scores(found, truths, threshold),
            )
            for name, score in zip(("ap", "precision", "recall", "f1"), scores, strict=True):
                values.setdefault(f"{name}_{threshold * 100:.0f}", []).append(score)
    return mean_figures(values)


def _questions(answers: Sequence[AnswerRecord]) -> Figures:
    return mean_figures({"accuracy": [_contains(answer.text, answer.question.answer) for answer in answers]})


def _contains(given: str, truth: str) -> bool:
    given, truth = given.lower(), truth.lower()
    return truth in given or (truth in _WORD_OF and _WORD_OF[truth] in given)


def _classes(answers: Sequence[AnswerRecord]) -> Figures:
    return mean_figures(
        {"accuracy": [_squeeze(answer.question.answer) in _squeeze(answer.text) for answer in answers]}
    )


def _squeeze(text: str) -> str:
    return re.sub("[_ -]", "", text.lower())


RS_TESTER = EvaluationProtocol(
    name="rs_tester",
    description="RS_Tester of RSThinker: corners read as width and height, AP per question, n-grams called CIDEr",
    sources=(
        Source(
            "minglangL/RSThinker",
            "7c5c00ce2c0f145ce3618bf02d7388d84061b0a8",
            ("RS_Tester/metrics.py", "RS_Tester/configs/default.yaml", "RS_Tester/config.py"),
        ),
    ),
    quirks=(
        Quirk(
            "corners_read_as_size",
            ("ground", "detect"),
            "The second corner of a box is read as its width and height, so that boxes far from the upper left "
            "become large and overlap. In an image of 800 pixels a box of 20 pixels that is shifted by its own "
            "side counts as a hit in 701 of 761 places, 92%.",
        ),
        Quirk(
            "ap_per_question",
            ("detect",),
            "AP is computed for each question, from the boxes in the order in which they were written, without "
            "scores, at 11 points, and averaged over questions: one with one object weighs as much as one with "
            "fifty.",
        ),
        Quirk(
            "empty_question_is_zero",
            ("detect",),
            "A question without true boxes has an AP and an F1 of 0, whatever is answered.",
        ),
        Quirk(
            "no_class",
            ("detect",),
            "The class of a box is not compared.",
        ),
        Quirk(
            "ngrams_called_cider",
            ("caption",),
            "What is called CIDEr is a mean of n-gram overlaps and cosines, from 0 to 1. It is 0 if caption and "
            "reference have fewer than four words each, even if they are equal.",
        ),
        Quirk(
            "bleu_of_characters",
            ("caption",),
            "BLEU counts characters, not words, and is averaged over captions; the weights of BLEU-3 sum to 0.99.",
        ),
        Quirk(
            "first_reference",
            ("caption",),
            "ROUGE-L and what is called CIDEr use the first reference only.",
        ),
        Quirk(
            "contained_answer",
            ("vqa", "classify"),
            'An answer that contains the true one is right: "11" where it is "1".',
        ),
        Quirk(
            "contained_number_word",
            ("vqa",),
            'A number from 0 to 12 is also right as a word inside of another: "none" for "1", "north" for "0".',
        ),
    ),
    scorers={
        "caption": _captions,
        "ground": _grounding,
        "detect": _detection,
        "vqa": _questions,
        "classify": _classes,
    },
    headlines={
        "caption": "ngram_similarity",
        "ground": "accuracy_50",
        "detect": "ap_50",
        "vqa": "accuracy",
        "classify": "accuracy",
    },
    shares={
        "ground": ("accuracy_50", "accuracy_75", "accuracy_95"),
        "vqa": ("accuracy",),
        "classify": ("accuracy",),
    },
    left_out={
        "caption.meteor": "NLTK's METEOR needs WordNet, a download",
        "caption.rouge": "only where rouge-score is not installed: pip install 'geodit[rouge]'",
        "vqa.counting": "the figures of its counting sets, which are no task of ours: counts are questions here",
    },
)
