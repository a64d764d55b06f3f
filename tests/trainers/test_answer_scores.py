# SPDX-License-Identifier: Apache-2.0
"""Held-out questions are answered and scored while a model is trained, which goes on as if they were not."""

import numpy as np
import pytest
import torch

from geodit.data.schema import Question, make_dataset, make_row
from geodit.evaluation.evaluate import evaluate_model
from geodit.evaluation.main_figures import main_figures, mean_score
from geodit.trainers.answer_scores import AnswerScores, choose_rows


def rows(number, questions=2):
    found = []
    for index in range(number):
        pixels = np.random.default_rng(index).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        asked = [
            Question("detect", "ship", boxes=((2.0, 3.0, 12.0, 20.0),), labels=("ship",)),
            Question("vqa", "Is there a ship?", answer="yes"),
        ]
        found.append(make_row(pixels, str(index), asked[:questions]))
    return make_dataset(found)


def test_scores_are_those_of_an_evaluation(make_model):
    model, processor = make_model()
    data = rows(3)
    scores = AnswerScores(processor, data, 100)(model)
    figures = evaluate_model(model, processor, data).figures
    assert scores == {
        "score": mean_score(figures),
        "detect_f1": figures["detect"]["f1"],
        "vqa_accuracy": figures["vqa"]["accuracy"],
    }


def test_cider_counts_as_a_tenth():
    figures = {"caption": {"cider": 5.0}, "vqa": {"accuracy": 1.0}, "detect": {"f1": None}}
    assert main_figures(figures) == {"caption": 5.0, "vqa": 1.0}
    assert mean_score(figures) == 0.75
    assert mean_score({}) == 0.0


def test_questions_are_of_images_drawn_at_random_in_their_order():
    data = rows(20)
    chosen = choose_rows(data, 9, seed=0)["image_id"]
    assert len(chosen) == 4  # of two questions each
    assert chosen == sorted(chosen, key=int)
    assert choose_rows(data, 9, seed=0)["image_id"] == chosen != choose_rows(data, 9, seed=1)["image_id"]
    assert choose_rows(data, 1000, seed=0)["image_id"] == data["image_id"]
    assert len(choose_rows(data, 1, seed=0)) == 1  # one image at least
    with pytest.raises(ValueError, match="no question that could be answered"):
        choose_rows(rows(2, questions=0), 5, seed=0)


def test_training_goes_on_as_without(make_trainer, make_model, items, tmp_path):
    states = []
    for name in ("plain", "scored"):
        model, processor = make_model()
        scored = {"score_answers": AnswerScores(processor, rows(2), 4), "eval_answers": 4} if name == "scored" else {}
        trainer = make_trainer(
            model,
            processor,
            items,
            tmp_path / name,
            eval_items=items,
            max_steps=4,
            eval_strategy="steps",
            eval_steps=2,
            **scored,
        )
        trainer.train()
        states.append((model.state_dict(), trainer.state.log_history))
    for key, value in states[0][0].items():
        assert torch.equal(states[1][0][key], value), key
    logged = [line for line in states[1][1] if "eval_score" in line]
    assert [line["step"] for line in logged] == [2, 4]
    assert {"eval_loss", "eval_score", "eval_detect_f1", "eval_vqa_accuracy"} <= logged[0].keys()


def test_who_asks_for_answers_says_how_they_are_scored(make_trainer, make_model, items, tmp_path):
    with pytest.raises(ValueError, match="eval_answers needs score_answers"):
        make_trainer(*make_model(), items, tmp_path, eval_answers=4)
