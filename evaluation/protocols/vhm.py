# SPDX-License-Identifier: Apache-2.0
"""How RSEvalKit scores, the toolkit of VHM.

Source: Pang et al., "VHM: Versatile and honest vision language model for remote sensing image analysis", AAAI 2025,
and the file that `VHM.sources` names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.bootstrap import Figures
from geodit.evaluation.protocols.answer_boxes import first_box, true_box
from geodit.evaluation.protocols.base import EvaluationProtocol, Quirk, Source, mean_figures
from geodit.processing.box_ops import box_area, box_iou

__all__ = ["VHM"]

# Largest area of a small and of a medium box, in square pixels; both belong to the smaller size.
_AREAS = (32**2, 96**2)
_SIZES = ("small", "medium", "large")


def _grounding(answers: Sequence[AnswerRecord]) -> Figures:
    truths = [true_box(answer) for answer in answers]
    found = [first_box(answer) for answer in answers]
    right = np.asarray(
        [box is not None and box_iou([box], [truth])[0, 0] >= 0.5 for box, truth in zip(found, truths, strict=True)]
    )
    sizes = np.searchsorted(_AREAS, box_area(truths), side="left")

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        drawn = right[indices]
        of_sizes = [drawn[sizes[indices] == size] for size in range(len(_SIZES))]
        return {
            "precision_50": float(drawn.mean()),
            **{
                f"precision_50_{name}": float(of_size.mean()) if len(of_size) else None
                for name, of_size in zip(_SIZES, of_sizes, strict=True)
            },
        }

    return figures


def _texts(answers: Sequence[AnswerRecord]) -> Figures:
    return mean_figures({"accuracy": [_fold(answer.text) in _fold(answer.question.answer) for answer in answers]})


def _fold(text: str) -> str:
    return text.replace(" ", "").lower()


VHM = EvaluationProtocol(
    name="vhm",
    description="RSEvalKit, the toolkit of VHM: an answer is right if it is a part of the true one",
    sources=(Source("fitzpchao/RSEvalKit", "1a4d775166263d68e764f1d6387fe8c5354bae9c", ("model_eval_mp.py",)),),
    quirks=(
        Quirk(
            "part_of_the_answer",
            ("vqa", "classify"),
            'An answer that is a part of the true one is right, and one that contains it is wrong: "e" is right '
            'for "yes", and "yes, there is" is wrong.',
        ),
        Quirk(
            "empty_is_right",
            ("vqa", "classify"),
            "An empty answer is a part of every answer, and so always right.",
        ),
        Quirk(
            "share_called_precision",
            ("ground",),
            "What is called precision is accuracy: the share of all questions whose first box is right.",
        ),
    ),
    scorers={"ground": _grounding, "vqa": _texts, "classify": _texts},
    headlines={"ground": "precision_50", "vqa": "accuracy", "classify": "accuracy"},
    shares={
        "ground": ("precision_50", *(f"precision_50_{size}" for size in _SIZES)),
        "vqa": ("accuracy",),
        "classify": ("accuracy",),
    },
    not_scored=dict.fromkeys(("caption", "detect"), "RSEvalKit has no such task"),
    left_out={
        "vqa.own_tasks": "tasks of VHM's own data: multiple choice, colors, counts, sizes, false premises",
    },
)
