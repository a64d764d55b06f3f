# SPDX-License-Identifier: Apache-2.0
"""Answers of a model with the questions that they answer, as metrics and rewards take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geodit.configuration.plain_fields import check_field_names
from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import Box, Question, QuestionItem, plain_corners, read_boxes, read_corners
from geodit.evaluation.commit_order import CommitSteps
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.turned_boxes_geodit import Corners

__all__ = ["AnswerRecord", "read_answer", "record_answer"]


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
        num_steps: In how many denoising steps it was made, in each of which a token was committed; for a model that
            writes one token after the other, how many it wrote.
        corners: Corners of each box that was read as a turned one, and `None` for each upright one; empty if all are.
        scores: The model's score of each box, in [0, 1]; empty if it gives none.
        commit_steps: When its tokens were committed, see [`~geodit.evaluation.commit_order.CommitSteps`]; empty if
            that is not known.
        num_tokens: How many tokens it has, with the one that ends it; 0 if that is not known.
    """

    image_id: str
    image_size: tuple[int, int]
    question: Question
    text: str
    boxes: tuple[Box, ...]
    labels: tuple[str, ...]
    parsed: bool
    num_steps: int
    corners: tuple[Corners | None, ...] = ()
    scores: tuple[float, ...] = ()
    commit_steps: CommitSteps = ()
    num_tokens: int = 0

    def to_dict(self) -> JsonObject:
        """Return the record in types that JSON has; fields that have defaults only where they differ from them."""
        record: JsonObject = {
            "image_id": self.image_id,
            "image_size": list(self.image_size),
            "question": self.question.to_dict(),
            "text": self.text,
            "boxes": [list(box) for box in self.boxes],
            "labels": list(self.labels),
            "parsed": self.parsed,
            "num_steps": self.num_steps,
        }
        if self.corners:
            record["corners"] = plain_corners(self.corners)
        if self.scores:
            record["scores"] = list(self.scores)
        if self.commit_steps:
            record["commit_steps"] = {kind: list(steps) for kind, steps in self.commit_steps}
        if self.num_tokens:
            record["num_tokens"] = self.num_tokens
        return record

    @classmethod
    def from_dict(cls, values: JsonObject) -> AnswerRecord:
        """Make a record from what `to_dict` returns.

        Raises:
            ValueError: If a field without a default is missing, or one is unknown, or as [`Question.from_dict`].
        """
        check_field_names(cls, {*values, "corners", "scores", "commit_steps", "num_tokens"}, "an answer")
        height, width = values["image_size"]
        return cls(
            image_id=values["image_id"],
            image_size=(height, width),
            question=Question.from_dict(values["question"]),
            text=values["text"],
            boxes=read_boxes(values["boxes"]),
            labels=tuple(values["labels"]),
            parsed=values["parsed"],
            num_steps=values["num_steps"],
            corners=read_corners(values.get("corners", ())),
            scores=tuple(float(score) for score in values.get("scores", ())),
            commit_steps=tuple(
                (kind, tuple(int(step) for step in steps)) for kind, steps in values.get("commit_steps", {}).items()
            ),
            num_tokens=int(values.get("num_tokens", 0)),
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
    answer = processor.post_process_generation(text, question.task, (image.height, image.width), query=question.query)
    return record_answer(item, answer, num_steps)


def record_answer(
    item: QuestionItem,
    answer: JsonObject,
    num_steps: int,
    scores: Sequence[float] = (),
    commit_steps: CommitSteps = (),
    num_tokens: int = 0,
) -> AnswerRecord:
    """Keep an answer with its question.

    Args:
        item: The question and its image.
        answer: The answer, as `post_process_generation` returns it.
        num_steps: In how many denoising steps it was made.
        scores: The score of each box, if the model gives any.
        commit_steps: When its tokens were committed, if that is known.
        num_tokens: How many tokens it has, if that is known.
    """
    question, image = item["question"], item["image"]
    return AnswerRecord(
        image_id=item["image_id"],
        image_size=(image.height, image.width),
        question=question,
        text=answer["text"],
        boxes=tuple((box[0], box[1], box[2], box[3]) for box in answer["boxes"]),
        labels=tuple(answer["labels"]),
        parsed=answer["parsed"],
        num_steps=num_steps,
        corners=tuple(answer.get("corners", ())),
        scores=tuple(scores),
        commit_steps=commit_steps,
        num_tokens=num_tokens,
    )
