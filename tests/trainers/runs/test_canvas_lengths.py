# SPDX-License-Identifier: Apache-2.0
"""No answer is cut short unasked: canvases are long enough, or training does not begin."""

import numpy as np
import pytest

from geodit.data.schema import Question, make_dataset, make_row
from geodit.trainers.runs.canvas_lengths import check_canvas_lengths, longest_answers, set_canvas_lengths
from tiny_models import build_model


def rows(*numbers):
    found = []
    for number in numbers:
        boxes = tuple((1.0 + index, 2.0, 30.0 + index, 40.0) for index in range(number))
        questions = [Question("detect", "ship", boxes=boxes, labels=("ship",) * number)]
        questions.append(Question("vqa", "How many ships?", answer="ships " * number + "end"))
        found.append(make_row(np.zeros((48, 96, 3), np.uint8), str(number), questions))
    return make_dataset(found)


@pytest.mark.parametrize("box_format", ["location_tokens", "integers_1000"])
def test_the_longest_answer_is_that_which_training_writes(box_format):
    _, processor = build_model(box_format=box_format, texts=["ship ships end"])
    data = rows(0, 3, 2)
    expected: dict[str, int] = {}
    for row in data:
        for question in row["questions"]:
            text = processor.format_answer(
                question["task"],
                answer=question["answer"],
                boxes=question["boxes"],
                labels=question["labels"],
                image_size=(48, 96),
            )
            length = len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
            expected[question["task"]] = max(expected.get(question["task"], 0), length)
    assert longest_answers(data, processor) == expected


def test_answers_that_do_not_fit_are_one_error_that_says_what_would():
    _, processor = build_model(texts=["ship ships end"])
    set_canvas_lengths(processor, {"detect": 8, "vqa": 64})
    with pytest.raises(ValueError, match=r"by canvas_lengths with at least detect=12, or import with --max-objects"):
        check_canvas_lengths([rows(1), rows(3, 2)], processor)
    set_canvas_lengths(processor, {"detect": 12})
    check_canvas_lengths([rows(1), rows(3, 2)], processor)
    assert processor.canvas_length("detect") == 12


def test_a_task_that_is_unknown_has_no_canvas():
    _, processor = build_model()
    with pytest.raises(ValueError, match="segment"):
        set_canvas_lengths(processor, {"segment": 8})
