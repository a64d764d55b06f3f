# SPDX-License-Identifier: Apache-2.0
"""Which boxes of an answer are right, and which objects it missed; and how far scores of boxes can be relied on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from geodit.evaluation.answer_rules import get_answer_rule
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.metrics.box_scores import expected_calibration_error
from geodit.processing.box_ops import box_iou, match_boxes

__all__ = ["BoxOutcome", "Reliability", "ScoreBin", "judge_answer", "measure_reliability"]

_IOU = 0.5
_BINS = 10


@dataclass(frozen=True)
class BoxOutcome:
    """What the boxes of an answer are worth, by the strict rule.

    Args:
        right: Whether each box of the answer is right.
        found: Whether each true box was found.
    """

    right: tuple[bool, ...]
    found: tuple[bool, ...]

    @property
    def name(self) -> str:
        """`"wrong"` with a wrong box, otherwise `"missed"` with an object that was not found, otherwise `"right"`."""
        if not all(self.right):
            return "wrong"
        return "right" if all(self.found) else "missed"


@dataclass(frozen=True)
class ScoreBin:
    """Boxes of scores close to each other.

    Args:
        mean_score: Mean of their scores.
        share_right: Share of them that is right.
        num_boxes: How many there are.
    """

    mean_score: float
    share_right: float
    num_boxes: int


@dataclass(frozen=True)
class Reliability:
    """How close scores of boxes are to the share of right boxes of that score.

    Args:
        bins: The bins of equal width that have boxes, from low to high scores.
        calibration_error: Expected calibration error, over all bins.
    """

    bins: tuple[ScoreBin, ...]
    calibration_error: float

    @property
    def num_boxes(self) -> int:
        """Number of boxes."""
        return sum(one.num_boxes for one in self.bins)


def judge_answer(answer: AnswerRecord) -> BoxOutcome:
    """Match the upright boxes of an answer with true ones of their class at an IoU of at least 0.5.

    In order of falling score each box takes the true box of the greatest IoU that is left, as COCO does. Of an answer
    to a question about one object the first box counts, whatever its class. An answer that did not parse has no box.

    Args:
        answer: An answer of boxes.
    """
    question = answer.question
    grounding = question.task == "ground"
    boxes = answer.boxes if answer.parsed else ()
    boxes = boxes[:1] if grounding else boxes
    right, found = [False] * len(boxes), [False] * len(question.boxes)
    rule = get_answer_rule("strict")
    labels = [""] * len(boxes) if grounding else [rule(label) for label in answer.labels[: len(boxes)]]
    true_labels = [""] * len(found) if grounding else [rule(label) for label in question.labels]
    scores = answer.scores[: len(boxes)] or (0.0,) * len(boxes)
    order = np.argsort([-score for score in scores], kind="stable").tolist()
    for name in dict.fromkeys(labels):
        mine = [index for index in order if labels[index] == name]
        true = [index for index, label in enumerate(true_labels) if label == name]
        if true:
            overlaps = box_iou([boxes[index] for index in mine], [question.boxes[index] for index in true])
            for box, true_box in match_boxes(overlaps, _IOU, order=range(len(mine))):
                right[mine[box]] = found[true[true_box]] = True
    return BoxOutcome(tuple(right), tuple(found))


def measure_reliability(answers: Iterable[AnswerRecord]) -> Reliability | None:
    """Compare the scores of boxes with the shares of them that are right.

    Args:
        answers: Answers of any tasks.

    Returns:
        The bins; `None` if no box has a score.
    """
    scores: list[float] = []
    right: list[bool] = []
    for answer in answers:
        if answer.parsed and answer.scores:
            outcome = judge_answer(answer)
            scores += answer.scores[: len(outcome.right)]
            right += outcome.right
    if not scores:
        return None
    places = np.minimum((np.asarray(scores) * _BINS).astype(np.int64), _BINS - 1)
    bins = []
    for place in np.unique(places):
        members = places == place
        bins.append(
            ScoreBin(
                float(np.asarray(scores)[members].mean()),
                float(np.asarray(right)[members].mean()),
                int(members.sum()),
            )
        )
    return Reliability(tuple(bins), expected_calibration_error(scores, right, _BINS))
