# SPDX-License-Identifier: Apache-2.0
"""Rewards that need no judge: an answer is compared with the true one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.text import normalize_answer
from geodit.processing.box_ops import box_iou, match_boxes

RewardFunction = Callable[[AnswerRecord], float | None]
"""Rewards an answer, or returns `None` where it has nothing to say about the task."""


def iou_reward(answer: AnswerRecord) -> float | None:
    """Reward how well the boxes lie, for `ground` and `detect`: from 0 to 1.

    For `ground` it is the IoU of the first box, which is the one that the metric counts. For `detect` it is the sum of
    the IoUs of boxes and true boxes of the same label, matched one to one from the best pair on, over the number of
    boxes or of true boxes, whichever is larger; it is 1 where nothing is there and nothing was found.
    """
    question = answer.question
    if question.task not in ("ground", "detect"):
        return None
    if not answer.parsed:
        return 0.0
    if question.task == "ground":
        return float(box_iou(answer.boxes[:1], question.boxes[:1])[0, 0]) if answer.boxes else 0.0
    larger = max(len(answer.boxes), len(question.boxes))
    if not larger:
        return 1.0
    return _matched_iou(answer) / larger


def hit_reward(answer: AnswerRecord) -> float | None:
    """Reward a `ground` answer with 1 for an IoU of at least 0.5, as the metric has it, and with 0 otherwise."""
    if answer.question.task != "ground":
        return None
    return float((iou_reward(answer) or 0.0) >= 0.5)


def exact_reward(answer: AnswerRecord) -> float | None:
    """Reward a `vqa` or `classify` answer with 1 if it is right but for case, punctuation and spacing, else with 0."""
    if answer.question.task not in ("vqa", "classify"):
        return None
    return float(answer.parsed and normalize_answer(answer.text) == normalize_answer(answer.question.answer))


def parse_reward(answer: AnswerRecord) -> float:
    """Reward an answer with 1 if it can be read as one to its task, else with 0."""
    return float(answer.parsed)


REWARDS: Mapping[str, RewardFunction] = MappingProxyType(
    {"iou": iou_reward, "hit": hit_reward, "exact": exact_reward, "parse": parse_reward}
)
"""The rewards that a recipe can name."""


def resolve_rewards(names: Sequence[str]) -> dict[str, RewardFunction]:
    """Return the rewards of these names.

    Raises:
        ValueError: for a name that there is none of, or no name.
    """
    unknown = [name for name in names if name not in REWARDS]
    if unknown or not names:
        raise ValueError(f"reward_functions must name at least one of {', '.join(REWARDS)}, got {list(names)}.")
    return {name: REWARDS[name] for name in names}


def _matched_iou(answer: AnswerRecord) -> float:
    """Sum the IoUs of the pairs that are matched."""
    question = answer.question
    iou = box_iou(answer.boxes, question.boxes)
    labels, true_labels = ([normalize_answer(label) for label in names] for names in (answer.labels, question.labels))
    iou[np.array([[label != true for true in true_labels] for label in labels], dtype=bool).reshape(iou.shape)] = 0.0
    return sum(float(iou[pair]) for pair in match_boxes(iou))
