# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest

from geodit.data.schema import Question
from geodit.evaluation.answers import AnswerRecord, load_answers, save_answers

BOX = (1.0, 2.0, 3.5, 4.0)
ANSWER = AnswerRecord(
    image_id="café",
    image_size=(96, 128),
    question=Question("detect", query="ship", boxes=(BOX,), labels=("ship",)),
    text="<loc_1><loc_2>",
    boxes=(BOX, BOX),
    labels=("ship", "ship"),
    parsed=False,
    num_steps=8,
)
OTHER = AnswerRecord("b", (96, 96), Question("vqa", query="How many?", answer="2", kind="count"), "2", (), (), True, 1)


def test_answers_survive_a_file(tmp_path):
    path = tmp_path / "answers.jsonl"
    save_answers(path, [ANSWER, OTHER])
    assert load_answers(path) == [ANSWER, OTHER]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2"),
        ("[]", "JSON object"),
        (json.dumps({"image_id": "a"}), "missing or unknown"),
        (json.dumps({**ANSWER.to_dict(), "image_size": 96}), "line 2"),
        (json.dumps({**ANSWER.to_dict(), "boxes": [[1, 2]]}), "line 2"),
        (json.dumps({**ANSWER.to_dict(), "boxes": [[1, 2, 3, float("nan")]]}), "it has no NaN"),
        (json.dumps({**ANSWER.to_dict(), "boxes": [[1, 2, 3, 10**400]]}), "too large"),
        (json.dumps({**ANSWER.to_dict(), "boxes": None}), "line 2"),
        (json.dumps({**ANSWER.to_dict(), "text": 7}), "text must be a text, got 7"),
        (json.dumps({**ANSWER.to_dict(), "question": []}), "missing or unknown"),
        (json.dumps({**ANSWER.to_dict(), "question": 7}), "line 2"),
        (json.dumps({**ANSWER.to_dict(), "labels": 7}), "line 2"),
        (json.dumps(ANSWER.to_dict())[:-9], "line 2 is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "Exceeds the limit"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(ANSWER.to_dict()) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        load_answers(path)
    assert "answers.jsonl, line 2" in str(error.value)


def test_characters_that_end_a_line_elsewhere_are_part_of_an_answer(tmp_path):
    answer = replace(OTHER, text="two\u2028or\x85three\r\n")
    path = tmp_path / "answers.jsonl"
    save_answers(path, [answer, OTHER])
    assert load_answers(path) == [answer, OTHER]


def test_a_file_without_an_answer_is_empty(tmp_path):
    save_answers(tmp_path / "answers.jsonl", [])
    assert load_answers(tmp_path / "answers.jsonl") == []


def test_what_cannot_be_written_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "answers.jsonl"
    save_answers(path, [OTHER])
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_answers(path, [OTHER, replace(OTHER, boxes=((1.0, 2.0, 3.0, float("inf")),), labels=("a",))])
    assert load_answers(path) == [OTHER]
    assert [one.name for one in tmp_path.iterdir()] == ["answers.jsonl"]
