# SPDX-License-Identifier: Apache-2.0
"""What the answers to a question must look like: boxes, one of some choices, or as an expression has it."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING

from transformers.utils import logging

from geodit.modeling_geodit.patterns_geodit import AnswerPattern
from geodit.processing.tasks_geodit import names_several_classes, resolve_task

if TYPE_CHECKING:
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["AnswerPatterns", "build_answer_pattern"]

logger = logging.get_logger(__name__)

_MAX_COMPILED = 32


def build_answer_pattern(
    processor: GeoDiTProcessor,
    task: str,
    query: str = "",
    *,
    choices: Sequence[str] | None = None,
    expression: str | None = None,
    structured: bool = True,
    compiled: MutableMapping[str, AnswerPattern] | None = None,
) -> AnswerPattern | None:
    """Make the pattern of the answers to a question.

    Answers by boxes have one in every box format: in location tokens that of `processor.answer_pattern`, in numbers
    `answer_expression` of the codec, by which a box may lack an area. Neither has a place for labels, with which boxes
    of several classes are written.

    Args:
        processor: The processor of the model.
        task: The task that is asked.
        query: What is asked. If it names several classes, separated by commas or semicolons, boxes have no pattern.
        choices: The only answers that there are, for a task that is answered by a text.
        expression: A regular expression that all of an answer matches, in their place.
        structured: Whether boxes have a pattern. Choices and expressions always are one.
        compiled: Patterns of expressions that were compiled for this processor, by expression; new ones are added.

    Returns:
        The pattern; `None` if any text may be the answer.

    Raises:
        ValueError: If the task is unknown, choices and an expression are given both or for a task that is not answered
            by a text, or no answer, or of a task answered by boxes no box, fits the canvas of the task.
        ModuleNotFoundError: If an expression has to be compiled, the user's or that of boxes in numbers, and
            outlines-core is not installed.
    """
    if choices is not None and expression is not None:
        raise ValueError("choices and pattern are two descriptions of an answer: give one of them")
    if choices is None and expression is None:
        if not structured or resolve_task(processor.tasks, task).answer != "boxes":
            return None
        return _pattern_of_boxes(processor, task, query, compiled)
    if resolve_task(processor.tasks, task).answer != "text":
        given = "pattern" if choices is None else "choices"
        raise ValueError(f"{given} is for tasks that are answered by a text, but {task} is answered by boxes: omit it")
    canvas_length = processor.canvas_length(task)
    if choices is not None:
        return processor.choices_pattern(choices, canvas_length)
    pattern = _compile(str(expression), processor, compiled)
    if pattern.min_length > canvas_length:
        raise ValueError(
            f"the shortest answer that matches {expression!r} has {pattern.min_length} tokens, but an answer to "
            f"{task} has at most {canvas_length}: give an expression that shorter answers match, or the task a larger "
            "max_new_tokens"
        )
    return pattern


def _pattern_of_boxes(
    processor: GeoDiTProcessor, task: str, query: str, compiled: MutableMapping[str, AnswerPattern] | None
) -> AnswerPattern | None:
    if names_several_classes(query):
        return None
    # With no place for a box every answer would be that there is none.
    codec, canvas_length = processor.box_codec, processor.canvas_length(task)
    box = codec.encode([(0, 0, 1, 1)], (1, 1))
    length = len(processor.tokenizer(box, add_special_tokens=False)["input_ids"])
    if length > canvas_length:
        raise ValueError(
            f"a box such as {box} has {length} tokens, but an answer to {task} has at most {canvas_length}: give the "
            "task a larger max_new_tokens, or choose another box format"
        )
    if processor.box_format == "location_tokens":
        return processor.answer_pattern(task, query)
    return _compile(codec.answer_expression, processor, compiled)


def _compile(
    expression: str, processor: GeoDiTProcessor, compiled: MutableMapping[str, AnswerPattern] | None
) -> AnswerPattern:
    from geodit.processing.regular_expressions import regular_expression_pattern

    if compiled is not None and expression in compiled:
        return compiled[expression]
    pattern = regular_expression_pattern(expression, processor.tokenizer)
    if compiled is not None:
        if len(compiled) >= _MAX_COMPILED:
            del compiled[next(iter(compiled))]
        compiled[expression] = pattern
    return pattern


class AnswerPatterns:
    """The patterns of one processor, for all who ask its model: what was compiled once is kept.

    Where boxes are written by numbers and outlines-core is not installed, answers go without a pattern, and a warning
    says so once.

    Args:
        processor: The processor of the model.
    """

    def __init__(self, processor: GeoDiTProcessor) -> None:
        self._processor = processor
        self._compiled: dict[str, AnswerPattern] = {}
        self._has_warned = False

    def find(
        self,
        task: str,
        query: str = "",
        *,
        choices: Sequence[str] | None = None,
        expression: str | None = None,
        structured: bool = True,
    ) -> AnswerPattern | None:
        """Return the pattern of the answers to a question; see [`build_answer_pattern`].

        Raises:
            ValueError: As there.
            ModuleNotFoundError: If there is an expression, and outlines-core is not installed.
        """
        try:
            return build_answer_pattern(
                self._processor,
                task,
                query,
                choices=choices,
                expression=expression,
                structured=structured,
                compiled=self._compiled,
            )
        except ModuleNotFoundError as error:
            if expression is not None:
                raise
            if not self._has_warned:
                self._has_warned = True
                logger.warning(f"Answers to {task} may not parse, as boxes go without a pattern: {error}")
            return None
