# SPDX-License-Identifier: Apache-2.0
"""What scores of boxes are worth: average precision and calibration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.evaluation.metrics.average_precision import mean_average_precision
from geodit.evaluation.metrics.box_scores import average_precision, expected_calibration_error, judge_boxes

A, B, FAR = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [50.0, 50.0, 60.0, 60.0]


def test_average_precision_by_hand():
    # Hit, miss, hit: precision 1 up to a recall of 1/2, then 2/3.
    assert average_precision([0.7, 0.9, 0.8], [True, True, False], 2) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert average_precision([0.9], [True], 4) == 0.25, "true boxes that nothing found count"


def test_precision_at_a_recall_is_the_greatest_from_there_on():
    # Miss, hit, hit: 1/2 at the first recall would be less than 2/3 at the second.
    assert average_precision([0.9, 0.8, 0.7], [False, True, True], 2) == pytest.approx(2 / 3)


def test_boxes_of_equal_scores_come_in_at_once():
    assert average_precision([0.5, 0.5], [True, False], 1) == average_precision([0.5, 0.5], [False, True], 1) == 0.5


def test_without_boxes_both_figures_are_zero():
    assert average_precision([], [], 3) == expected_calibration_error([], []) == 0


@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=20), st.integers(0, 3))
def test_average_precision_depends_on_the_order_of_scores_alone(scored, missed):
    scores, correct = map(list, zip(*scored, strict=True))
    num_true = max(1, sum(correct) + missed)
    ranks = np.searchsorted(np.unique(scores), scores)
    area = average_precision(scores, correct, num_true)
    assert area == pytest.approx(average_precision(ranks, correct, num_true))
    assert 0 <= area <= sum(correct) / num_true + 1e-12


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 5))
def test_average_precision_is_within_the_grid_of_coco(correct, missed):
    num_true = sum(correct) + missed
    if not num_true:
        return
    # One image; a right box lies on a true box of its own, a wrong one on none.
    places = [[20.0 * index, 0.0, 20.0 * index + 10, 10.0] for index in range(len(correct) + missed)]
    scores = [1 / (2 + index) for index in range(len(correct))]
    truths = [place for place, right in zip(places, correct + [True] * missed, strict=True) if right]
    coco = mean_average_precision(
        [{"boxes": places[: len(correct)], "labels": ["ship"] * len(correct), "scores": scores}],
        [{"boxes": truths, "labels": ["ship"] * len(truths)}],
    )["map50"]
    # COCO samples the curve at 101 recalls, from 0 to 1.
    assert average_precision(scores, correct, num_true) == pytest.approx(coco, abs=0.011)


def test_calibration_error_by_hand():
    # Bins 0.8-0.9: mean score 0.85, precision 1/2. Bin 0.3-0.4: mean score 0.35, precision 0.
    error = expected_calibration_error([0.84, 0.86, 0.35], [True, False, False])
    assert error == pytest.approx(2 / 3 * 0.35 + 1 / 3 * 0.35)


def test_scores_that_are_the_precision_of_their_bin_have_no_error():
    assert expected_calibration_error([0.75] * 4 + [1.0], [True, True, True, False, True]) == pytest.approx(0)


def test_bins_hide_what_differs_within_them():
    scores, correct = [0.2, 0.8], [True, False]
    assert expected_calibration_error(scores, correct) == pytest.approx(0.8)
    assert expected_calibration_error(scores, correct, num_bins=1) == pytest.approx(0)


def test_a_true_box_makes_one_box_right_the_one_of_the_highest_score():
    assert judge_boxes([A, A, B, FAR], [0.5, 0.9, 0.1, 1.0], [A, B]).tolist() == [False, True, True, False]
    assert judge_boxes([A], [0.5], []).tolist() == [False]
    assert judge_boxes([], [], [A]).tolist() == []


def test_a_box_takes_the_true_box_of_the_greatest_iou():
    # The first of these overlaps both true boxes by at least a half, and is nearer to the second.
    truths = [[0.0, 0.0, 10.0, 10.0], [2.0, 0.0, 12.0, 10.0]]
    assert judge_boxes([[2.0, 0.0, 12.0, 10.0], [0.0, 0.0, 10.0, 10.0]], [0.9, 0.8], truths).tolist() == [True, True]


def test_the_threshold_is_inclusive():
    half = [0.0, 0.0, 5.0, 10.0]  # IoU 1/2
    assert judge_boxes([half], [1.0], [A]).tolist() == [True]
    assert judge_boxes([half], [1.0], [A], iou_threshold=0.51).tolist() == [False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average_precision([0.5], [True, False], 2), "both have shape"),
        (lambda: average_precision([np.nan], [True], 2), "finite"),
        (lambda: average_precision([0.5, 0.4], [True, True], 1), "num_true is 1"),
        (lambda: average_precision([], [], 0), "num_true is 0"),
        (lambda: expected_calibration_error([1.5], [True]), "between 0 and 1"),
        (lambda: expected_calibration_error([0.5], [True], num_bins=0), "num_bins must be at least 1"),
        (lambda: judge_boxes([A], [], [A]), "give one per box"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
