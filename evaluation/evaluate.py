# SPDX-License-Identifier: Apache-2.0
"""Asking a model every question of a data set, and scoring its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answer_store import KeptAnswers
from geodit.evaluation.answerers import collect_answers
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.collecting import Progress
from geodit.evaluation.generating import GeoDiTAnswerer
from geodit.evaluation.scoring import ScoringRules, score_answers
from geodit.evaluation.settings import evaluation_options

if TYPE_CHECKING:
    import datasets

    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["EvaluationResult", "evaluate_model"]


@dataclass(frozen=True)
class EvaluationResult:
    """What a model reached on a data set.

    Args:
        settings: How the answers were decoded.
        figures: For each task the result of its metric, see [`~geodit.evaluation.scoring.score_answers`].
        answers: Every answer, in the order of the data set.
        seconds: Wall-clock time of preparing, generating and reading the answers, without scoring; of several
            processes the sum.
    """

    settings: DecodingOptions
    figures: dict[str, JsonObject]
    answers: tuple[AnswerRecord, ...]
    seconds: float

    @property
    def num_images(self) -> int:
        """Number of images that were asked about."""
        return len({answer.image_id for answer in self.answers})

    @property
    def mean_steps(self) -> float:
        """Denoising steps that an answer took, on average."""
        return sum(answer.num_steps for answer in self.answers) / len(self.answers)

    @property
    def parse_rate(self) -> float:
        """Share of the answers, of all tasks, that parsed."""
        return sum(answer.parsed for answer in self.answers) / len(self.answers)

    def to_dict(self) -> JsonObject:
        """Return the result without its answers, in types that JSON has."""
        return {
            "settings": self.settings.to_dict(),
            "num_images": self.num_images,
            "num_questions": len(self.answers),
            "parse_rate": self.parse_rate,
            "mean_steps": self.mean_steps,
            "seconds": self.seconds,
            "figures": self.figures,
        }


def evaluate_model(
    model: GeoDiTForMaskedDiffusion,
    processor: GeoDiTProcessor,
    dataset: datasets.Dataset,
    settings: DecodingOptions | None = None,
    *,
    tasks: Sequence[str] | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    bootstrap: int = 0,
    progress: Progress | None = None,
    keep: KeptAnswers | None = None,
    rules: ScoringRules | None = None,
) -> EvaluationResult:
    """Ask a model every question of a data set and score the answers.

    Answers do not depend on `batch_size` beyond rounding: every question has random numbers of its own, drawn
    from the seed and the question's place in the data set.

    Args:
        model: The model, on the device where it shall run. It is put in evaluation mode for the time.
        processor: Its processor.
        dataset: A data set as [`geodit.data.schema`] describes it.
        settings: How to decode; what is `None` has GeoDiT's default, and the seed 0.
        tasks: Ask the questions of these tasks only.
        batch_size: How many questions to answer at once.
        limit: Use the first so many images only.
        bootstrap: Number of bootstrap resamples, over images, for 95% confidence intervals; 0 for none.
        progress: Called with the number of answers so far and in all.
        keep: Where answers are kept as they are given. Those that are there are not asked for again. By default they
            are in memory only.
        rules: How to score.

    Returns:
        Figures, answers and timing.

    Raises:
        ValueError: If there is no question to ask, an argument is invalid, an answer of a closed set does not fit its
            canvas, or the folder keeps answers of something else.
        OSError: If an answer cannot be kept.
        ModuleNotFoundError: If boxes are written in numbers, for whose form outlines-core is needed, and it is not
            installed.
    """
    settings = evaluation_options(settings)
    answers, seconds = collect_answers(
        GeoDiTAnswerer(model, processor, settings),
        dataset,
        tasks=tasks,
        batch_size=batch_size,
        limit=limit,
        progress=progress,
        keep=keep,
    )
    figures = score_answers(answers, bootstrap=bootstrap, rules=rules)
    return EvaluationResult(settings, figures, tuple(answers), seconds)
