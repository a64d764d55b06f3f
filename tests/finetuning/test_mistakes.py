# SPDX-License-Identifier: Apache-2.0
"""The worst answers are drawn on the images that they are about."""

import datasets
import numpy as np

from geodit.data.schema import Question, features, make_row
from geodit.evaluation.answers import AnswerRecord
from geodit.finetuning.mistakes import draw_mistakes, worst_answers

SIDE = 32


def answer(name, question, text):
    return AnswerRecord(name, (SIDE, SIDE), question, text, (), (), True, 1)


def test_the_worst_come_first_and_right_ones_not_at_all():
    question = Question("vqa", "Is there a ship?", answer="yes")
    answers = [answer("a", question, "yes"), answer("b", question, "no")]
    assert worst_answers(answers, 5) == [answers[1]]


def test_images_of_several_data_sets_may_have_one_name():
    rows, answers = [], []
    for color, label in ((0, "ship"), (200, "plane")):
        question = Question("vqa", f"Is there a {label}?", answer="yes")
        rows.append(make_row(np.full((SIDE, SIDE, 3), color, np.uint8), "01.png", [question]))
        answers.append(answer("01.png", question, "no"))
    data = datasets.Dataset.from_list(rows, features=features())
    dark, light = (np.asarray(draw_mistakes([one], data).convert("RGB")) for one in answers)
    assert (dark == 0).all(axis=2).sum() > SIDE * SIDE / 2
    assert (light == 200).all(axis=2).sum() > SIDE * SIDE / 2
