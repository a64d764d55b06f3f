# SPDX-License-Identifier: Apache-2.0
"""What a model is to an evaluation, whoever made it: something that answers the questions of a data set."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import QuestionDataset
from geodit.evaluation.answer_store import AnswerStore, KeptAnswers, questions_digest, read_answer_store
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.collecting import Progress
from geodit.evaluation.environment import describe_environment

if TYPE_CHECKING:
    import datasets

__all__ = ["Answerer", "CollectedAnswers", "answers_of", "collect_answers", "first_rows"]


class Answerer(Protocol):
    """A model with the settings that it answers with.

    [`~geodit.evaluation.generating.GeoDiTAnswerer`] is GeoDiT,
    [`~geodit.evaluation.other_models.model.OtherModel`] any other.
    """

    @property
    def decoding(self) -> DecodingOptions | None:
        """How answers are decoded, by GeoDiT; `None` for other models."""

    @property
    def closed_set(self) -> Sequence[str]:
        """The tasks in which the answers of the data set are the only choices."""

    def fingerprint(self) -> str:
        """Return a hash of the model's weights."""

    def settings(self) -> JsonObject:
        """Return all that an answer depends on besides the model and the question, in types that JSON has."""

    def answer_dataset(
        self,
        dataset: datasets.Dataset,
        *,
        tasks: Sequence[str] | None = None,
        batch_size: int = ...,
        progress: Progress | None = None,
        closed_sets: Mapping[str, Sequence[str]] | None = None,
        store: AnswerStore | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> list[AnswerRecord]:
        """Answer every question of a data set.

        Args:
            dataset: A data set as [`geodit.data.schema`] describes it.
            tasks: Ask the questions of these tasks only.
            batch_size: How many questions to answer at once.
            progress: Called with the number of answers so far and in all.
            closed_sets: The only answers that there are, by task; by default, for the tasks of `closed_set`, those of
                the data set.
            store: Keeps every answer at once; the questions that it has answers to are not asked.
            share: Number of this process and of all that share the questions.

        Returns:
            One record per question, in the order of the data set; with a share those of this process, and all that
            the store had before.
        """


class CollectedAnswers(NamedTuple):
    """The answers to a data set.

    Args:
        answers: In the order of the data set.
        seconds: Time that they took, without scoring; with kept answers over all processes and sessions.
    """

    answers: list[AnswerRecord]
    seconds: float


def collect_answers(
    answerer: Answerer,
    dataset: datasets.Dataset,
    *,
    tasks: Sequence[str] | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    progress: Progress | None = None,
    keep: KeptAnswers | None = None,
) -> CollectedAnswers:
    """Ask a model every question of a data set that has no answer yet.

    Kept answers are known by the questions, the weights of the model, its settings and the version of this package:
    those of anything else are refused.

    Args:
        answerer: The model.
        dataset: A data set as [`geodit.data.schema`] describes it.
        tasks: Ask the questions of these tasks only.
        batch_size: How many questions to answer at once.
        limit: Use the first so many images only. Closed sets are those of all.
        progress: Called with the number of answers so far and in all.
        keep: Where answers are kept as they are given, and by which processes; by default in memory, by this one.

    Raises:
        ValueError: If there is no question to ask, an argument is invalid, or the folder keeps answers of something
            else.
        OSError: If an answer cannot be kept.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 image, not {limit}")
    closed_sets = {task: answers_of(dataset, task) for task in answerer.closed_set if tasks is None or task in tasks}
    dataset = first_rows(dataset, limit)
    ask = functools.partial(
        answerer.answer_dataset,
        dataset,
        tasks=tasks,
        batch_size=batch_size,
        progress=progress,
        closed_sets=closed_sets,
    )
    if keep is None:
        started = time.perf_counter()
        answers = ask()
        return CollectedAnswers(answers, time.perf_counter() - started)
    asked = {
        "model": keep.model,
        "weights": answerer.fingerprint(),
        "questions": questions_digest(dataset, tasks),
        "settings": answerer.settings(),
        **({"closed_sets": closed_sets} if closed_sets else {}),
        "version": describe_environment()["geodit"],
    }
    with AnswerStore(keep.folder, asked, keep.share[0]) as store:
        ask(store=store, share=keep.share)
    keep.wait()
    answers_by_number, seconds = read_answer_store(keep.folder, asked)
    return CollectedAnswers(list(answers_by_number.values()), seconds)


def first_rows(dataset: datasets.Dataset, limit: int | None) -> datasets.Dataset:
    """Return the first rows of a data set, or all.

    Args:
        dataset: The data set.
        limit: How many.
    """
    return dataset if limit is None else dataset.select(range(min(limit, len(dataset))))


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
