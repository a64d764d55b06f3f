# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from geodit.data.schema import Question
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.scoring import iterate_figures, score_answers

BOX, FAR = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)


def record(question, text="", boxes=(), image_id="a", parsed=True):
    return AnswerRecord(image_id, (96, 96), question, text, boxes, ("ship",) * len(boxes), parsed, 8)


GROUND = Question("ground", query="the ship", boxes=(BOX,), labels=("ship",))
DETECT = Question("detect", query="ship", boxes=(BOX, FAR), labels=("ship", "ship"))
COUNT = Question("vqa", query="How many ships are there?", answer="2", kind="count")
PRESENCE = Question("vqa", query="Is there a ship?", answer="yes", kind="presence")
SCENE = Question("classify", answer="open water")
CAPTIONS = [
    Question("caption", answer="two ships", references=("two ships", "ships")),
    Question("caption", answer="a very green field"),
]


def test_every_task_has_its_metric():
    figures = score_answers(
        [
            record(SCENE, "Open water"),
            record(GROUND, boxes=(BOX,)),
            record(DETECT, boxes=(BOX,)),
            record(COUNT, "3"),
            record(PRESENCE, "yes"),
            record(CAPTIONS[0], "two ships"),
            record(CAPTIONS[1], "a very green field", image_id="b"),
        ]
    )
    assert list(figures) == ["caption", "ground", "detect", "vqa", "classify"]
    assert figures["ground"]["accuracy"] == 1
    assert (figures["detect"]["precision"], figures["detect"]["recall"]) == (1, 0.5)
    assert figures["vqa"]["accuracy"] == 0.5
    assert figures["vqa"]["by_kind"]["count"]["accuracy"] == 0
    assert figures["classify"]["accuracy"] == 1
    assert figures["caption"]["cider"] > 0


def test_a_caption_without_references_is_compared_with_its_answer():
    assert score_answers([record(CAPTIONS[1], "a very green field")])["caption"]["bleu4"] == pytest.approx(1, abs=0.01)


def test_unparsed_answers_are_wrong_in_every_task():
    right = [
        record(SCENE, "open water"),
        record(GROUND, boxes=(BOX,)),
        record(DETECT, boxes=(BOX, FAR)),
        record(COUNT, "2"),
    ]
    figures = score_answers([replace(answer, parsed=False) for answer in right])
    assert figures["classify"]["accuracy"] == 0
    assert figures["ground"]["accuracy"] == 0
    assert figures["detect"]["f1"] == 0
    assert figures["detect"]["f1_keep_wellformed"] == 1
    assert figures["vqa"]["accuracy"] == 0
    assert all(of_task["parse_rate"] == 0 for of_task in figures.values())


def test_bootstrap_draws_images():
    # Every question of image "a" is right and every one of "b" is wrong: only the image matters.
    answers = [record(COUNT, "2", image_id="a")] * 5 + [record(COUNT, "0", image_id="b")] * 5
    result = score_answers(answers, bootstrap=100)["vqa"]
    assert result["confidence_intervals"]["accuracy"] == (0, 1)


def test_flat_names_of_figures():
    figures = score_answers(
        [
            record(COUNT, "2"),
            record(PRESENCE, "no"),
            record(DETECT, boxes=(BOX,)),
            record(SCENE, "open water"),
        ]
    )
    flat = dict(iterate_figures(figures))
    assert flat["detect.recall"] == 0.5
    assert flat["vqa.accuracy"] == 0.5
    assert flat["vqa.count.accuracy"] == 1
    assert flat["classify.accuracy"] == 1
    assert "classify.classify.accuracy" not in flat, "a kind named like its task is the task"
    assert "detect.num_boxes" not in flat
    assert "detect.iou_threshold" not in flat
    assert "detect.empty_accuracy" not in flat, "it is undefined here"


def test_no_answers():
    with pytest.raises(ValueError, match="no answers"):
        score_answers([])


def test_grounding_needs_one_true_box():
    ambiguous = replace(GROUND, boxes=(BOX, FAR), labels=("ship", "ship"))
    with pytest.raises(ValueError, match="exactly one true box, but has 2"):
        score_answers([record(ambiguous)])
