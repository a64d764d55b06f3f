# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of RSCoVLM's quirks."""

from dataclasses import replace

import pytest

from answer_records import captioned, detected, grounded, replied
from geodit.evaluation.protocols import get_protocol
from geodit.evaluation.protocols.rscovlm import shrunken_iou, voc_2007_precision

RSCOVLM, OURS = get_protocol("rscovlm"), get_protocol("ours")
BOX, OTHER, ELSEWHERE = (0, 0, 50, 50), (200, 200, 250, 250), (500, 500, 550, 550)


def test_without_scores_ap_depends_on_the_order_of_images():
    wrong_first = detected([BOX], [ELSEWHERE, BOX], image_id="1")
    right = detected([BOX], [BOX], image_id="2")
    # Wrong, right, right: the best precision at any recall is 2/3.
    assert RSCOVLM.score([wrong_first, right])["detect"]["map_nc_50"] == pytest.approx(2 / 3)
    # Right, wrong, right: 1 up to a recall of a half, six of eleven levels, then 2/3.
    assert RSCOVLM.score([right, wrong_first])["detect"]["map_nc_50"] == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_the_scores_of_boxes_are_not_looked_at():
    answer = detected([BOX], [ELSEWHERE, BOX], scores=(0.1, 0.9))
    assert RSCOVLM.score([answer])["detect"]["map_nc_50"] == pytest.approx(1 / 2)
    assert OURS.score([answer])["detect"]["map50"] == pytest.approx(1)


def test_ap_has_eleven_points():
    # A recall of a half at a precision of 1: 6 of 11 levels, where COCO has 51 of 101.
    answer = detected([BOX, OTHER], [BOX], scores=(1.0,))
    assert RSCOVLM.score([answer])["detect"]["map_nc_50"] == pytest.approx(6 / 11)
    assert OURS.score([answer])["detect"]["map50"] == pytest.approx(51 / 101)
    assert voc_2007_precision([], 3) == 0


def test_a_box_whose_best_object_is_taken_is_wrong():
    # The second box overlaps the first object by 9/11 and the second one by 8/12.
    answer = detected([(0, 0, 10, 10), (3, 0, 13, 10)], [(0, 0, 10, 10), (1, 0, 11, 10)])
    assert RSCOVLM.score([answer])["detect"]["map_nc_50"] == pytest.approx(6 / 11)
    assert OURS.score([answer])["detect"]["f1"] == 1


def test_classes_are_averaged_and_those_without_objects_left_out():
    answers = [
        detected([BOX, OTHER], [BOX, ELSEWHERE], labels=["Ship", "tree"], true_labels=["ship", "plane"]),
    ]
    assert RSCOVLM.score(answers)["detect"]["map_nc_50"] == pytest.approx((1 + 0) / 2)
    assert RSCOVLM.score([detected([], [BOX])])["detect"]["map_nc_50"] is None


def test_turned_boxes_are_compared_as_polygons():
    diamond = ((25, 0), (50, 25), (25, 50), (0, 25))
    upright = detected([BOX], [(0, 0, 50, 51)])
    turned = replace(upright, question=replace(upright.question, corners=(diamond,)))
    assert RSCOVLM.score([upright])["detect"]["map_nc_50"] == pytest.approx(1)
    assert RSCOVLM.score([turned])["detect"]["map_nc_50"] == 0  # 1250 / 2550


def test_half_is_not_enough():
    answers = [grounded((0, 0, 100, 100), (0, 0, 100, 50)), grounded((0, 0, 100, 100), (0, 0, 100, 51))]
    assert RSCOVLM.score(answers)["ground"]["accuracy_above_50"] == 1 / 2
    assert OURS.score(answers)["ground"]["accuracy"] == 1


def test_boxes_of_one_pixel_are_never_right():
    pixel = (5, 5, 6, 6)
    assert shrunken_iou(pixel, pixel) == 0
    assert shrunken_iou((5, 5, 7, 7), (5, 5, 7, 7)) == 1
    # One pixel in common of 3 x 3 and 3 x 3 is none.
    assert shrunken_iou((0, 0, 3, 3), (2, 0, 5, 3)) == 0
    assert shrunken_iou((0, 0, 3, 3), (1, 0, 4, 3)) == pytest.approx(6 / 12)
    assert RSCOVLM.score([grounded(pixel, pixel)])["ground"]["accuracy_above_50"] == 0
    assert OURS.score([grounded(pixel, pixel)])["ground"]["accuracy"] == 1


def test_punctuation_belongs_to_the_word_in_captions():
    def cider(end):
        return RSCOVLM.score(
            [
                captioned(["two ships"], f"Two ships{end}", image_id="1"),
                captioned(["many trees"], "many trees", image_id="2"),
            ]
        )["caption"]["cider_x100"]

    # Words and pairs are whole and there are no longer groups: half of 10 each, times 100.
    assert cider("") == pytest.approx(500)
    # "ships." is a word that no reference has, as rare as "two" is. The cosine of words is 1/2, that of pairs 0: the
    # first caption falls from 5 to 10/4 * 1/2.
    assert cider(".") == pytest.approx(100 * (1.25 + 5) / 2)


@pytest.mark.parametrize("task", ["vqa", "classify"])
@pytest.mark.parametrize(
    ("truth", "text", "contained", "either_way"),
    [
        ("1", "11", 1, 1),
        ("yes", "", 0, 1),
        ("Dense residential.", "residential", 0, 1),
        ("yes", " YES.", 1, 1),
        ("a", "b", 0, 0),
    ],
)
def test_containment_is_enough(task, truth, text, contained, either_way):
    figures = RSCOVLM.score([replied(truth, text, task)])[task]
    assert (figures["accuracy"], figures["accuracy_either_way"]) == (contained, either_way)


def test_its_average_precision_is_our_map_nc():
    # Boxes are judged twice, for each answer and for all of a class at once; the curve is the same.
    answers = [
        detected([BOX, OTHER], [ELSEWHERE, BOX, BOX], image_id="1"),
        detected([BOX], [BOX], image_id="2"),
        detected([BOX, ELSEWHERE], [OTHER, ELSEWHERE], labels=["tree", "ship"], true_labels=["tree", "ship"]),
        detected([OTHER], [], image_id="3"),
    ]
    theirs = RSCOVLM.score(answers)["detect"]["map_nc_50"]
    assert OURS.score(answers)["detect"]["map_nc"] == pytest.approx(theirs, abs=1e-12)
    assert 0 < theirs < 1
