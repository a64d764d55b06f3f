# SPDX-License-Identifier: Apache-2.0
"""A model on the test split, before it is trained and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets

from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.generating import generate_answers
from geodit.evaluation.main_figures import MAIN_FIGURES
from geodit.evaluation.scaled_figures import Value, scaled
from geodit.evaluation.scoring import score_answers
from geodit.evaluation.settings import evaluation_options
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.trainers.runs.canvas_lengths import set_canvas_lengths

__all__ = ["RESAMPLES", "Scores", "evaluate_checkpoint"]

RESAMPLES = 1000
"""Of each bootstrap over images."""


@dataclass(frozen=True)
class Scores:
    """What a model answers to the test questions, and how well.

    Args:
        figures: For each task the result of its metric, with 95% intervals over images.
        answers: Every answer, in the order of the questions.
    """

    figures: dict[str, JsonObject]
    answers: tuple[AnswerRecord, ...]

    def main(self, task: str) -> Value | None:
        """Return the main figure of a task with its interval, times 100; `None` if it is undefined."""
        return scaled(MAIN_FIGURES[task], self.figures[task])

    def to_dict(self) -> JsonObject:
        """Return the scores in types that JSON has."""
        return {"figures": self.figures, "answers": [answer.to_dict() for answer in self.answers]}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Scores:
        """Make scores from what `to_dict` returns.

        Raises:
            ValueError, KeyError: If it is something else.
        """
        return cls(values["figures"], tuple(AnswerRecord.from_dict(answer) for answer in values["answers"]))


def evaluate_checkpoint(
    rows: datasets.Dataset,
    *,
    model: str | None = None,
    adapter: Path | None = None,
    revision: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    canvas_lengths: Mapping[str, int],
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Load a model, answer all questions, and score them.

    Args:
        rows: A data set as [`geodit.data.schema`] describes it.
        model: Folder or Hub id.
        adapter: Folder of an adapter of it.
        revision: Of the model.
        dtype: Of the weights.
        device: Where to run; by default a GPU if there is one.
        canvas_lengths: Other canvases than those of the model, so that before and after differ in nothing else.
        batch_size: How many questions to answer at once.
        progress: Called with the number of answers so far and in all.

    Raises:
        OSError, ValueError: As [`GeoDiTPipeline.from_pretrained`].
    """
    pipeline = GeoDiTPipeline.from_pretrained(model, adapter=adapter, revision=revision, dtype=dtype, device=device)
    set_canvas_lengths(pipeline.processor, canvas_lengths)
    answers = generate_answers(
        pipeline.model, pipeline.processor, rows, evaluation_options(), batch_size=batch_size, progress=progress
    )
    return Scores(score_answers(answers, bootstrap=RESAMPLES), tuple(answers))
