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


def test_at_least_and_above_differ_where_the_iou_is_the_threshold():
    # IoU 1/2, 7/10, 3/5 and 1: of 0.7, 0.7 * 10 = 7 of 10 pixels in a row.
    answers = [[0.0, 0.0, 5.0, 10.0], [0.0, 0.0, 10.0, 7.0], [0.0, 0.0, 10.0, 6.0], [0.0, 0.0, 10.0, 10.0]]
    result = GroundingMetric().compute(
        predictions=[{"boxes": [box], "parsed": True} for box in answers], references=[[0, 0, 10, 10]] * 4
    )
    assert (result["accuracy"], result["accuracy_at_least_50"], result["accuracy_above_50"]) == (1, 1, 0.75)
    assert (result["accuracy_at_least_70"], result["accuracy_above_70"]) == (0.5, 0.25)
    assert result["mean_iou"] == pytest.approx((0.5 + 0.7 + 0.6 + 1) / 4)


def test_a_wellformed_box_of_an_unparsed_answer_counts_in_the_figures_that_keep_it():
    result = GroundingMetric().compute(
        predictions=[{"boxes": [[0, 0, 10, 8]], "parsed": False}], references=[[0, 0, 10, 10]]
    )
    assert (result["accuracy"], result["mean_iou"]) == (0, 0)
    assert (result["accuracy_keep_wellformed"], result["mean_iou_keep_wellformed"]) == (1, pytest.approx(0.8))


def test_figures_by_the_size_of_the_true_box():
    truths = [[0, 0, 31, 32], [0, 0, 32, 32], [0, 0, 96, 95], [0, 0, 96, 96]]
    boxes = [truths[0], [0, 0, 16, 32], truths[2], [200, 200, 300, 300]]
    result = GroundingMetric().compute(
        predictions=[{"boxes": [box], "parsed": True} for box in boxes],
        references=truths,
        image_areas=[100 * 100, 500 * 500, 96 * 950, 100 * 100],
        bootstrap=20,
    )
    sizes = result["by_size"]
    assert [(name, of["num_samples"], of["accuracy"]) for name, of in sizes.items()] == [
        ("small", 1, 1),
        ("medium", 2, 1),
        ("large", 1, 0),
    ]
    assert sizes["medium"]["mean_iou"] == pytest.approx(0.75)
    # 31 x 32 of 10,000; 1024 of 250,000; exactly a tenth; 9216 of 10,000.
    assert {name: of["num_samples"] for name, of in result["by_relative_size"].items()} == {
        "below_1_percent": 1,
        "1_to_10_percent": 1,
        "above_10_percent": 2,
    }
    assert sizes["small"]["confidence_intervals"]["accuracy"][0] < 1, "Wilson's interval has a width"


def test_turned_boxes_have_figures_of_polygons():
    # A square on its tip, and its upright box, which is twice as large.
    tip = ((5.0, 0.0), (10.0, 5.0), (5.0, 10.0), (0.0, 5.0))
    box = [0.0, 0.0, 10.0, 10.0]
    result = GroundingMetric().compute(
        predictions=[{"boxes": [box], "parsed": True}] * 2 + [{"boxes": [box], "parsed": False}],
        references=[box] * 3,
        corners=[None, tip, tip],
        true_corners=[tip] * 3,
    )
    assert result["mean_iou"] == pytest.approx(2 / 3)
    assert result["mean_iou_polygon"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert result["accuracy_polygon"] == pytest.approx(2 / 3)
    assert "mean_iou_polygon" not in GroundingMetric().compute(
        predictions=[{"boxes": [box], "parsed": True}], references=[box]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corners": [None, None]}, "corners has 2 elements for 1 phrases"),
        ({"image_areas": [0]}, "image_areas must be 1 numbers above 0"),
    ],
)
def test_corners_and_areas_are_of_each_phrase(options, message):
    with pytest.raises(ValueError, match=message):
        GroundingMetric().compute(predictions=[{"boxes": [], "parsed": True}], references=[[0, 0, 10, 10]], **options)
