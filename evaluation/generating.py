# SPDX-License-Identifier: Apache-2.0
"""Asking GeoDiT every question of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import TASKS, QuestionDataset, QuestionItem, check_tasks
from geodit.evaluation.answer_store import AnswerStore
from geodit.evaluation.answerers import answers_of
from geodit.evaluation.answers import AnswerRecord, record_answer
from geodit.evaluation.collecting import AnswerCollector, Progress
from geodit.evaluation.commit_order import read_commit_steps
from geodit.evaluation.fingerprints import model_fingerprint
from geodit.evaluation.settings import evaluation_options
from geodit.processing.answer_patterns import build_answer_pattern
from geodit.processing.asking import ImageQuestion, ask
from geodit.processing.box_scores import DEFAULT_BOX_SCORE, get_box_score, score_boxes
from geodit.processing.tasks_geodit import names_several_classes

if TYPE_CHECKING:
    import datasets

    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["GeoDiTAnswerer", "generate_answers"]


@dataclass(frozen=True)
class GeoDiTAnswerer:
    """GeoDiT with the settings that it decodes with, as [`~geodit.evaluation.answerers.Answerer`].

    Args:
        model: On the device where it shall run.
        processor: Its processor.
        options: How to decode.
    """

    model: GeoDiTForMaskedDiffusion
    processor: GeoDiTProcessor
    options: DecodingOptions

    @property
    def decoding(self) -> DecodingOptions:
        """How answers are decoded."""
        return evaluation_options(self.options)

    @property
    def closed_set(self) -> Sequence[str]:
        """The tasks in which the answers of the data set are the only choices."""
        return self.options.closed_set

    def fingerprint(self) -> str:
        """Return a hash of the weights."""
        return model_fingerprint(self.model)

    def settings(self) -> JsonObject:
        """Return how answers are decoded, in types that JSON has."""
        return self.decoding.to_dict()

    def answer_dataset(
        self,
        dataset: datasets.Dataset,
        *,
        tasks: Sequence[str] | None = None,
        batch_size: int = 32,
        progress: Progress | None = None,
        closed_sets: Mapping[str, Sequence[str]] | None = None,
        store: AnswerStore | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> list[AnswerRecord]:
        """Answer every question of a data set, see [`generate_answers`]."""
        return generate_answers(
            self.model,
            self.processor,
            dataset,
            self.options,
            tasks=tasks,
            batch_size=batch_size,
            progress=progress,
            closed_sets=closed_sets,
            store=store,
            share=share,
        )


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
        model: The model, on the device where it shall run. It is put in evaluation mode for the time.
        processor: Its processor.
        dataset: A data set as [`geodit.data.schema`] describes it.
        settings: How to decode; what is `None` has GeoDiT's default, and the seed 0.
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
        ValueError: If there is no question to ask, an argument is invalid, or an answer of a closed set does not fit
            its canvas.
        OSError: If an answer cannot be kept.
        ModuleNotFoundError: If boxes are written in numbers, for whose form outlines-core is needed, and it is not
            installed.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    check_tasks(tasks)
    questions = QuestionDataset(dataset)
    settings = evaluation_options(settings)
    by_form = _by_form(questions, TASKS if tasks is None else tasks)
    if not by_form:
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
    collector = AnswerCollector(store, share, progress)
    items: dict[int, QuestionItem] = {}

    def read(indices: Sequence[int]) -> Iterator[ImageQuestion]:
        for index in indices:
            items[index] = item = questions[index]
            yield ImageQuestion(item["image"], item["question"].query, index)

    rule = get_box_score(DEFAULT_BOX_SCORE)
    was_training = model.training
    model.train(False)
    try:
        for form, indices in zip(by_form, collector.pending(list(by_form.values())), strict=True):
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
                steps = read_commit_steps(processor, reply.tokens, form.task)
                collector.add(
                    index,
                    record_answer(
                        items.pop(index),
                        reply.answer,
                        reply.tokens.steps_made,
                        scores,
                        steps,
                        num_tokens=sum(len(of_kind) for _, of_kind in steps),
                    ),
                )
    finally:
        model.train(was_training)
    return collector.in_order()


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
