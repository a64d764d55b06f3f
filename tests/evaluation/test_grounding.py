# SPDX-License-Identifier: Apache-2.0
import pytest

from geodit.evaluation.metrics import GroundingMetric

TRUTH = [0.0, 0.0, 10.0, 10.0]


def score(*answers, **options):
    """Score (box or None, parsed) pairs against one true box each."""
    predictions = [{"boxes": [] if box is None else [box], "parsed": parsed} for box, parsed in answers]
    return GroundingMetric().compute(predictions=predictions, references=[TRUTH] * len(answers), **options)


def test_by_hand():
    result = score(([0, 0, 10, 10], True), ([0, 0, 10, 8], True), ([0, 0, 4, 10], True), ([20, 20, 30, 30], True))
    assert result["accuracy"] == 0.5
    assert result["mean_iou"] == pytest.approx((1 + 0.8 + 0.4 + 0) / 4)
    assert result["num_samples"] == 4
    assert result["parse_rate"] == 1


def test_an_iou_of_exactly_one_half_counts():
    assert score(([0, 0, 5, 10], True))["accuracy"] == 1


def test_an_unparsed_answer_is_wrong_even_with_the_right_box():
    result = score((TRUTH, True), (TRUTH, False))
    assert (result["accuracy"], result["mean_iou"], result["parse_rate"]) == (0.5, 0.5, 0.5)


def test_an_answer_without_a_box_is_wrong():
    result = score((None, True))
    assert (result["accuracy"], result["mean_iou"], result["parse_rate"]) == (0, 0, 1)


def test_only_the_first_box_counts():
    predictions = [{"boxes": [[20, 20, 30, 30], TRUTH], "parsed": True}]
    assert GroundingMetric().compute(predictions=predictions, references=[TRUTH])["accuracy"] == 0


def test_another_threshold():
    result = score(([0, 0, 10, 8], True), iou_threshold=0.85)
    assert (result["accuracy"], result["iou_threshold"]) == (0, 0.85)
    with pytest.raises(ValueError, match="iou_threshold must be above 0"):
        score((TRUTH, True), iou_threshold=0.0)
