# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of VHM's quirks."""

import pytest

from answer_records import grounded, replied
from geodit.evaluation.protocols import get_protocol

VHM, OURS = get_protocol("vhm"), get_protocol("ours")


@pytest.mark.parametrize("task", ["vqa", "classify"])
@pytest.mark.parametrize(
    ("given", "is_right"),
    [("", True), ("e", True), ("Y e s", True), ("yes, there is", False), ("yes.", False), ("no", False)],
)
def test_a_part_of_the_true_answer_is_right(task, given, is_right):
    assert VHM.score([replied("yes", given, task)])[task]["accuracy"] == is_right


def test_empty_answers_are_all_right():
    answers = [replied(truth, "") for truth in ("yes", "no", "12", "bare land")]
    assert VHM.score(answers)["vqa"]["accuracy"] == 1
    assert OURS.score(answers)["vqa"]["accuracy"] == 0


def test_precision_is_a_share_of_questions_by_size():
    # 32 x 32 is the largest small box and 96 x 96 the largest medium one; half of the last one is found, exactly.
    answers = [
        grounded((0, 0, 32, 32), (0, 0, 32, 32)),
        grounded((0, 0, 32, 33), None),
        grounded((0, 0, 96, 96), (0, 0, 96, 96)),
        grounded((0, 0, 200, 200), (0, 0, 200, 100)),
    ]
    assert VHM.score(answers)["ground"] == {
        "precision_50": 3 / 4,
        "precision_50_small": 1,
        "precision_50_medium": 1 / 2,
        "precision_50_large": 1,
        "num_samples": 4,
    }


def test_a_size_that_does_not_occur_has_no_figure():
    figures = VHM.score([grounded((0, 0, 10, 10), (0, 0, 10, 10))])["ground"]
    assert (figures["precision_50_medium"], figures["precision_50_large"]) == (None, None)
