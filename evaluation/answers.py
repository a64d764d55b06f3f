# SPDX-License-Identifier: Apache-2.0
"""Answers of a model, kept with their questions so that they can be scored again without the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.plain_fields import check_field_names
from geodit.configuration.text_files import check_regular_file, parse_json_object, read_text
from geodit.data.schema import Box, Question, QuestionItem, read_boxes
from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["AnswerRecord", "load_answers", "read_answer", "save_answers"]

_MAX_BYTES = 2**30  # a million answers


@dataclass(frozen=True)
class AnswerRecord:
    """One question with the answer that was given to it.

    Args:
        image_id: The image.
        image_size: Its (height, width) in pixels.
        question: The question, with the true answer.
        text: The answer as generated.
        boxes: Boxes read from it, in pixels: the well-formed ones, if it did not parse.
        labels: Class name of each box.
        parsed: Whether the text could be read as an answer to the task.
        num_steps: In how many denoising steps it was made, in each of which a token was committed.
    """

    image_id: str
    image_size: tuple[int, int]
    question: Question
    text: str
    boxes: tuple[Box, ...]
    labels: tuple[str, ...]
    parsed: bool
    num_steps: int

    def to_dict(self) -> dict[str, Any]:
        """The record in types that JSON has."""
        return {
            "image_id": self.image_id,
            "image_size": list(self.image_size),
            "question": self.question.to_dict(),
            "text": self.text,
            "boxes": [list(box) for box in self.boxes],
            "labels": list(self.labels),
            "parsed": self.parsed,
            "num_steps": self.num_steps,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> AnswerRecord:
        """The inverse of `to_dict`.

        Raises:
            ValueError: If a field is missing or unknown, or has a value that it cannot have.
        """
        check_field_names(cls, record, "an answer")
        for name, value in (("image_id", record["image_id"]), ("text", record["text"])):
            if not isinstance(value, str):
                raise ValueError(f"{name} must be a text, got {value!r:.80}")
        height, width = record["image_size"]
        return cls(
            image_id=record["image_id"],
            image_size=(int(height), int(width)),
            question=Question.from_dict(record["question"]),
            text=record["text"],
            boxes=read_boxes(record["boxes"]),
            labels=tuple(record["labels"]),
            parsed=bool(record["parsed"]),
            num_steps=int(record["num_steps"]),
        )


def read_answer(processor: GeoDiTProcessor, item: QuestionItem, text: str, num_steps: int) -> AnswerRecord:
    """Read what a model wrote as the answer to a question.

    Args:
        processor: The model's processor.
        item: The question and its image.
        text: The answer, as `decode_canvas` returns it.
        num_steps: In how many denoising steps it was made.
    """
    question, image = item["question"], item["image"]
    image_size = (image.height, image.width)
    answer = processor.post_process_generation(text, question.task, image_size, query=question.query)
    return AnswerRecord(
        image_id=item["image_id"],
        image_size=image_size,
        question=question,
        text=answer["text"],
        boxes=tuple((box[0], box[1], box[2], box[3]) for box in answer["boxes"]),
        labels=tuple(answer["labels"]),
        parsed=answer["parsed"],
        num_steps=num_steps,
    )


def save_answers(path: str | Path, answers: Iterable[AnswerRecord]) -> None:
    """Write answers as JSON Lines, one a line.

    Args:
        path: The file, which appears when it is complete; an existing one is replaced.
        answers: What to write.

    Raises:
        ValueError: If an answer has NaN or infinity, which JSON does not have.
        OSError: If the file cannot be written.
    """
    lines = (json.dumps(answer.to_dict(), ensure_ascii=False, allow_nan=False) + "\n" for answer in answers)
    write_atomically(Path(path), "".join(lines).encode())


def load_answers(path: str | Path) -> list[AnswerRecord]:
    """Read what `save_answers` wrote.

    Args:
        path: The file.

    Raises:
        ValueError: If it is not a regular file, or a line is not an answer; the message has the file and the line.
        FileNotFoundError: If there is no such file.
    """
    check_regular_file(path)
    answers = []
    # Not splitlines(), which takes characters for line ends that JSON has in a text.
    text = read_text(path, max_bytes=_MAX_BYTES).removesuffix("\n")
    for number, line in enumerate(text.split("\n") if text else (), start=1):
        where = f"{path}, line {number}"
        record = parse_json_object(line, where, allow_nan=False)
        try:
            answers.append(AnswerRecord.from_dict(record))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{where}: {error}") from error
    return answers
