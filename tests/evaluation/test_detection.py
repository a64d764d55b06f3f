# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodit.evaluation.metrics import DetectionMetric
from geodit.evaluation.metrics.detection import count_matches
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
