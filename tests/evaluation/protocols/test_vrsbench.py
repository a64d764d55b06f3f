# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of VRSBench's quirks."""

import pytest

from answer_records import captioned, grounded, replied
from geodit.evaluation.protocols import get_protocol
from geodit.evaluation.protocols.vrsbench import inclusive_areas, whole_hundredths

VRSBENCH, OURS = get_protocol("vrsbench"), get_protocol("ours")


def test_boxes_in_the_same_hundredths_are_one():
    # 7 pixels are less than a hundredth of 800: both are (10, 10, 20, 20).
    answers = [grounded((80, 80, 160, 160), (87, 87, 167, 167))]
    assert VRSBENCH.score(answers)["ground"]["mean_iou"] == 1
    assert OURS.score(answers)["ground"]["mean_iou"] == pytest.approx(73 * 73 / (2 * 80 * 80 - 73 * 73))


def test_hundredths_are_rounded_down_and_cut_to_the_image():
    assert whole_hundredths((-5.0, 7.9, 16.1, 900.0), (800, 1600)) == (0, 0, 1, 100)


def test_boxes_that_touch_overlap():
    # (10, 10, 11, 11) and (11, 10, 12, 11): two columns of two each, of which they share one.
    assert inclusive_areas((10, 10, 11, 11), (11, 10, 12, 11)) == (2, 6)
    answers = [grounded((80, 80, 88, 88), (88, 80, 96, 88))]
    assert VRSBENCH.score(answers)["ground"]["mean_iou"] == pytest.approx(1 / 3)
    assert OURS.score(answers)["ground"]["mean_iou"] == 0


def test_the_cumulative_iou_weighs_by_area_and_leaves_out_missing_boxes():
    # 11 x 11 hundredths found exactly, 21 x 21 missed by a box of 1 x 1 that lies inside, and one without an answer.
    answers = [
        grounded((0, 0, 80, 80), (0, 0, 80, 80)),
        grounded((0, 0, 160, 160), (0, 0, 0, 0)),
        grounded((0, 0, 80, 80), None),
    ]
    figures = VRSBENCH.score(answers)["ground"]
    assert figures["cumulative_iou"] == pytest.approx((121 + 1) / (121 + 441))
    assert figures["mean_iou"] == pytest.approx((1 + 1 / 441) / 3)
    assert figures["accuracy_50"] == figures["accuracy_70"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("truth", "given"), [("1", "11"), ("no", "unknown"), ("ship", "Ships in a harbor")])
def test_an_answer_that_contains_the_true_one_is_right(truth, given):
    assert VRSBENCH.score([replied(truth, given)])["vqa"]["accuracy"] == 1
    assert OURS.score([replied(truth, given)])["vqa"]["accuracy"] == 0


def test_a_judge_would_decide_what_is_neither_contained_nor_closed():
    answers = [
        replied("soccer field", "football pitch"),
        replied("yes", "there are"),
        replied("7", "seven"),
        replied("100", "hundred"),
    ]
    assert VRSBENCH.score(answers)["vqa"] == {
        "accuracy": 0,
        "average_accuracy": 0,
        "judged_share": 2 / 4,
        "accuracy_if_judged_right": 2 / 4,
        "num_samples": 4,
    }


def test_the_average_is_over_types_of_which_three_are_one():
    answers = [
        replied("yes", "yes", kind="object existence"),
        replied("urban", "urban", kind="rural or urban"),
        replied("3", "4", kind="image"),
        replied("port", "port", kind="scene type"),
    ]
    figures = VRSBENCH.score(answers)["vqa"]
    assert figures["accuracy"] == 3 / 4
    assert figures["average_accuracy"] == pytest.approx((1 + 2 / 3) / 2)


def test_captions_have_the_figures_of_coco_on_the_scale_of_papers():
    answers = [
        captioned(["two ships in the water"], "two ships in the water", image_id="1"),
        captioned(["a green field by a road"], "a field", image_id="2"),
    ]
    figures = VRSBENCH.score(answers)["caption"]
    ours = OURS.score(answers)["caption"]
    assert figures["bleu4"] == pytest.approx(ours["bleu4"])
    # 7 words, all right, against 11: exp(1 - 11 / 7).
    assert figures["bleu1"] == pytest.approx(0.564718122007759)
    # The first is whole; of the second both words are right, of 6: beta is 1.2.
    assert figures["rouge_l"] == pytest.approx((1 + 2.44 * 1 * (2 / 6) / (2 / 6 + 1.44 * 1)) / 2)


def test_cider_is_multiplied_by_100():
    # Each group of words is in one of two references, and so weighs the same: 10 for a caption as its reference.
    answers = [
        captioned(["two ships in water"], "Two ships in water.", image_id="1"),
        captioned(["a green field near roads"], "many tall trees", image_id="2"),
    ]
    assert VRSBENCH.score(answers)["caption"]["cider_x100"] == pytest.approx(100 * 10 / 2)
