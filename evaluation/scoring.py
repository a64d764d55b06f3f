# SPDX-License-Identifier: Apache-2.0
"""From answers to figures, task by task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.data.schema import TASKS
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.metrics import CaptioningMetric, DetectionMetric, ExactMatchMetric, GroundingMetric

__all__ = ["iterate_figures", "score_answers"]

Scorer = Callable[..., JsonObject]


def score_answers(
    answers: Sequence[AnswerRecord], *, bootstrap: int = 0, bootstrap_seed: int = 0
) -> dict[str, JsonObject]:
    """Score the answers of each task by its metric.

    Args:
        answers: Answers to questions of any tasks, in any order.
        bootstrap: Number of bootstrap resamples, over images, for 95% confidence intervals; 0 for none.
        bootstrap_seed: Seed of the resampling.

    Returns:
        For each task that has answers `mean_steps`, the denoising steps made per answer, and the result of its metric:
        `CaptioningMetric` (`caption`), `GroundingMetric` (`ground`), `DetectionMetric` (`detect`), `ExactMatchMetric`
        (`vqa`, `classify`).

    Raises:
        ValueError: If there are no answers, or a grounding question has not exactly one true box.
    """
    if not answers:
        raise ValueError("there are no answers to score")
    scorers: Mapping[str, Scorer] = {
        "caption": _score_captions,
        "ground": _score_grounding,
        "detect": _score_detection,
        "vqa": _score_text,
        "classify": _score_text,
    }
    figures = {}
    for task in TASKS:
        of_task = [answer for answer in answers if answer.question.task == task]
        if of_task:
            figures[task] = scorers[task](
                of_task,
                groups=[answer.image_id for answer in of_task],
                bootstrap=bootstrap,
                bootstrap_seed=bootstrap_seed,
            )
            figures[task]["mean_steps"] = sum(answer.num_steps for answer in of_task) / len(of_task)
    return figures


def iterate_figures(figures: Mapping[str, JsonObject]) -> Iterator[tuple[str, float]]:
    """Yield the figures that describe quality and steps, under flat names.

    Args:
        figures: What `score_answers` returns.

    Yields:
        `(name, value)`, e.g. `("detect.f1", 0.5)` or `("vqa.count.accuracy", 0.7)`. Counts, thresholds,
        intervals and undefined figures are left out.
    """
    for task, result in figures.items():
        for name, value in _qualities(result):
            yield f"{task}.{name}", value
        for kind, of_kind in result.get("by_kind", {}).items():
            if kind != task:
                for name, value in _qualities(of_kind):
                    yield f"{task}.{kind}.{name}", value


def _qualities(result: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for name, value in result.items():
        if isinstance(value, float) and name != "iou_threshold":
            yield name, value


def _text_predictions(answers: Sequence[AnswerRecord]) -> list[Item]:
    return [{"text": answer.text, "parsed": answer.parsed} for answer in answers]


def _score_captions(answers: Sequence[AnswerRecord], **options: object) -> JsonObject:
    references = [list(answer.question.references or (answer.question.answer,)) for answer in answers]
    result: JsonObject = CaptioningMetric().compute(
        predictions=_text_predictions(answers), references=references, **options
    )
    return result


def _score_grounding(answers: Sequence[AnswerRecord], **options: object) -> JsonObject:
    for answer in answers:
        if len(answer.question.boxes) != 1:
            raise ValueError(
                f"image {answer.image_id!r}: grounding {answer.question.query!r} needs exactly one true box, "
                f"but has {len(answer.question.boxes)}"
            )
    result: JsonObject = GroundingMetric().compute(
        predictions=[{"boxes": [list(box) for box in answer.boxes], "parsed": answer.parsed} for answer in answers],
        references=[list(answer.question.boxes[0]) for answer in answers],
        **options,
    )
    return result


def _score_detection(answers: Sequence[AnswerRecord], **options: object) -> JsonObject:
    result: JsonObject = DetectionMetric().compute(
        predictions=[
            {
                "boxes": [list(box) for box in answer.boxes],
                "labels": list(answer.labels),
                "scores": list(answer.scores),
                "parsed": answer.parsed,
            }
            for answer in answers
        ],
        references=[
            {
                "boxes": [list(box) for box in answer.question.boxes],
                "labels": list(answer.question.labels),
            }
            for answer in answers
        ],
        **options,
    )
    return result


def _score_text(answers: Sequence[AnswerRecord], **options: object) -> JsonObject:
    result: JsonObject = ExactMatchMetric().compute(
        predictions=_text_predictions(answers),
        references=[{"answer": answer.question.answer, "kind": answer.question.kind} for answer in answers],
        **options,
    )
    return result
