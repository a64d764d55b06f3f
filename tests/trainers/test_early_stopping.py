# SPDX-License-Identifier: Apache-2.0
"""A run ends when its model gets no better, and what decides is in its checkpoints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerState

from geodit.trainers.early_stopping import StopWhenNoBetter, evaluations_without_progress
from geodit.trainers.training_arguments import GeoDiTTrainingArguments


def state(values):
    log = []
    for step, value in enumerate(values, 1):
        log += [{"loss": 1.0, "step": step}, {"eval_score": value, "step": step}]
    return TrainerState(log_history=log)


@pytest.mark.parametrize(
    ("values", "passed"), [([], 0), ([0.5], 0), ([0.5, 0.4], 1), ([0.5, 0.5, 0.5], 2), ([0.5, 0.4, 0.6, 0.1], 1)]
)
def test_evaluations_since_the_best_are_counted(values, passed):
    assert evaluations_without_progress(state(values), "score", True) == passed
    assert evaluations_without_progress(state([-value for value in values]), "eval_score", False) == passed


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=1), st.sampled_from([True, False]))
def test_the_first_of_the_best_counts(values, greater):
    passed = evaluations_without_progress(state(values), "score", greater)
    best = max(values) if greater else min(values)
    assert values[len(values) - 1 - passed] == best
    assert best not in values[: len(values) - 1 - passed]


def test_patience_is_an_evaluation_at_least():
    with pytest.raises(ValueError, match="at least 1 evaluation"):
        StopWhenNoBetter(0)


def test_the_argument_needs_a_best_model(tmp_path):
    with pytest.raises(ValueError, match="early_stopping_patience needs load_best_model_at_end"):
        GeoDiTTrainingArguments(str(tmp_path), early_stopping_patience=1, use_cpu=True)
    with pytest.raises(ValueError, match="early_stopping_patience must not be negative"):
        GeoDiTTrainingArguments(str(tmp_path), early_stopping_patience=-1, use_cpu=True)


def test_a_run_ends_early_and_keeps_the_best(make_trainer, make_model, items, tmp_path):
    model, processor = make_model()
    trainer = make_trainer(
        model,
        processor,
        items,
        tmp_path,
        eval_items=items,
        learning_rate=1e-12,
        max_steps=20,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_score",
        greater_is_better=True,
        early_stopping_patience=3,
        score_answers=lambda model: {"score": 0.5},
    )
    trainer.train()
    assert trainer.state.global_step == 8
    assert trainer.state.best_global_step == 2
