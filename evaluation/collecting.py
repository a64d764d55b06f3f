# SPDX-License-Identifier: Apache-2.0
"""The answers to the questions of a data set, as a model gives them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from geodit.evaluation.answer_store import AnswerStore
from geodit.evaluation.answers import AnswerRecord

__all__ = ["AnswerCollector", "Progress"]

Progress = Callable[[int, int], None]
"""Called with the number of answers so far and in all."""


class AnswerCollector:
    """Collects answers: chooses what is still to be asked, keeps every answer at once, and tells how many there are.

    Args:
        store: Keeps the answers; those that it has are not asked for again. By default they are in memory only.
        share: Number of this process and of all that share the questions: `(0, 2)` asks every other question.
        progress: Called after each answer.

    Attributes:
        answers: By the number of their question.
    """

    def __init__(
        self, store: AnswerStore | None = None, share: tuple[int, int] = (0, 1), progress: Progress | None = None
    ) -> None:
        self.answers: dict[int, AnswerRecord] = {} if store is None else dict(store.answers)
        self._store = store
        self._share = share
        self._progress = progress
        self._total = 0
        self._before = time.perf_counter()

    def pending(self, groups: Sequence[Sequence[int]]) -> list[list[int]]:
        """Return what of some groups of questions this process has still to ask.

        Args:
            groups: Numbers of questions that are asked together, of all questions.
        """
        process, processes = self._share
        left = [[number for number in group[process::processes] if number not in self.answers] for group in groups]
        self._total = len(self.answers) + sum(map(len, left))
        if self._progress is not None and len(self.answers) == self._total:
            self._progress(self._total, self._total)
        self._before = time.perf_counter()
        return left

    def add(self, number: int, answer: AnswerRecord) -> None:
        """Take the answer to a question.

        Args:
            number: Of the question.
            answer: The answer.

        Raises:
            OSError: If it cannot be kept.
        """
        self.answers[number] = answer
        if self._store is not None:
            now = time.perf_counter()
            self._store.add(number, answer, now - self._before)
            self._before = now
        if self._progress is not None:
            self._progress(len(self.answers), self._total)

    def in_order(self) -> list[AnswerRecord]:
        """Return the answers in the order of their questions."""
        return [self.answers[number] for number in sorted(self.answers)]
