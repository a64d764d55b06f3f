# SPDX-License-Identifier: Apache-2.0
"""Asking a model every question of a data set, and scoring its answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import TASKS, QuestionDataset, QuestionItem, check_tasks
from geodit.evaluation.answer_store import AnswerStore
from geodit.evaluation.answers import AnswerRecord, record_answer
from geodit.evaluation.scoring import score_answers
from geodit.evaluation.settings import evaluation_options
from geodit.processing.answer_patterns import build_answer_pattern
from geodit.processing.asking import ImageQuestion, ask
from geodit.processing.box_scores import DEFAULT_BOX_SCORE, get_box_score, score_boxes
from geodit.processing.tasks_geodit import names_several_classes

if TYPE_CHECKING:
    import datasets

    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["EvaluationResult", "answers_of", "evaluate_model", "generate_answers"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EvaluationResult:
    """What a model reached on a data set.

    Args:
        settings: How the answers were decoded.
        figures: For each task the result of its metric, see [`~geodit.evaluation.scoring.score_answers`].
        answers: Every answer, in the order of the data set.
        seconds: Wall-clock time of preparing, generating and reading the answers, without scoring.
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

    Returns:
        Figures, answers and timing.

    Raises:
        ValueError: If there is no question to ask, an argument is invalid, or an answer of a closed set does not fit
            its canvas.
        ModuleNotFoundError: If boxes are written in numbers, for whose form outlines-core is needed, and it is not
            installed.
    """
    settings = evaluation_options(settings)
    closed_sets = {task: answers_of(dataset, task) for task in settings.closed_set}
    if limit is not None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1 image, not {limit}")
        dataset = dataset.select(range(min(limit, len(dataset))))
    started = time.perf_counter()
    answers = generate_answers(
        model,
        processor,
        dataset,
        settings,
        tasks=tasks,
        batch_size=batch_size,
        progress=progress,
        closed_sets=closed_sets,
    )
    seconds = time.perf_counter() - started
    figures = score_answers(answers, bootstrap=bootstrap)
    return EvaluationResult(settings, figures, tuple(answers), seconds)


def generate_answers(
    model: GeoDiTForMaskedDiffusion,
    processor: GeoDiTProcessor,
    dataset: datasets.Dataset,
    settings: DecodingOptions,
    *,
    tasks: Sequence[str] | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
    closed_sets: Mapping[str, Sequence[str]] | None = None,
    store: AnswerStore | None = None,
    share: tuple[int, int] = (0, 1),
) -> list[AnswerRecord]:
    """Answer every question of a data set, without scoring.

    Args:
        model: See `evaluate_model`, as for all other arguments.
        processor: The model's processor.
        dataset: The data set.
        settings: How to decode.
        tasks: Ask the questions of these tasks only.
        batch_size: How many questions to answer at once.
        progress: Called with the number of answers so far and in all.
        closed_sets: The only answers that there are, by task; by default, for the tasks that the settings name, those
            of the data set.
        store: Keeps every answer at once; the questions that it has answers to are not asked.
        share: Number of this process and of all that share the questions: `(0, 2)` asks every other question.

    Returns:
        One record per question, in the order of the data set; with a share those of this process, and all that the
        store had before.

    Raises:
        ValueError: See `evaluate_model`.
        ModuleNotFoundError: Likewise.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    check_tasks(tasks)
    questions = QuestionDataset(dataset)
    settings = evaluation_options(settings)
    by_form = _by_form(questions, TASKS if tasks is None else tasks)
    total = sum(map(len, by_form.values()))
    if not total:
        asked = "any task" if tasks is None else " or ".join(tasks)
        raise ValueError(f"the data set of {len(dataset)} images has no question of {asked}")

    if closed_sets is None:
        closed_sets = {task: answers_of(dataset, task) for task in settings.closed_set}
    patterns = {
        form: build_answer_pattern(
            processor,
            form.task,
            questions.questions[indices[0]].query,
            choices=closed_sets.get(form.task),
            structured=settings.structured,
        )
        for form, indices in by_form.items()
    }
    answers: dict[int, AnswerRecord] = {} if store is None else dict(store.answers)
    process, processes = share
    by_form = {
        form: [index for index in indices[process::processes] if index not in answers]
        for form, indices in by_form.items()
    }
    total = len(answers) + sum(map(len, by_form.values()))
    items: dict[int, QuestionItem] = {}

    def read(indices: Sequence[int]) -> Iterator[ImageQuestion]:
        for index in indices:
            items[index] = item = questions[index]
            yield ImageQuestion(item["image"], item["question"].query, index)

    rule = get_box_score(DEFAULT_BOX_SCORE)
    was_training = model.training
    model.train(False)
    try:
        for form, indices in by_form.items():
            if not indices:
                continue
            for reply in ask(
                model,
                processor,
                form.task,
                read(indices),
                options=settings,
                pattern=patterns[form],
                batch_size=batch_size,
                by_model=False,
            ):
                index = reply.question.number
                size = reply.question.image_size
                scores = score_boxes(processor, reply.tokens, size, rule) if reply.answer["boxes"] else ()
                answers[index] = record_answer(items.pop(index), reply.answer, reply.tokens.steps_made, scores)
                if store is not None:
                    store.add(index, answers[index])
                if progress is not None:
                    progress(len(answers), total)
    finally:
        model.train(was_training)
    return [answers[index] for index in sorted(answers)]


def answers_of(dataset: datasets.Dataset, task: str) -> list[str]:
    """Return the right answers that a data set has to the questions of a task, each once, sorted.

    Args:
        dataset: A data set as [`geodit.data.schema`] describes it.
        task: A task that is answered by a text.

    Raises:
        ValueError: If there are none.
    """
    answers = {question.answer for question in QuestionDataset(dataset).questions if question.task == task}
    if not answers - {""}:
        raise ValueError(f"the data set has no answers to {task} that a closed set could be made of")
    return sorted(answers - {""})


class _Form(NamedTuple):
    """What the form of an answer depends on."""

    task: str
    several_classes: bool


def _by_form(questions: QuestionDataset, tasks: Sequence[str]) -> dict[_Form, list[int]]:
    """Return the indices of the questions of some tasks by the form of their answers, in the order of the tasks."""
    by_form: dict[_Form, list[int]] = {}
    for index, question in enumerate(questions.questions):
        if question.task in tasks:
            by_form.setdefault(_Form(question.task, names_several_classes(question.query)), []).append(index)
    return dict(sorted(by_form.items(), key=lambda item: (TASKS.index(item[0].task), item[0])))
