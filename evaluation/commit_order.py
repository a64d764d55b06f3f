# SPDX-License-Identifier: Apache-2.0
"""The order in which denoising commits the kinds of tokens of an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodit.processing.tasks_geodit import resolve_task

if TYPE_CHECKING:
    from geodit.modeling_geodit.slots_geodit import FinishedAnswer
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["TOKEN_KINDS", "CommitSteps", "committed_shares", "read_commit_steps"]

TOKEN_KINDS = ("location", "label", "word", "separator", "end")
"""Kinds of tokens: coordinates of boxes, class names of boxes, words and numbers of other answers, tokens without a
letter or digit, and the first EOS."""

CommitSteps = tuple[tuple[str, tuple[int, ...]], ...]
"""For each kind of token that an answer has, the denoising steps, counted from 0, in which its tokens were committed,
in the order of the tokens."""

_LOCATION = re.compile(r"<loc_[0-9]+>")
_NUMBER = re.compile(r"[0-9.]*[0-9][0-9.]*")


def read_commit_steps(processor: GeoDiTProcessor, answer: FinishedAnswer, task: str) -> CommitSteps:
    """Sort the tokens of an answer by their kind.

    Tokens after the first EOS are not part of the answer. Where boxes are written in numbers, every token of digits is
    a location.

    Args:
        processor: The model's processor.
        answer: The answer as it was generated.
        task: The task that it answers.
    """
    found: dict[str, list[int]] = {}
    has_boxes = resolve_task(processor.tasks, task).answer == "boxes"
    end = processor.tokenizer.eos_token_id
    for token, step in zip(answer.canvas.tolist(), answer.commit_steps.tolist(), strict=True):
        kind = "end" if token == end else _kind(processor.tokenizer.decode([token]), has_boxes)
        if step >= 0:
            found.setdefault(kind, []).append(step)
        if token == end:
            break
    return tuple((kind, tuple(found[kind])) for kind in TOKEN_KINDS if kind in found)


def committed_shares(answers: Iterable[CommitSteps]) -> Mapping[str, NDArray[np.float64]]:
    """Return which share of the tokens of each kind has been committed after each denoising step.

    Args:
        answers: The steps of each answer; empty ones are passed over.

    Returns:
        For each kind that occurs, shape (steps,): the share after the first step, the second one and so on, up to the
        last step of any answer, where it is 1.
    """
    steps: dict[str, list[int]] = {}
    for answer in answers:
        for kind, of_kind in answer:
            steps.setdefault(kind, []).extend(of_kind)
    length = max((max(of_kind) for of_kind in steps.values()), default=-1) + 1
    return {kind: _cumulative(steps[kind], length) for kind in TOKEN_KINDS if kind in steps}


def _cumulative(steps: Sequence[int], length: int) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.bincount(steps, minlength=length).cumsum() / len(steps)
    return shares


def _kind(text: str, has_boxes: bool) -> str:
    text = text.strip()
    if not any(character.isalnum() for character in text):
        return "separator"
    if _LOCATION.fullmatch(text) or (has_boxes and _NUMBER.fullmatch(text)):
        return "location"
    return "label" if has_boxes else "word"
