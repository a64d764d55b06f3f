# SPDX-License-Identifier: Apache-2.0
"""Answers of an evaluation on disk, as they are given: no question is asked twice, and no two settings are mixed.

A folder holds a file for each process, `answers-<process>.jsonl`: JSON lines, of which the first says what was asked,
of which model, and how. Whoever opens the folder again for the same goes on with the questions that have no answer
yet, in any number of processes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import datasets

from geodit.configuration.line_journal import LineJournal, read_journal_lines
from geodit.configuration.text_files import parse_json_object
from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answers import AnswerRecord

__all__ = [
    "AnswerStore",
    "KeptAnswers",
    "keep_given_answers",
    "questions_digest",
    "read_answer_store",
    "read_stored_answers",
]

_FORMAT = "geodit evaluation answers 1"
_MAX_HEADER = 2**20
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
        seconds: How long it took to give them, in all, over all processes and sessions.

    Raises:
        ValueError: If the folder holds answers of something else.
        OSError: If it cannot be written.
    """

    def __init__(self, folder: Path, asked: Mapping[str, object], process: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        header = _header(asked)
        self.answers, self.seconds = read_answer_store(folder, asked)
        self._journal = LineJournal(folder / f"answers-{process}.jsonl", header, hint=_HINT)

    def add(self, number: int, answer: AnswerRecord, seconds: float = 0.0) -> None:
        """Keep the answer to a question; it is on disk when this returns.

        Args:
            number: Of the question in the data set.
            answer: The answer.
            seconds: How long it took to give it, since the answer before.

        Raises:
            OSError: If it cannot be written.
        """
        self._journal.append({"number": number, "seconds": round(seconds, 6), **answer.to_dict()})
        self.answers[number] = answer
        self.seconds += round(seconds, 6)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_answer_store(folder: Path, asked: Mapping[str, object]) -> tuple[dict[int, AnswerRecord], float]:
    """Return the answers in a folder.

    Args:
        folder: Of the answers.
        asked: What they depend on.

    Returns:
        The answers by the number of their question, in that order, and how many seconds it took to give them, over
        all processes.

    Raises:
        ValueError: If the folder holds answers of something else, or is damaged.
    """
    found: dict[int, tuple[AnswerRecord, float]] = {}
    for path in sorted(folder.glob("answers-*.jsonl")):
        for line in read_journal_lines(path, _header(asked))[0]:
            try:
                values = dict(line)
                number, seconds = int(values.pop("number")), float(values.pop("seconds", 0.0))
                found[number] = AnswerRecord.from_dict(values), seconds
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is damaged: {error}; delete it to ask its questions again") from error
    answers = {number: found[number][0] for number in sorted(found)}
    return answers, math.fsum(seconds for _, seconds in found.values())


def read_stored_answers(folder: Path) -> tuple[JsonObject, dict[int, AnswerRecord]]:
    """Return the answers in a folder, whatever they depend on.

    Args:
        folder: Of the answers.

    Returns:
        What they depend on, and the answers by the number of their question.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If a file is damaged, or they do not all depend on the same.
    """
    paths = sorted(folder.glob("answers-*.jsonl"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no answers")
    with paths[0].open("rb") as file:
        line = file.readline(_MAX_HEADER)
    header = parse_json_object(line.decode(errors="replace"), f"{paths[0]}, line 1")
    if header.pop("format", None) != _FORMAT:
        raise ValueError(f"{paths[0]} is not a file of answers of geodit evaluate")
    return header, read_answer_store(folder, header)[0]


@dataclass(frozen=True)
class KeptAnswers:
    """Where the answers of a run are kept, and by which processes they are given.

    Args:
        folder: Of the answers, of this run alone.
        model: What the model is called. Answers of models of other names are not mixed.
        share: Number of this process, and of all that share the questions.
        wait: Waits for all processes.
    """

    folder: Path
    model: str
    share: tuple[int, int] = (0, 1)
    wait: Callable[[], None] = lambda: None

    def within(self, name: str) -> KeptAnswers:
        """Return the same for a folder inside this one."""
        return replace(self, folder=self.folder / name)


def keep_given_answers(
    answers: Iterable[AnswerRecord],
    path: Path,
    dataset: datasets.Dataset,
    keep: KeptAnswers,
    tasks: Iterable[str] | None = None,
) -> None:
    """Keep answers that a file has, so that a later run can be compared with them.

    Args:
        answers: One for each question of the data set, in its order.
        path: The file.
        dataset: The questions.
        keep: Where to.
        tasks: Of the questions that count; by default all.

    Raises:
        ValueError: If the folder keeps answers of another file, or to other questions.
        OSError: If they cannot be written.
    """
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    asked = {"model": keep.model, "questions": questions_digest(dataset, tasks), "settings": {"file": content}}
    with AnswerStore(keep.folder, asked, keep.share[0]) as store:
        for number, answer in enumerate(answers):
            if number not in store.answers:
                store.add(number, answer)


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
