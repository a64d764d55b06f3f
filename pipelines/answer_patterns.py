# SPDX-License-Identifier: Apache-2.0
"""What the answers to one question must look like: one of some choices, or as an expression has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geodit.modeling_geodit.patterns_geodit import AnswerPattern

if TYPE_CHECKING:
    from geodit.processing.processing_geodit import GeoDiTProcessor


def build_answer_pattern(
    processor: GeoDiTProcessor, task: str, choices: Sequence[str] | None = None, expression: str | None = None
) -> AnswerPattern | None:
    """Make the pattern of the answers to a question.

    Args:
        processor: The processor of the model.
        task: The task that is asked.
        choices: The only answers that there are.
        expression: A regular expression that all of an answer matches.

    Returns:
        The pattern; `None` if neither choices nor expression are given.

    Raises:
        ValueError: If both are given, the task is not answered by a text, or no answer fits the canvas of the task.
        ModuleNotFoundError: If there is an expression, and outlines-core is not installed.
    """
    if choices is None and expression is None:
        return None
    if choices is not None and expression is not None:
        raise ValueError("choices and pattern are two descriptions of an answer: give one of them")
    canvas_length = processor.canvas_length(task)
    if processor.tasks[task].answer != "text":
        given = "pattern" if choices is None else "choices"
        raise ValueError(f"{given} is for tasks that are answered by a text, but {task} is answered by boxes: omit it")
    if choices is not None:
        return processor.choices_pattern(choices, canvas_length)
    from geodit.processing.regular_expressions import regular_expression_pattern

    pattern = regular_expression_pattern(str(expression), processor.tokenizer)
    if pattern.min_length > canvas_length:
        raise ValueError(
            f"the shortest answer that matches {expression!r} has {pattern.min_length} tokens, but an answer to "
            f"{task} has at most {canvas_length}: give an expression that shorter answers match"
        )
    return pattern


__all__ = ["build_answer_pattern"]
