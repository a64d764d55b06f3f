# SPDX-License-Identifier: Apache-2.0
"""From answers to figures, task by task."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.data.schema import TASKS
from geodit.evaluation.answer_rules import get_answer_rule
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.caption_tokens import check_tokenizer, java_command
from geodit.evaluation.metrics.base import Scored, summarize
from geodit.evaluation.metrics.captioning import judge_captions
from geodit.evaluation.metrics.detection import judge_detection
from geodit.evaluation.metrics.exact_match import judge_texts
from geodit.evaluation.metrics.grounding import judge_grounding

__all__ = [
    "PooledAnswers",
    "ScoringRules",
    "iterate_figures",
    "iterate_intervals",
    "judge_answers",
    "pool_runs",
    "score_answers",
]


@dataclass(frozen=True)
class ScoringRules:
    """What can be chosen about how answers are scored.

    Args:
        tokenizer: How captions are cut into words: `"plain"`, or `"ptb"`, which needs Java.
        meteor: Compute METEOR of captions, which needs Java and half a minute.
        label_rule: When the class names of boxes are the same, see
            [`~geodit.evaluation.answer_rules.ANSWER_RULES`].
        answer_rules: Further rules by which short answers are compared, beside `strict` and `lenient`.

    Raises:
        ValueError: If a rule or the tokenizer is unknown.
        FileNotFoundError: If Java is needed, and there is none.
    """

    tokenizer: str = "plain"
    meteor: bool = False
    label_rule: str = "strict"
    answer_rules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.label_rule, *self.answer_rules):
            get_answer_rule(name)
        check_tokenizer(self.tokenizer)
        if self.meteor:
            java_command("METEOR")

    def with_answer_rules(self, names: Sequence[str]) -> ScoringRules:
        """Return the same with further rules for short answers."""
        return replace(self, answer_rules=tuple(dict.fromkeys((*self.answer_rules, *names))))


@dataclass(frozen=True)
class PooledAnswers:
    """The answers of several runs.

    Args:
        answers: Of all runs that differ, one run after the other.
        images: The image of each answer: equal for the same questions about the same image in several runs.
        num_runs: How many runs there are that differ.
    """

    answers: tuple[AnswerRecord, ...]
    images: tuple[Hashable, ...]
    num_runs: int


def pool_runs(runs: Sequence[Sequence[AnswerRecord]]) -> PooledAnswers:
    """Put the answers of several runs together, to score them with intervals over all their images.

    A run that repeats the answers of an earlier one, as decoding that draws nothing at random does, tells nothing new
    and is left out. An image is the same in two runs if its name and the questions about it are: then its answers are
    drawn together by a bootstrap.

    Args:
        runs: The answers of each run.

    Raises:
        ValueError: If there are no answers.
    """
    different = list(dict.fromkeys(tuple(run) for run in runs))
    images: list[Hashable] = []
    for run in different:
        asked: dict[str, list[Hashable]] = {}
        for answer in run:
            asked.setdefault(answer.image_id, []).append(answer.question)
        names = {image_id: (image_id, frozenset(questions)) for image_id, questions in asked.items()}
        images += [names[answer.image_id] for answer in run]
    if not images:
        raise ValueError("there are no answers to pool")
    return PooledAnswers(tuple(answer for run in different for answer in run), tuple(images), len(different))


def score_answers(
    answers: Sequence[AnswerRecord],
    *,
    bootstrap: int = 0,
    bootstrap_seed: int = 0,
    rules: ScoringRules | None = None,
    images: Sequence[Hashable] | None = None,
) -> dict[str, JsonObject]:
    """Score the answers of each task by its metric.

    Args:
        answers: Answers to questions of any tasks, in any order.
        bootstrap: Number of bootstrap resamples, over images, for 95% confidence intervals; 0 for none.
        bootstrap_seed: Seed of the resampling.
        rules: How to score; by default what needs no Java.
        images: The image of each answer, for the bootstrap; by default its `image_id`. [`pool_runs`] gives those of
            several runs.

    Returns:
        For each task that has answers `mean_steps`, the denoising steps made per answer, and the result of its metric:
        `CaptioningMetric` (`caption`), `GroundingMetric` (`ground`), `DetectionMetric` (`detect`), `ExactMatchMetric`
        (`vqa`, `classify`).

    Raises:
        ValueError: If there are no answers, a grounding question has not exactly one true box, there is not one image
            per answer, or a rule is unknown.
        FileNotFoundError: If the rules need Java, and there is none.
    """
    if not answers:
        raise ValueError("there are no answers to score")
    if images is not None and len(images) != len(answers):
        raise ValueError(f"there are {len(answers)} answers but {len(images)} images; give one image per answer")
    image_of = [answer.image_id for answer in answers] if images is None else images
    figures = {}
    for task in TASKS:
        members = [index for index, answer in enumerate(answers) if answer.question.task == task]
        if not members:
            continue
        of_task = [answers[index] for index in members]
        with judge_answers(of_task, rules) as scored:
            figures[task] = summarize(
                scored,
                groups=[image_of[index] for index in members],
                bootstrap=bootstrap,
                bootstrap_seed=bootstrap_seed,
            )
        figures[task]["mean_steps"] = sum(answer.num_steps for answer in of_task) / len(of_task)
    return figures


def judge_answers(
    answers: Sequence[AnswerRecord], rules: ScoringRules | None = None
) -> AbstractContextManager[Scored]:
    """Judge answers one by one, so that figures of any choice of them can be computed.

    Args:
        answers: Answers to questions of one task, at least one.
        rules: How to score.

    Returns:
        A context manager that gives the judged answers.

    Raises:
        ValueError: As `score_answers` does, and if the answers are of several tasks.
        FileNotFoundError: Likewise.
    """
    tasks = {answer.question.task for answer in answers}
    if len(tasks) != 1:
        raise ValueError(f"answers of one task are judged together, not of {', '.join(sorted(tasks)) or 'none'}")
    judges: Mapping[str, Judge] = {
        "caption": _judge_captions,
        "ground": _judge_grounding,
        "detect": _judge_detection,
        "vqa": _judge_text,
        "classify": _judge_text,
    }
    return judges[tasks.pop()](answers, ScoringRules() if rules is None else rules)


def iterate_figures(
    figures: Mapping[str, JsonObject], parts: Sequence[str] = ("by_kind",)
) -> Iterator[tuple[str, float]]:
    """Yield the figures that describe quality and steps, under flat names.

    Args:
        figures: What `score_answers` returns.
        parts: Of which parts of the answers to yield figures, too: `"by_kind"`, `"by_size"`, `"by_relative_size"`.

    Yields:
        `(name, value)`, e.g. `("detect.f1", 0.5)` or `("vqa.count.accuracy", 0.7)`. Counts, thresholds,
        intervals and undefined figures are left out.
    """
    for task, result in figures.items():
        for name, value in _qualities(result):
            yield f"{task}.{name}", value
        for by in parts:
            for part, of_part in result.get(by, {}).items():
                if part != task:
                    for name, value in _qualities(of_part):
                        yield f"{task}.{part}.{name}", value


def iterate_intervals(
    figures: Mapping[str, JsonObject], parts: Sequence[str] = ("by_kind",)
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the 95% intervals of figures, under the names that `iterate_figures` gives them.

    Args:
        figures: What `score_answers` returns for `bootstrap` > 0; without it there are no intervals.
        parts: As for `iterate_figures`.

    Yields:
        `(name, (low, high))`.
    """
    for task, result in figures.items():
        named = [(task, result)]
        named += [
            (f"{task}.{name}", part) for by in parts for name, part in result.get(by, {}).items() if name != task
        ]
        for prefix, of_part in named:
            for name, ends in of_part.get("confidence_intervals", {}).items():
                if ends is not None:
                    yield f"{prefix}.{name}", (float(ends[0]), float(ends[1]))


def _qualities(result: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for name, value in result.items():
        if isinstance(value, float) and name != "iou_threshold":
            yield name, value


Judge = Callable[[Sequence[AnswerRecord], ScoringRules], AbstractContextManager[Scored]]


def _text_predictions(answers: Sequence[AnswerRecord]) -> list[Item]:
    return [{"text": answer.text, "parsed": answer.parsed} for answer in answers]


def _judge_captions(answers: Sequence[AnswerRecord], rules: ScoringRules) -> AbstractContextManager[Scored]:
    references = [list(answer.question.references or (answer.question.answer,)) for answer in answers]
    return judge_captions(_text_predictions(answers), references, tokenizer=rules.tokenizer, meteor=rules.meteor)


def _judge_grounding(answers: Sequence[AnswerRecord], rules: ScoringRules) -> AbstractContextManager[Scored]:
    for answer in answers:
        if len(answer.question.boxes) != 1:
            raise ValueError(
                f"image {answer.image_id!r}: grounding {answer.question.query!r} needs exactly one true box, "
                f"but has {len(answer.question.boxes)}"
            )
    return nullcontext(
        judge_grounding(
            [{"boxes": [list(box) for box in answer.boxes], "parsed": answer.parsed} for answer in answers],
            [list(answer.question.boxes[0]) for answer in answers],
            corners=[answer.corners[0] if answer.corners else None for answer in answers],
            true_corners=[answer.question.corners[0] if answer.question.corners else None for answer in answers],
            image_areas=[answer.image_size[0] * answer.image_size[1] for answer in answers],
        )
    )


def _judge_detection(answers: Sequence[AnswerRecord], rules: ScoringRules) -> AbstractContextManager[Scored]:
    return nullcontext(
        judge_detection(
            [
                {
                    "boxes": [list(box) for box in answer.boxes],
                    "labels": list(answer.labels),
                    "scores": list(answer.scores),
                    "parsed": answer.parsed,
                }
                for answer in answers
            ],
            [
                {
                    "boxes": [list(box) for box in answer.question.boxes],
                    "labels": list(answer.question.labels),
                }
                for answer in answers
            ],
            label_rule=rules.label_rule,
            corners=[answer.corners for answer in answers],
            true_corners=[answer.question.corners for answer in answers],
        )
    )


def _judge_text(answers: Sequence[AnswerRecord], rules: ScoringRules) -> AbstractContextManager[Scored]:
    references = [{"answer": answer.question.answer, "kind": answer.question.kind} for answer in answers]
    return nullcontext(judge_texts(_text_predictions(answers), references, rules=rules.answer_rules))
