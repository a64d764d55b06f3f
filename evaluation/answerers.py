# SPDX-License-Identifier: Apache-2.0
"""What a model is to an evaluation, whoever made it: something that answers the questions of a data set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answer_store import (
    AnswerStore,
    KeptAnswers,
    answer_seconds,
    questions_digest,
    read_answer_store,
)
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.collecting import Progress

if TYPE_CHECKING:
    import datasets

__all__ = ["Answerer", "CollectedAnswers", "collect_answers"]


class Answerer(Protocol):
    """A model with the settings that it answers with.

    [`~geodit.evaluation.generating.GeoDiTAnswerer`] is GeoDiT,
    [`~geodit.evaluation.other_models.model.OtherModel`] any other.
    """

    @property
    def decoding(self) -> DecodingOptions | None:
        """How answers are decoded, by GeoDiT; `None` for other models."""

    def settings(self) -> JsonObject:
        """Return all that an answer depends on besides the model and the question, in types that JSON has."""

    def answer_dataset(
        self,
        dataset: datasets.Dataset,
        *,
        tasks: Sequence[str] | None = None,
        batch_size: int = ...,
        progress: Progress | None = None,
        store: AnswerStore | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> list[AnswerRecord]:
        """Answer every question of a data set.

        Args:
            dataset: A data set as [`geodit.data.schema`] describes it.
            tasks: Ask the questions of these tasks only.
            batch_size: How many questions to answer at once.
            progress: Called with the number of answers so far and in all.
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
    progress: Progress | None = None,
    keep: KeptAnswers | None = None,
) -> CollectedAnswers:
    """Ask a model every question of a data set that has no answer yet.

    Args:
        answerer: The model.
        dataset: A data set as [`geodit.data.schema`] describes it.
        tasks: Ask the questions of these tasks only.
        batch_size: How many questions to answer at once.
        progress: Called with the number of answers so far and in all.
        keep: Where answers are kept as they are given, and by which processes; by default in memory, by this one.

    Raises:
        ValueError: If there is no question to ask, an argument is invalid, or the folder keeps answers of something
            else.
        OSError: If an answer cannot be kept.
    """
    if keep is None:
        started = time.perf_counter()
        answers = answerer.answer_dataset(dataset, tasks=tasks, batch_size=batch_size, progress=progress)
        return CollectedAnswers(answers, time.perf_counter() - started)
    asked = {"model": keep.model, "questions": questions_digest(dataset, tasks), "settings": answerer.settings()}
    with AnswerStore(keep.folder, asked, keep.share[0]) as store:
        answerer.answer_dataset(
            dataset, tasks=tasks, batch_size=batch_size, progress=progress, store=store, share=keep.share
        )
    keep.wait()
    kept = list(read_answer_store(keep.folder, asked).values())
    return CollectedAnswers(kept, answer_seconds(keep.folder, asked))
