# SPDX-License-Identifier: Apache-2.0
"""Right, wrong and missed boxes, and how far their scores can be relied on."""

import pytest

from answer_records import detected, grounded, replied
from geodit.evaluation.report.box_outcomes import judge_answer, measure_reliability

FIRST, SECOND, ELSEWHERE = (0, 0, 10, 10), (100, 100, 120, 120), (300, 300, 310, 310)


@pytest.mark.parametrize(
    ("answer", "right", "found", "name"),
    [
        (detected([FIRST, SECOND], [SECOND, FIRST]), (True, True), (True, True), "right"),
        (detected([FIRST, SECOND], [FIRST]), (True,), (True, False), "missed"),
        (detected([FIRST], [FIRST, FIRST]), (True, False), (True,), "wrong"),
        (detected([FIRST], [ELSEWHERE]), (False,), (False,), "wrong"),
        (detected([], []), (), (), "right"),
        (detected([FIRST], [FIRST], labels=["tree"]), (False,), (False,), "wrong"),
        (detected([FIRST], [FIRST], labels=["Ship."]), (True,), (True,), "right"),
        (detected([FIRST], [FIRST], parsed=False), (), (False,), "missed"),
        (grounded(FIRST, FIRST), (True,), (True,), "right"),
        (grounded(FIRST, None), (), (False,), "missed"),
    ],
)
def test_boxes_are_matched_with_true_ones_of_their_class(answer, right, found, name):
    outcome = judge_answer(answer)
    assert (outcome.right, outcome.found, outcome.name) == (right, found, name)


def test_of_two_boxes_on_one_object_the_surer_one_is_right():
    answer = detected([FIRST], [(0, 0, 10, 9), FIRST], scores=(0.9, 0.2))
    assert judge_answer(answer).right == (True, False)


def test_scores_are_compared_with_shares_bin_by_bin():
    # Four boxes of 0.85, three of them right; one of 0.15, wrong: |0.85 - 0.75| * 4/5 + 0.15 * 1/5.
    right = [detected([FIRST], [FIRST], scores=(0.85,)) for _ in range(3)]
    wrong = [detected([FIRST], [ELSEWHERE], scores=(score,)) for score in (0.85, 0.15)]
    reliability = measure_reliability([*right, *wrong, replied("yes", "no")])
    assert reliability.calibration_error == pytest.approx(0.8 * 0.1 + 0.2 * 0.15)
    assert [one.num_boxes for one in reliability.bins] == [1, 4]
    assert [one.share_right for one in reliability.bins] == [0.0, 0.75]
    assert [one.mean_score for one in reliability.bins] == pytest.approx([0.15, 0.85])
    assert reliability.num_boxes == 5


def test_without_scores_there_is_nothing_to_rely_on():
    assert measure_reliability([detected([FIRST], [FIRST]), replied("yes", "no")]) is None
    assert measure_reliability([detected([FIRST], [FIRST], scores=(0.5,), parsed=False)]) is None
