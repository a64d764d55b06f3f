# SPDX-License-Identifier: Apache-2.0
"""Answers that another program wrote are put beside their questions; what is missing counts as wrong."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geodit.data.schema import QuestionDataset
from geodit.evaluation.given_answers import read_given_answers
from geodit.evaluation.scoring import score_answers
from geodit.processing.boxes_geodit import get_box_codec

CODEC = get_box_codec("integers_1000")


def lines_of(dataset, **changes):
    """The right answer to every question, as another program would write it."""
    lines = []
    for item in QuestionDataset(dataset):
        question = item["question"]
        line = {"image_id": item["image_id"], "task": question.task, "query": question.query}
        if question.task in ("ground", "detect"):
            line["boxes"] = [list(box) for box in question.boxes]
        else:
            line["text"] = question.answer
        lines.append(line | changes)
    return lines


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_right_answers_are_right(dataset, tmp_path):
    answers = read_given_answers(write(tmp_path / "a.jsonl", lines_of(dataset)), dataset)
    figures = score_answers(answers)
    assert [answer.question for answer in answers] == [item["question"] for item in QuestionDataset(dataset)]
    assert figures["detect"]["f1"] == figures["ground"]["accuracy"] == figures["vqa"]["accuracy"] == 1.0


def test_the_order_of_the_lines_does_not_matter(dataset, tmp_path):
    lines = lines_of(dataset)
    first = read_given_answers(write(tmp_path / "a.jsonl", lines), dataset)
    assert read_given_answers(write(tmp_path / "b.jsonl", lines[::-1]), dataset) == first


def test_boxes_in_a_text_are_read_as_their_notation_says(dataset, tmp_path):
    lines = [line for line in lines_of(dataset) if line["task"] == "ground"]
    for line in lines:
        [box] = line.pop("boxes")
        line["text"] = CODEC.encode([box], (32, 32))
    path = write(tmp_path / "a.jsonl", lines)
    answers = read_given_answers(path, dataset, tasks=["ground"], codec=CODEC)
    assert score_answers(answers)["ground"]["accuracy"] == 1.0
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: boxes in a text need to be said how they are written"):
        read_given_answers(path, dataset, tasks=["ground"])


def test_what_was_not_answered_is_wrong(dataset, tmp_path):
    lines = [line for line in lines_of(dataset) if line["task"] == "classify"][:1]
    answers = read_given_answers(write(tmp_path / "a.jsonl", lines), dataset, tasks=["classify"])
    assert [answer.parsed for answer in answers] == [True, False, False, False]
    assert score_answers(answers)["classify"]["accuracy"] == 0.25


def test_scores_and_labels_are_kept(dataset, tmp_path):
    lines = [line for line in lines_of(dataset) if line["task"] == "detect"]
    for line in lines:
        line["scores"] = [0.5] * len(line["boxes"])
        line["labels"] = ["boat"] * len(line["boxes"])
    answers = read_given_answers(write(tmp_path / "a.jsonl", lines), dataset, tasks=["detect"])
    with_boxes = [answer for answer in answers if answer.boxes]
    assert {answer.scores for answer in with_boxes} == {(0.5,)}
    assert {answer.labels for answer in with_boxes} == {("boat",)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"image_id": "nowhere", "task": "vqa", "text": "yes"}, "there is no question vqa '' about image 'nowhere'"),
        ({"image_id": "image-0", "task": "classify"}, "it has neither text nor boxes"),
        ({"image_id": "image-0", "task": "classify", "text": 3}, "text must be a string, got int"),
        ({"image_id": "image-0", "task": "classify", "txt": "a"}, "unknown fields txt"),
        ({"image_id": "image-0", "task": "detect", "query": "ship", "boxes": [[1, 2, 3]]}, "boxes must be a list of"),
        ({"image_id": "image-0", "task": "detect", "query": "ship", "boxes": [[3, 2, 1, 4]]}, "x1 <= x2"),
        *(
            (
                {"image_id": "image-0", "task": "detect", "query": "ship", "boxes": [[1, 2, 3, 4]], "scores": [score]},
                "scores must be numbers from 0 to 1",
            )
            for score in (87, 1.01, -0.1)
        ),
        (
            {"image_id": "image-0", "task": "detect", "query": "ship", "boxes": [[1, 2, 3, 4]], "scores": [1, 2]},
            "as many labels, and scores",
        ),
    ],
)
def test_a_wrong_line_is_named(dataset, tmp_path, line, message):
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2") as caught:
        read_given_answers(write(tmp_path / "a.jsonl", [*lines_of(dataset)[-1:], line]), dataset)
    assert message in str(caught.value)


def test_images_that_are_not_asked_about_are_passed_over(dataset, tmp_path):
    path = write(tmp_path / "a.jsonl", lines_of(dataset))
    part, names = dataset.select(range(2)), dataset["image_id"]
    with pytest.raises(ValueError, match="there is no question caption '' about image 'image-2' left to answer"):
        read_given_answers(path, part)
    # Those that are asked about count, even if they are named.
    answers = read_given_answers(path, part, ignored_images=names)
    assert answers == read_given_answers(path, dataset)[: len(answers)]
    assert {answer.image_id for answer in answers} == {"image-0", "image-1"}
    unknown = write(tmp_path / "b.jsonl", [{"image_id": "nowhere", "task": "vqa", "text": "yes"}])
    with pytest.raises(ValueError, match="about image 'nowhere'"):
        read_given_answers(unknown, part, ignored_images=names)


def test_a_file_that_is_not_there_is_named(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no file .*none\.jsonl: give one with an answer in"):
        read_given_answers(tmp_path / "none.jsonl", dataset)


def test_a_question_is_answered_once(dataset, tmp_path):
    lines = lines_of(dataset)
    with pytest.raises(ValueError, match="left to answer"):
        read_given_answers(write(tmp_path / "a.jsonl", [*lines, lines[0]]), dataset)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_file_is_answers_or_one_error(dataset, tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.jsonl"):
        read_given_answers(path, dataset)
