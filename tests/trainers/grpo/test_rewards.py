# SPDX-License-Identifier: Apache-2.0
"""Rewards: what an answer is worth, by examples and by properties."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.data.schema import Question
from geodit.evaluation.answers import AnswerRecord
from geodit.processing.box_ops import box_iou
from geodit.trainers.grpo.rewards import exact_reward, hit_reward, iou_reward, parse_reward, resolve_rewards

TRUE_BOX = (0.0, 0.0, 10.0, 10.0)


def ground(*boxes, parsed=True):
    question = Question("ground", query="the ship", boxes=(TRUE_BOX,), labels=("ship",))
    return AnswerRecord("image", (96, 96), question, "", boxes, ("the ship",) * len(boxes), parsed, 8)


def detect(boxes, true_boxes, labels=None, true_labels=None):
    true_labels = ("ship",) * len(true_boxes) if true_labels is None else true_labels
    question = Question("detect", query="ship", boxes=tuple(true_boxes), labels=tuple(true_labels))
    labels = ("ship",) * len(boxes) if labels is None else labels
    return AnswerRecord("image", (96, 96), question, "", tuple(boxes), tuple(labels), True, 8)


def text(answer, truth, task="vqa", parsed=True):
    question = Question(task, query="How many?" if task == "vqa" else "", answer=truth)
    return AnswerRecord("image", (96, 96), question, answer, (), (), parsed, 8)


@pytest.mark.parametrize(
    ("answer", "iou", "hit"),
    [
        (ground(TRUE_BOX), 1.0, 1.0),
        (ground((0.0, 0.0, 10.0, 5.0)), 0.5, 1.0),
        (ground((0.0, 0.0, 10.0, 4.9)), 0.49, 0.0),
        (ground((0.0, 0.0, 10.0, 5.0), TRUE_BOX), 0.5, 1.0),
        (ground((50.0, 50.0, 60.0, 60.0)), 0.0, 0.0),
        (ground(), 0.0, 0.0),
        (ground(TRUE_BOX, parsed=False), 0.0, 0.0),
    ],
)
def test_grounding_is_rewarded_by_the_first_box(answer, iou, hit):
    assert iou_reward(answer) == pytest.approx(iou)
    assert hit_reward(answer) == hit


SECOND = (20.0, 20.0, 30.0, 30.0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (detect([], []), 1.0),
        (detect([TRUE_BOX], []), 0.0),
        (detect([], [TRUE_BOX]), 0.0),
        (detect([SECOND, TRUE_BOX], [TRUE_BOX, SECOND]), 1.0),
        (detect([TRUE_BOX], [TRUE_BOX, SECOND]), 0.5),
        (detect([TRUE_BOX, TRUE_BOX], [TRUE_BOX]), 0.5),
        (detect([TRUE_BOX], [TRUE_BOX], labels=["plane"]), 0.0),
        (detect([TRUE_BOX], [TRUE_BOX], labels=["Ship"]), 1.0),
    ],
)
def test_detection_is_rewarded_by_boxes_that_are_matched_one_to_one(answer, expected):
    assert iou_reward(answer) == pytest.approx(expected)


COORDINATES = st.lists(st.integers(0, 12), min_size=4, max_size=4)
BOXES = st.lists(
    COORDINATES.map(
        lambda c: (
            float(min(c[0], c[2])),
            float(min(c[1], c[3])),
            float(max(c[0], c[2]) + 1),
            float(max(c[1], c[3]) + 1),
        )
    ),
    min_size=1,
    max_size=3,
)


@given(BOXES, BOXES)
def test_greedy_matching_reaches_half_of_the_best(boxes, true_boxes):
    """The guarantee of greedy matching, against all ways to match."""
    iou = box_iou(boxes, true_boxes)
    if len(boxes) > len(true_boxes):
        iou = iou.T
    best = max(
        sum(iou[row, column] for row, column in enumerate(columns))
        for columns in itertools.permutations(range(iou.shape[1]), iou.shape[0])
    ) / max(iou.shape)
    reward = iou_reward(detect(boxes, true_boxes))
    assert best / 2 - 1e-9 <= reward <= best + 1e-9
    assert iou_reward(detect(boxes, boxes)) <= 1.0 + 1e-9


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (text("Two.", "two"), 1.0),
        (text("three", "two"), 0.0),
        (text("two", "two", parsed=False), 0.0),
        (text("Storage_tanks", "storage tanks", task="classify"), 1.0),
    ],
)
def test_short_answers_are_rewarded_by_exact_match(answer, expected):
    assert exact_reward(answer) == expected


def test_rewards_say_nothing_about_other_tasks():
    caption = text("a harbor", "a harbor", task="caption")
    assert [reward(caption) for reward in (iou_reward, hit_reward, exact_reward)] == [None, None, None]
    assert (iou_reward(text("2", "2")), exact_reward(ground(TRUE_BOX))) == (None, None)


def test_answers_that_parse_are_rewarded():
    assert parse_reward(ground(TRUE_BOX)) == 1.0
    assert parse_reward(ground(parsed=False)) == 0.0


def test_rewards_have_names():
    assert list(resolve_rewards(["parse", "iou"])) == ["parse", "iou"]
    with pytest.raises(ValueError, match="at least one of iou, hit, exact, parse"):
        resolve_rewards(["box"])
    with pytest.raises(ValueError, match="at least one of"):
        resolve_rewards([])
