# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodit.evaluation.metrics import DetectionMetric
from geodit.evaluation.metrics.average_precision import mean_average_precision
from geodit.evaluation.metrics.detection import count_matches
from geodit.evaluation.metrics.ranked_boxes import rank_boxes
from geodit.processing.box_ops import box_iou

A, B, FAR = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [50.0, 50.0, 60.0, 60.0]


def answer(*boxes, label="ship", scores=(), parsed=True):
    return {
        "boxes": list(boxes),
        "labels": [label] * len(boxes),
        "scores": list(scores),
        "parsed": parsed,
    }


def truth(*boxes, label="ship"):
    return {"boxes": list(boxes), "labels": [label] * len(boxes)}


def score(predictions, references, **options):
    return DetectionMetric().compute(predictions=predictions, references=references, **options)


def test_counts_are_pooled_over_the_set():
    # 2 of 3 boxes match, and 2 of 5 true boxes are found.
    result = score([answer(A, B), answer(FAR)], [truth(A, B, FAR), truth(A, B)])
    assert result["precision"] == pytest.approx(2 / 3)
    assert result["recall"] == pytest.approx(2 / 5)
    assert result["f1"] == pytest.approx(2 * 2 / (3 + 5))
    assert (result["num_predicted_boxes"], result["num_boxes"], result["num_samples"]) == (3, 5, 2)


def test_a_true_box_is_matched_once():
    result = score([answer(A, A, A)], [truth(A)])
    assert (result["precision"], result["recall"]) == (pytest.approx(1 / 3), 1)


def test_matching_is_as_large_as_possible():
    # Both boxes fit the first truth, only the first fits the second: greedy by order would match one pair.
    wide, narrow = [0.0, 0.0, 14.0, 10.0], [0.0, 0.0, 8.0, 10.0]
    truths = [[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 16.0, 10.0]]
    assert (box_iou([wide, narrow], truths) >= 0.5).tolist() == [[True, True], [True, False]]
    assert count_matches([wide, narrow], ["ship"] * 2, truths, ["ship"] * 2) == 2


def test_boxes_of_another_class_do_not_match_and_case_does_not_matter():
    assert score([answer(A, label="tree")], [truth(A)])["f1"] == 0
    assert score([answer(A, label=" Ship")], [truth(A)])["f1"] == 1


def test_boxes_in_an_image_without_truth_are_false_positives():
    result = score([answer(A), answer(B)], [truth(A), truth()])
    assert (result["precision"], result["recall"]) == (0.5, 1)
    assert result["empty_accuracy"] == 0


def test_answering_nothing_where_nothing_is():
    result = score([answer(A), answer(), answer(parsed=False)], [truth(A), truth(), truth()])
    assert (result["precision"], result["recall"], result["f1"]) == (1, 1, 1)
    assert result["empty_accuracy"] == 0.5, "the answer that did not parse is wrong here too"


def test_an_unparsed_answer_misses_all_and_its_boxes_are_not_credited():
    result = score([answer(A, B, FAR), answer(A, B, parsed=False)], [truth(A, B), truth(A, B)])
    assert (result["precision"], result["recall"], result["parse_rate"]) == (pytest.approx(2 / 3), 0.5, 0.5)


def test_wellformed_boxes_of_an_unparsed_answer_count_in_the_figures_that_keep_them():
    result = score([answer(A, B, FAR), answer(A, FAR, parsed=False)], [truth(A, B), truth(A, B)])
    assert result["precision_keep_wellformed"] == pytest.approx(3 / 5)
    assert result["recall_keep_wellformed"] == pytest.approx(3 / 4)
    assert result["f1_keep_wellformed"] == pytest.approx(2 * 3 / (5 + 4))
    assert (result["precision"], result["recall"]) == (pytest.approx(2 / 3), 0.5), "the strict figures do not see them"
    assert result["num_predicted_boxes"] == 3


def test_keeping_wellformed_boxes_also_counts_the_wrong_ones():
    result = score([answer(A), answer(FAR, FAR, parsed=False)], [truth(A), truth()])
    assert (result["precision"], result["f1"]) == (1, 1)
    assert (result["precision_keep_wellformed"], result["f1_keep_wellformed"]) == (pytest.approx(1 / 3), 0.5)


def test_both_rules_agree_where_all_answers_parsed():
    result = score([answer(A, FAR), answer()], [truth(A, B), truth(B)], bootstrap=20)
    intervals = result["confidence_intervals"]
    for name in ("precision", "recall", "f1"):
        assert result[f"{name}_keep_wellformed"] == result[name]
        assert intervals[f"{name}_keep_wellformed"] == intervals[name]


def test_average_precision_is_strict():
    references = [truth(A), truth(B)]
    kept = score([answer(A, scores=[0.9]), answer(B, scores=[0.8], parsed=False)], references)
    assert kept["map50"] == score([answer(A, scores=[0.9]), answer()], references)["map50"] < 1
    assert kept["f1_keep_wellformed"] == 1


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [(answer(), truth(), 1), (answer(), truth(A), 0), (answer(A), truth(), 0)],
)
def test_quotients_of_zero_by_zero(prediction, reference, expected):
    result = score([prediction], [reference])
    assert (result["precision"], result["recall"], result["f1"]) == (expected,) * 3


def test_empty_accuracy_is_undefined_when_every_image_has_objects():
    assert score([answer(A)], [truth(A)])["empty_accuracy"] is None


def test_a_stricter_threshold():
    shifted = [1.0, 0.0, 11.0, 10.0]  # IoU 9 / 11
    assert score([answer(shifted)], [truth(A)], iou_threshold=0.8)["f1"] == 1
    assert score([answer(shifted)], [truth(A)], iou_threshold=0.9)["f1"] == 0


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        ({**answer(A), "labels": []}, "prediction 0 has 1 boxes but 0 labels"),
        (answer(A, B, scores=[0.5]), "prediction 0 has 2 boxes but 1 scores"),
    ],
)
def test_labels_and_scores_must_fit_the_boxes(prediction, message):
    with pytest.raises(ValueError, match=message):
        score([prediction], [truth(A)])


boxes = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(2, 6), st.integers(2, 6)).map(
        lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
    ),
    max_size=4,
)


@settings(deadline=None)
@given(boxes, boxes, st.data())
def test_matching_equals_brute_force(found, true, data):
    labels = data.draw(st.lists(st.sampled_from("ab"), min_size=len(found), max_size=len(found)))
    true_labels = data.draw(st.lists(st.sampled_from("ab"), min_size=len(true), max_size=len(true)))
    possible = np.asarray(
        [
            [iou >= 0.5 and label == true_label for iou, true_label in zip(row, true_labels, strict=True)]
            for row, label in zip(box_iou(found, true), labels, strict=True)
        ]
    ).reshape(len(found), len(true))
    if len(found) > len(true):
        possible = possible.T
    few, many = possible.shape
    best = max(sum(possible[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(many), few))
    assert count_matches(found, labels, true, true_labels) == best


def test_mean_average_precision_by_hand():
    # By falling score: hit, miss, hit. Precision is 1 up to a recall of 1/2, then 2/3: over COCO's 101 recall
    # levels, 51 are at most 1/2.
    predictions = [answer(A, FAR, B, scores=[0.9, 0.8, 0.7])]
    result = score(predictions, [truth(A, B)])
    expected = (51 * 1 + 50 * 2 / 3) / 101
    assert result["map50"] == pytest.approx(expected)
    assert result["map"] == pytest.approx(expected), "the hits are exact, so every threshold gives the same"


def test_mean_average_precision_is_over_classes_and_images():
    # Ships are found without error, trees not at all.
    predictions = [answer(A, scores=[0.5]), answer(B, label="tree", scores=[0.9])]
    references = [truth(A), truth(FAR, label="tree")]
    assert score(predictions, references)["map50"] == pytest.approx(0.5)


def test_mean_average_precision_counts_more_than_a_hundred_boxes():
    many = [[20.0 * i, 0.0, 20.0 * i + 10, 10.0] for i in range(150)]
    result = score([answer(*many, scores=[0.5] * 150)], [truth(*many)])
    assert result["map50"] == pytest.approx(1)


def test_mean_average_precision_needs_scores_for_all_boxes():
    assert "map50" not in score([answer(A)], [truth(A)])
    assert "map50" in score([answer(A, scores=[1.0]), answer()], [truth(A), truth()])
    assert score([answer(A, scores=[1.0])], [truth()])["map50"] is None
    with pytest.raises(ValueError, match="only 1 of 2 predictions"):
        score([answer(A, scores=[1.0]), answer(A)], [truth(A), truth(A)])


def test_without_any_box_that_counts_average_precision_is_zero():
    for nothing in (answer(), answer(parsed=False), answer(A, scores=[0.9], parsed=False)):
        result = score([nothing], [truth(A)], bootstrap=10)
        assert (result["map50"], result["map"], result["map50_equal_scores"]) == (0, 0, 0)
        assert (result["map_small"], result["map_large"]) == (0, None)
        assert result["confidence_intervals"]["map50"][0] == 0
    # The boxes that did not parse show that the model gives no scores.
    assert "map50" not in score([answer(A, parsed=False)], [truth(A)])
    assert score([answer(A, scores=[0.9], parsed=False)], [truth(A)])["map50_keep_wellformed"] == 1
    # Scores of what does not count are not asked for.
    mixed = [answer(B, scores=[0.9], parsed=False), answer(A, parsed=False)]
    result = score(mixed, [truth(A), truth(B)])
    assert (result["map50"], "map50_keep_wellformed" in result) == (0, False)
    assert score([answer()], [truth()])["map50"] is None


def test_an_answer_that_did_not_parse_counts_as_one_wrong_box_by_the_rule_of_that_name():
    # Three boxes of which two are right, and an answer that did not parse: 2 of 3, of 4 with the wrong one.
    result = score([answer(A, B, FAR), answer(A, B, parsed=False)], [truth(A, B), truth(A, B)])
    assert result["precision_one_wrong_box"] == pytest.approx(2 / 4)
    assert result["recall_one_wrong_box"] == result["recall"] == pytest.approx(2 / 4)
    assert result["f1_one_wrong_box"] == pytest.approx(2 * 2 / (4 + 4))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_an_answer_that_did_not_parse_never_raises_figures_under_that_rule(answers):
    # (has a right box, has a wrong box, parsed)
    found = [answer(*[A] * right, *[FAR] * wrong, parsed=parsed) for right, wrong, parsed in answers]
    result = score(found, [truth(A)] * len(found))
    parsed = [one for one in found if one["parsed"]]
    without = score(parsed, [truth(A)] * len(parsed)) if parsed else dict.fromkeys(("precision", "recall", "f1"), 1)
    for name in ("precision", "recall", "f1"):
        assert result[f"{name}_one_wrong_box"] <= min(result[name], without[name])


def test_repeated_boxes_are_those_that_came_before():
    near = [0.0, 0.0, 10.0, 9.5]
    result = score([answer(A, near, A, B), answer(A)], [truth(A), truth(A)])
    assert result["repeated_box_rate"] == pytest.approx(2 / 5)
    two_classes = {**answer(A, A), "labels": ["ship", "tree"]}
    assert score([two_classes], [truth(A)])["repeated_box_rate"] == 0
    assert score([answer(A, A, parsed=False)], [truth(A)])["repeated_box_rate"] is None


def test_errors_of_the_number_of_boxes():
    predictions = [answer(A, B), answer(A), answer(), answer(A, parsed=False), answer(parsed=False)]
    references = [truth(A, FAR), truth(A, B, FAR), truth(), truth(A), truth()]
    result = score(predictions, references)
    assert result["count_error"] == pytest.approx((0 + 2 + 0 + 1 + 0) / 5)
    assert result["count_exact"] == pytest.approx(2 / 5), "an answer that did not parse has no number"


def test_labels_are_the_same_up_to_punctuation_and_more_leniently_if_asked_for():
    predictions = [answer(A, label="Storage_Tank."), answer(B, label="storage-tanks")]
    references = [truth(A, label="storage tank"), truth(B, label="storage tank")]
    assert score(predictions, references)["recall"] == 0.5
    lenient = score(predictions, references, label_rule="lenient")
    assert (lenient["recall"], lenient["label_rule"]) == (1, "lenient")
    assert score([answer(A, label="?")], [truth(A, label="!")])["recall"] == 0


def test_turned_boxes_have_figures_of_polygons():
    tip = ((5.0, 0.0), (10.0, 5.0), (5.0, 10.0), (0.0, 5.0))
    predictions, references = [answer(A, scores=[0.9]), answer(A, scores=[0.8])], [truth(A), truth(A)]
    # The upright boxes are the same, but the square on its tip is half of its box.
    result = score(
        predictions, references, iou_threshold=0.6, corners=[[None], [tip]], true_corners=[[tip], [tip]], bootstrap=10
    )
    assert (result["f1"], result["f1_polygon"]) == (1, 0.5)
    # At 0.5 both are right; from 0.55 on the first, which has the higher score, is wrong.
    assert result["map50"] == result["map50_polygon"] == 1
    assert result["map_polygon"] == pytest.approx((1 + 9 * 51 * 0.5 / 101) / 10)
    assert result["map_nc_polygon"] == 1
    assert "map_polygon" in result["confidence_intervals"]
    assert "f1_polygon" not in score(predictions, references, corners=[[], []], true_corners=[[None], [None]])
    with pytest.raises(ValueError, match="corners has 1 elements for 2 images"):
        score(predictions, references, corners=[[None]])


scored_images = st.lists(
    st.tuples(boxes, boxes).flatmap(
        lambda pair: st.tuples(
            st.just(pair[0]),
            st.just(pair[1]),
            st.lists(st.sampled_from("ab"), min_size=len(pair[0]), max_size=len(pair[0])),
            st.lists(st.sampled_from("ab"), min_size=len(pair[1]), max_size=len(pair[1])),
            st.lists(st.sampled_from([0.1, 0.4, 0.5, 0.9, 1.0]), min_size=len(pair[0]), max_size=len(pair[0])),
        )
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=60)
@given(scored_images, st.data())
def test_average_precision_of_drawn_images_is_that_of_the_library_on_copies_of_them(images, data):
    ranked = rank_boxes(
        [box_iou(found, true) for found, true, *_ in images],
        [labels for _, _, labels, _, _ in images],
        [labels for _, _, _, labels, _ in images],
        [scores for *_, scores in images],
    )
    # In ascending order: of equal scores the library takes the first image first.
    drawn = sorted(data.draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=6)))
    copies = [images[index] for index in drawn]
    expected = mean_average_precision(
        [{"boxes": found, "labels": labels, "scores": scores} for found, _, labels, _, scores in copies],
        [{"boxes": true, "labels": labels} for _, true, _, labels, _ in copies],
    )
    areas = ranked.mean_average_precision(np.asarray(drawn))
    if expected["map"] is None:
        assert areas is None
    else:
        assert areas[0] == pytest.approx(expected["map50"], abs=1e-12)
        assert areas.mean() == pytest.approx(expected["map"], abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(scored_images)
def test_average_precision_of_equal_scores_is_that_of_the_library_with_scores_of_one(images):
    result = score(
        [{"boxes": b, "labels": labels, "scores": scores, "parsed": True} for b, _, labels, _, scores in images],
        [{"boxes": b, "labels": labels} for _, b, _, labels, _ in images],
    )
    expected = mean_average_precision(
        [{"boxes": b, "labels": labels, "scores": [1.0] * len(b)} for b, _, labels, _, _ in images],
        [{"boxes": b, "labels": labels} for _, b, _, labels, _ in images],
    )
    assert result["map50_equal_scores"] == pytest.approx(expected["map50"], abs=1e-12)
    assert result["map_equal_scores"] == pytest.approx(expected["map"], abs=1e-12)


def test_scores_that_tell_right_from_wrong_raise_average_precision_above_that_of_equal_scores():
    result = score([answer(FAR, A, B, scores=[0.1, 0.9, 0.8])], [truth(A, B)])
    assert result["map50"] == 1
    # Miss, hit, hit: the greatest precision is 2/3, at every recall.
    assert result["map50_equal_scores"] == pytest.approx(2 / 3)


def test_map_nc_by_hand():
    # In the order of the images: hit, miss, hit. Precision is 1 up to a recall of 2/5, which is the recall of one of
    # 5 points 0, 0.1, ... 1 up to 0.2 for the first hit: (3 * 1 + 2 * 2/3) / 11.
    predictions = [answer(A, scores=[0.2]), answer(FAR, B, scores=[0.9, 0.1])]
    references = [truth(A, FAR), truth(B, [70.0, 0.0, 80.0, 10.0], [90.0, 0.0, 99.0, 10.0])]
    assert score(predictions, references)["map_nc"] == pytest.approx((3 * 1 + 2 * 2 / 3) / 11)
    # The scores do not matter, and neither does whether there are any.
    assert score([answer(A), answer(FAR, B)], references)["map_nc"] == score(predictions, references)["map_nc"]


def test_map_nc_judges_a_box_by_the_true_box_that_it_overlaps_most():
    # The second box overlaps the first true box most, which is taken; COCO gives it the other one.
    truths = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 6.0]]
    found = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0]]
    result = score([answer(*found)], [truth(*truths)])
    assert result["map50_equal_scores"] == pytest.approx(1)
    # Precision 1 at a recall of 1/2: six points of eleven.
    assert result["map_nc"] == pytest.approx(6 / 11)


def test_average_precision_by_size():
    small, large = [0.0, 0.0, 10.0, 10.0], [100.0, 100.0, 300.0, 300.0]
    result = score([answer(small, scores=[0.9])], [truth(small, large)])
    assert (result["map_small"], result["map_medium"], result["map_large"]) == (pytest.approx(1), None, 0)


def test_intervals_of_all_figures():
    predictions = [answer(A, B, scores=[0.9, 0.3]), answer(FAR, scores=[0.5]), answer(B, scores=[0.7])] * 3
    references = [truth(A), truth(A, FAR), truth(B)] * 3
    result = score(predictions, references, bootstrap=40)
    intervals = result["confidence_intervals"]
    figures = {name for name, value in result.items() if isinstance(value, float)} - {"iou_threshold"}
    assert figures - set(intervals) == {"map_small"}, "of the library's figures by size there are none"
    for name in figures - {"map_small"}:
        low, high = intervals[name]
        assert low <= result[name] <= high
    assert intervals["map50"][0] < result["map50"] < 1
    # Right counts are 5 of 9; a rate of 0 has a width, too.
    assert intervals["repeated_box_rate"] == (0, pytest.approx(1.959964**2 / (9 + 1.959964**2)))
