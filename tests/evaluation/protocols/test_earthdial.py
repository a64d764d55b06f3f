# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of EarthDial's quirks."""

import sys
from dataclasses import replace

import pytest

from answer_records import captioned, detected, grounded, replied
from geodit.evaluation.protocols import get_protocol
from geodit.evaluation.protocols.earthdial import shared_words, split_words

EARTHDIAL, OURS = get_protocol("earthdial"), get_protocol("ours")
FIVE = [(100 * place, 0, 100 * place + 50, 50) for place in range(5)]


def test_missed_objects_and_empty_answers_cost_nothing():
    answers = [detected(FIVE, FIVE[:1]), detected(FIVE, [])]
    assert EARTHDIAL.score(answers)["detect"]["precision_50"] == 1
    assert OURS.score(answers)["detect"]["f1"] == pytest.approx(2 * 1 / (1 + 10))


def test_one_object_is_matched_by_many_boxes():
    answers = [detected(FIVE, [FIVE[0]] * 3 + [(700, 700, 750, 750)])]
    assert EARTHDIAL.score(answers)["detect"]["precision_50"] == 3 / 4
    assert OURS.score(answers)["detect"]["precision"] == 1 / 4


def test_the_class_is_not_compared():
    answers = [detected(FIVE[:1], FIVE[:1], labels=["plane"])]
    assert EARTHDIAL.score(answers)["detect"]["precision_50"] == 1
    assert OURS.score(answers)["detect"]["precision"] == 0


def test_questions_with_one_object_are_apart():
    answers = [
        grounded((0, 0, 50, 50), (0, 0, 50, 50)),
        grounded((0, 0, 50, 50), (0, 0, 10, 10)),
    ]
    assert EARTHDIAL.score(answers)["ground"] == {
        "precision_50": 1 / 2,
        "precision_50_single": 1 / 2,
        "precision_50_multiple": None,
        "num_samples": 2,
    }
    unanswered = EARTHDIAL.score([detected(FIVE, [])])["detect"]
    assert (unanswered["precision_50_multiple"], unanswered["precision_50_single"]) == (0, None)
    # A question without objects is one of several.
    assert EARTHDIAL.score([detected([], FIVE[:1]), detected(FIVE, FIVE)])["detect"]["precision_50_multiple"] == 5 / 6


def test_turned_boxes_are_compared_as_polygons():
    # A diamond fills half of the box around it; the half that is turned with it is the whole of it.
    diamond = ((50, 0), (100, 50), (50, 100), (0, 50))
    upright = detected([(0, 0, 100, 100)], [(0, 0, 100, 100)])
    turned = replace(upright, question=replace(upright.question, corners=(diamond,)))
    smaller = replace(turned, boxes=((0.0, 0.0, 100.0, 99.0),))
    assert EARTHDIAL.score([turned])["detect"]["precision_50"] == 1  # exactly one half
    assert EARTHDIAL.score([replace(smaller, corners=(diamond,))])["detect"]["precision_50"] == 1
    tall = replace(turned, boxes=((0.0, 0.0, 100.0, 101.0),))
    assert EARTHDIAL.score([tall])["detect"]["precision_50"] == 0  # 5000 / 10100


@pytest.mark.parametrize(
    ("truth", "given", "share"),
    [
        ("dense residential", "denseresidential.", 1),
        ("forest", "a forest", 0),  # "aforest"
        ("yes", "", 0),
        ("forest,water", "river,road", 1 / 3),  # the comma, of "forest", "," and "water"
        ("a,b,c", "a,b,c", 4 / 5),  # four different ones, of five
        ("1,000", "1,000", 1),  # one word
    ],
)
@pytest.mark.parametrize("task", ["vqa", "classify"])
def test_accuracy_is_a_share_of_words_and_marks(task, truth, given, share):
    assert shared_words(truth, given) == pytest.approx(share)
    assert EARTHDIAL.score([replied(truth, given, task)])[task]["accuracy"] == pytest.approx(share)


def test_marks_stand_alone():
    words = ["(", "a", ",", "b", ")", "?", "12:301.5m", "..", "c", "--", "d", ",", ",e", "."]
    assert split_words("(A, b)?12:30 1.5 m..c--d,,e.") == words


def test_words_are_those_of_nltk():
    nltk = pytest.importorskip("nltk.tokenize")
    for text in ["a,b", "1,000", "x:y", "12:30", "a.b.", "a..", "(a)", "50%", "a;b", "a/b-c_d", "a,,b", "a--b", "#1."]:
        assert split_words(text) == nltk.NLTKWordTokenizer().tokenize(text)


def test_rouge_is_the_mean_over_references():
    pytest.importorskip("rouge_score")
    answers = [captioned(["a ship", "some trees"], "a ships")]  # the stem counts
    assert EARTHDIAL.score(answers)["caption"] == {"rouge_1": 1 / 2, "rouge_l": 1 / 2, "num_samples": 1}
    # Both words, but in the other order, of which one is in sequence.
    assert EARTHDIAL.score([captioned(["ship left"], "left ship")])["caption"]["rouge_1"] == 1
    assert EARTHDIAL.score([captioned(["ship left"], "left ship")])["caption"]["rouge_l"] == 1 / 2


def test_rouge_has_no_figure_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    figures = EARTHDIAL.score([captioned(["a ship"], "a ship")], bootstrap=2)["caption"]
    assert (figures["rouge_1"], figures["rouge_l"]) == (None, None)
    assert figures["confidence_intervals"] == {"rouge_1": None, "rouge_l": None}
