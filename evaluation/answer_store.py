# SPDX-License-Identifier: Apache-2.0
"""Answers of an evaluation on disk, as they are given: no question is asked twice, and no two settings are mixed.

A folder holds a file for each process, `answers-<process>.jsonl`: JSON lines, of which the first says what was asked,
of which model, and how. Whoever opens the folder again for the same goes on with the questions that have no answer
yet, in any number of processes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

import datasets

from geodit.configuration.line_journal import LineJournal, read_journal_lines
from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answers import AnswerRecord

__all__ = ["AnswerStore", "questions_digest", "read_answer_store"]

_FORMAT = "geodit evaluation answers 1"
_HINT = "the same command goes on from them"


class AnswerStore:
    """The answers of one evaluation. It is a context manager: leaving it closes the file.

    Args:
        folder: Where they are; made if need be.
        asked: What the answers depend on: data, model and settings.
        process: Number of this process.

    Attributes:
        answers: The answers that were there when the store was opened, and those added since, by the number of their
            question.

    Raises:
        ValueError: If the folder holds answers of something else.
        OSError: If it cannot be written.
    """

    def __init__(self, folder: Path, asked: Mapping[str, object], process: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        header = _header(asked)
        self.answers = read_answer_store(folder, asked)
        self._journal = LineJournal(folder / f"answers-{process}.jsonl", header, hint=_HINT)

    def add(self, number: int, answer: AnswerRecord) -> None:
        """Keep the answer to a question; it is on disk when this returns.

        Args:
            number: Of the question in the data set.
            answer: The answer.

        Raises:
            OSError: If it cannot be written.
        """
        self._journal.append({"number": number, **answer.to_dict()})
        self.answers[number] = answer

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_answer_store(folder: Path, asked: Mapping[str, object]) -> dict[int, AnswerRecord]:
    """Return the answers in a folder, by the number of their question.

    Args:
        folder: Of the answers.
        asked: What they depend on.

    Raises:
        ValueError: If the folder holds answers of something else, or is damaged.
    """
    found = {}
    for path in sorted(folder.glob("answers-*.jsonl")):
        for line in read_journal_lines(path, _header(asked))[0]:
            try:
                values = dict(line)
                number = int(values.pop("number"))
                found[number] = AnswerRecord.from_dict(values)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is damaged: {error}; delete it to ask its questions again") from error
    return dict(sorted(found.items()))


def questions_digest(dataset: datasets.Dataset, tasks: Iterable[str] | None = None) -> str:
    """Return a hash of what a data set asks, in its order, by which answers are known to be to it.

    Args:
        dataset: A data set as [`geodit.data.schema`] describes it.
        tasks: Of the questions that are asked; by default all.
    """
    digest = hashlib.sha256(json.dumps(None if tasks is None else sorted(tasks)).encode())
    for row in dataset.select_columns(["image_id", "questions"]):
        digest.update(json.dumps([row["image_id"], row["questions"]], sort_keys=True).encode())
    return digest.hexdigest()


def _header(asked: Mapping[str, object]) -> JsonObject:
    # As JSON gives it back.
    header: JsonObject = json.loads(json.dumps({"format": _FORMAT, **asked}, allow_nan=False))
    return header
