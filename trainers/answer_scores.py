# SPDX-License-Identifier: Apache-2.0
"""How well held-out questions are answered while a model is trained, beside the loss."""

from __future__ import annotations

import random
from typing import Any

import datasets

from geodit.data.schema import row_questions
from geodit.evaluation.generating import generate_answers
from geodit.evaluation.main_figures import MAIN_FIGURES, main_figures, mean_score
from geodit.evaluation.scoring import score_answers
from geodit.evaluation.settings import evaluation_options
from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["SCORE", "AnswerScores", "choose_rows"]

SCORE = "score"
"""Name of the mean over the tasks, see [`~geodit.evaluation.main_figures.mean_score`]."""


class AnswerScores:
    """Answers the same held-out questions each time, and scores them by the metrics of their tasks.

    Args:
        processor: The model's processor.
        rows: A data set as [`geodit.data.schema`] describes it.
        number: Questions to answer at most, of images that are drawn at random.
        seed: Of the draw.
        batch_size: How many questions to answer at once.

    Raises:
        ValueError: If there is no question.
    """

    def __init__(
        self, processor: GeoDiTProcessor, rows: datasets.Dataset, number: int, *, seed: int = 0, batch_size: int = 32
    ) -> None:
        self._processor = processor
        self._rows = choose_rows(rows, number, seed)
        self._batch_size = batch_size

    def __call__(self, model: Any) -> dict[str, float]:
        """Answer the questions, and return `score` and the main figure of each task, such as `detect_f1`.

        No random number of training is used.
        """
        answers = generate_answers(
            model, self._processor, self._rows, evaluation_options(), batch_size=self._batch_size
        )
        figures = score_answers(answers)
        named = {f"{task}_{MAIN_FIGURES[task]}": value for task, value in main_figures(figures).items()}
        return {SCORE: mean_score(figures), **named}


def choose_rows(rows: datasets.Dataset, number: int, seed: int) -> datasets.Dataset:
    """Draw images at random until they have so many questions, and return them in the order of the data set.

    Args:
        rows: A data set as [`geodit.data.schema`] describes it.
        number: Questions at most; but one image is always taken.
        seed: Of the draw.

    Raises:
        ValueError: If the data set has no question.
    """
    counts = [len(row_questions(row)) for row in rows.select_columns("questions")]
    order = [index for index, count in enumerate(counts) if count]
    if not order:
        raise ValueError("the held-out data have no question that could be answered to score a model")
    random.Random(seed).shuffle(order)
    chosen: list[int] = []
    total = 0
    for index in order:
        if chosen and total + counts[index] > number:
            break
        chosen.append(index)
        total += counts[index]
    return rows.select(sorted(chosen))
