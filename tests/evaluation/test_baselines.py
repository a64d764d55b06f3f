# SPDX-License-Identifier: Apache-2.0
"""Baselines, on rows made by hand."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from geodit.data.schema import Question, make_dataset, make_row
from geodit.evaluation.baselines import (
    BASELINES,
    canonical_captions,
    caption_overlap,
    color_histogram,
    commonest_answers,
    nearest_image_answers,
    right_class_boxes,
    score_baselines,
    typical_boxes,
)
from geodit.evaluation.scoring import ScoringRules, score_answers
from geodit.tiny.scenes.dataset import synthetic_dataset

RED, GREEN, DARK_RED = (200, 10, 10), (10, 200, 10), (170, 20, 10)


def vqa(query, answer, kind):
    return Question("vqa", query=query, answer=answer, kind=kind)


def row(color, name, *questions, size=(20, 10)):
    return make_row(Image.new("RGB", size, color), name, questions)


SHIPS, ROOFS, ANY = "How many ships?", "How many roofs?", "Is there a ship?"
TRAIN = make_dataset(
    [
        row(RED, "a", vqa(SHIPS, "3", "count"), vqa(ROOFS, "1", "count"), Question("classify", answer="harbor")),
        row(GREEN, "b", vqa(SHIPS, "3", "count"), vqa(ANY, "no", "presence"), Question("classify", answer="field")),
        row(GREEN, "c", vqa(ROOFS, "1", "count"), vqa(ROOFS, "1", "count"), Question("classify", answer="field")),
    ]
)


def test_the_commonest_answer_of_each_kind():
    test = make_dataset(
        [row(RED, "x", vqa(SHIPS, "9", "count"), vqa(ANY, "yes", "presence"), vqa("Where?", "here", "place"))]
    )
    assert [record.text for record in commonest_answers(TRAIN, test)] == ["1", "no"]
    assert [record.text for record in commonest_answers(TRAIN, test, by_question=True)] == ["3", "no"]


def test_a_question_that_training_does_not_have_is_answered_by_its_kind():
    test = make_dataset([row(RED, "x", vqa("How many planes?", "2", "count"))])
    assert [record.text for record in commonest_answers(TRAIN, test, by_question=True)] == ["1"]


def test_the_nearest_image_in_color_has_the_answers():
    test = make_dataset(
        [
            row(DARK_RED, "x", Question("classify", answer="?"), vqa(ANY, "yes", "presence")),
            row(GREEN, "y", Question("classify", answer="?"), vqa(ROOFS, "2", "count"), vqa("Why?", "so", "other")),
        ]
    )
    # DARK_RED shares no color with any image: the first is as near as the others. Of "b" and "c", which have the same
    # color, the first has no roofs.
    assert [record.text for record in nearest_image_answers(TRAIN, test)] == ["harbor", "no", "field", "1"]


def test_histograms_are_shares_of_colors():
    image = Image.fromarray(np.asarray([[[0, 0, 0], [255, 255, 255]], [[31, 31, 31], [255, 0, 0]]], dtype=np.uint8))
    histogram = color_histogram(image)
    assert (histogram[0], histogram[511], histogram[7 * 64]) == (0.5, 0.25, 0.25)
    assert histogram.sum() == 1


def test_typical_boxes_are_medians_of_shares_of_the_image():
    def box_row(name, *boxes, size=(20, 10)):
        return row(RED, name, Question("detect", query="ship", boxes=boxes, labels=("ship",) * len(boxes)), size=size)

    train = make_dataset(
        [
            box_row("a", (0, 0, 4, 4)),
            box_row("b", (2, 2, 8, 6), (4, 4, 12, 8)),
            box_row("c", (0, 0, 2, 2), size=(2, 2)),
        ]
    )
    test = make_dataset(
        [
            row(
                RED,
                "x",
                Question("ground", query="the red ship", boxes=((1, 1, 2, 2),), labels=("ship",)),
                Question("detect", query="ship"),
                Question("detect", query="tree"),
                Question("ground", query="the tree", boxes=((1, 1, 2, 2),), labels=("tree",)),
                size=(100, 200),
            )
        ]
    )
    records = typical_boxes(train, test)
    # Lefts 0, 0.1, 0.2, 0; tops 0, 0.2, 0.4, 0; rights 0.2, 0.4, 0.6, 1; bottoms 0.4, 0.6, 0.8, 1.
    assert [record.question.query for record in records] == ["the red ship", "ship"]
    assert records[0].boxes[0] == pytest.approx((0.05 * 100, 0.1 * 200, 0.5 * 100, 0.7 * 200))
    assert records[1].boxes == records[0].boxes


def test_a_class_that_most_training_answers_lack_is_not_found_anywhere():
    ship = Question("detect", query="ship", boxes=((0, 0, 4, 4),), labels=("ship",))
    train = make_dataset([row(RED, "a", ship), row(RED, "b", Question("detect", query="ship"))])
    (record,) = typical_boxes(train, make_dataset([row(RED, "x", ship)]))
    assert (record.boxes, record.parsed) == ((), True)


def of_two_ships_and_a_tree(name):
    ships, tree = ((0.0, 0.0, 4.0, 4.0), (10.0, 0.0, 14.0, 4.0)), (0.0, 5.0, 4.0, 9.0)
    return row(
        RED,
        name,
        Question("ground", query="the left ship", boxes=ships[:1], labels=("ship",)),
        Question("ground", query="the tree", boxes=(tree,), labels=("tree",)),
        Question("detect", query="ship", boxes=ships, labels=("ship", "ship")),
    )


@pytest.mark.parametrize("seed", range(3))
def test_any_box_of_the_right_class_grounds_one_of_as_many_whatever_the_seed(seed):
    test = make_dataset([of_two_ships_and_a_tree(f"{number}") for number in range(20)])
    records = right_class_boxes(test, seed=seed)
    by_class = {
        label: score_answers([record for record in records if record.labels == (label,)])["ground"]["accuracy"]
        for label in ("ship", "tree")
    }
    assert by_class == {"ship": 0.5, "tree": 1}
    assert records == right_class_boxes(test, seed=seed)
    assert records != right_class_boxes(test, seed=seed + 1)


def test_right_boxes_are_as_many_as_expected_to_half_a_question():
    test = synthetic_dataset(12, split="test")
    expected = 0.0
    for questions in test["questions"]:
        boxes = {(label, tuple(b)) for q in questions for b, label in zip(q["boxes"], q["labels"], strict=True)}
        counts = Counter(label for label, _ in boxes)
        expected += sum(1 / counts[q["labels"][0]] for q in questions if q["task"] == "ground")
    records = right_class_boxes(test)
    assert abs(sum(record.boxes == record.question.boxes for record in records) - expected) <= 0.5
    assert 0 < expected < len(records)


def test_a_phrase_that_is_its_own_class_gives_nothing_away():
    def phrase(query, label):
        return Question("ground", query=query, boxes=((0, 0, 4, 4),), labels=(label,))

    known, unknown = phrase("the left ship", "ship"), phrase("the left ship", "the left ship")
    train = make_dataset([row(RED, "t", known, unknown)])
    both = make_dataset([row(RED, "x", known), row(RED, "y", unknown)])
    for records in (right_class_boxes(both), typical_boxes(train, both)):
        assert [record.image_id for record in records] == ["x"]
    scores = score_baselines(train, [both])
    assert scores["right_class_box"]["ground"]["accuracy"] == scores["typical_box"]["ground"]["accuracy"] == 0.5
    nothing = make_dataset([row(RED, "y", unknown)])
    assert score_baselines(train, [nothing]) == {}


def test_the_canonical_caption_is_below_the_top_where_there_are_paraphrases():
    captions = [("two ships in water", "a couple of boats"), ("a field", "green land"), ("some roofs", "houses")]
    rows = [
        row(RED, f"{number}", Question("caption", answer=of_image[0], references=of_image))
        for number, of_image in enumerate(captions)
    ]
    records = canonical_captions(make_dataset(rows))
    assert [record.text for record in records] == [of_image[0] for of_image in captions]
    assert 0 < score_answers(records)["caption"]["cider"] < 10
    train = make_dataset([row(RED, "t", Question("caption", answer="Green land."))])
    assert caption_overlap(train, make_dataset(rows)) == pytest.approx(1 / 6)
    assert caption_overlap(train, TRAIN) is None


def test_every_baseline_answers_synthetic_scenes_in_the_order_of_their_questions():
    train, test = synthetic_dataset(12, split="train"), synthetic_dataset(4, split="test")
    rows = test.select_columns(["image_id", "questions"])
    asked = [(row["image_id"], question["task"], question["query"]) for row in rows for question in row["questions"]]
    for baseline in BASELINES.values():
        records = baseline.answer(train, test)
        order = [asked.index((record.image_id, record.question.task, record.question.query)) for record in records]
        assert records
        assert order == sorted(order)
        assert score_answers(records)
    of_truth = {"right_class_box", "canonical_caption"}
    assert {name for name, baseline in BASELINES.items() if baseline.uses_truth} == of_truth
    assert {name for name, baseline in BASELINES.items() if not baseline.needs_training} == of_truth


def test_scores_are_those_of_the_answers():
    train, test = synthetic_dataset(6, split="train"), synthetic_dataset(4, split="test")
    scores = score_baselines(train, [test], tasks=["vqa", "caption"])
    assert scores["commonest"]["vqa"] == score_answers(commonest_answers(train, test))["vqa"]
    assert set(scores["canonical_caption"]) == {"caption"}
    assert "typical_box" not in scores  # which answers no such question
    assert "confidence_intervals" in score_baselines(train, [test], tasks=["vqa"], bootstrap=5)["commonest"]["vqa"]


def test_without_training_rows_those_that_need_none_are_scored():
    test = synthetic_dataset(2, split="test")
    assert list(score_baselines(None, [test])) == ["right_class_box", "canonical_caption"]
    assert score_baselines(None, [test], tasks=["vqa"]) == {}
    with pytest.raises(ValueError, match="the baseline typical_box answers from training rows; give some"):
        BASELINES["typical_box"].answer(None, test)


def test_questions_that_a_baseline_cannot_answer_count_as_not_answered():
    known, unknown = vqa(SHIPS, "3", "count"), vqa("Where?", "here", "place")
    ship = Question("ground", query="the ship", boxes=((0, 0, 4, 4),), labels=("ship",))
    boat = Question("ground", query="the boat", boxes=((0, 0, 4, 4),), labels=("boat",))
    train = make_dataset([row(RED, "a", known, ship)])
    tests = [make_dataset([row(RED, "x", unknown, known, boat)]), make_dataset([row(RED, "y", unknown, ship)])]
    scores = score_baselines(train, tests)
    for name in ("commonest", "commonest_by_question", "nearest_image"):
        figures = scores[name]["vqa"]
        assert set(scores[name]) == {"vqa"}
        assert (figures["num_samples"], figures["accuracy"], figures["parse_rate"]) == (3, 1 / 3, 1 / 3)
        assert figures["by_kind"]["place"]["accuracy"] == 0
    assert scores["typical_box"]["ground"]["num_samples"] == 2
    assert scores["typical_box"]["ground"]["accuracy"] == 0.5
    # Nobody answers anything in a task: no figures of it.
    assert score_baselines(train, tests[1:], tasks=["vqa"]) == {}


def test_baselines_are_scored_by_the_rules_of_the_model():
    train = make_dataset([row(RED, "a", Question("classify", answer="storage-tanks"))])
    test = make_dataset([row(RED, "x", Question("classify", answer="storage tank"))])
    rules = ScoringRules(answer_rules=("rsvqa_lr",))
    figures = score_baselines(train, [test], rules=rules)["nearest_image"]["classify"]
    assert (figures["accuracy"], figures["accuracy_lenient"], figures["accuracy_rsvqa_lr"]) == (0, 1, 0)
    assert "accuracy_rsvqa_lr" not in score_baselines(train, [test])["nearest_image"]["classify"]
