# SPDX-License-Identifier: Apache-2.0
"""How GeoChat scores. Its public code scores scene classes only and writes the answers to the other tasks to a file.

Source: Kuckreja et al., "GeoChat: Grounded large vision-language model for remote sensing", CVPR 2024, and the file
that `GEOCHAT.sources` names.
"""

from __future__ import annotations

from collections.abc import Sequence

from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.bootstrap import Figures
from geodit.evaluation.protocols.base import EvaluationProtocol, Quirk, Source, mean_figures

__all__ = ["GEOCHAT"]

_NOT_FOUND = "not found: GeoChat's repository writes these answers to a file and has no code that scores them"


def _classes(answers: Sequence[AnswerRecord]) -> Figures:
    return mean_figures(
        {
            "accuracy": [
                # The truth is the name of a folder, which has no spaces.
                _squeeze(answer.text).replace(".", "") == _squeeze(answer.question.answer)
                for answer in answers
            ]
        }
    )


def _squeeze(text: str) -> str:
    return text.replace(" ", "").lower()


GEOCHAT = EvaluationProtocol(
    name="geochat",
    description="GeoChat's script for scene classes: the answer is the name of a folder; no other task",
    sources=(
        Source(
            "mbzuai-oryx/GeoChat",
            "3e61ee392b5ed48c676975e4d34a03428351367b",
            (
                "geochat/eval/batch_geochat_scene.py",
                "geochat/eval/batch_geochat_vqa.py",
                "geochat/eval/batch_geochat_grounding.py",
                "geochat/eval/batch_geochat_referring.py",
            ),
        ),
    ),
    quirks=(
        Quirk(
            "whole_answer",
            ("classify",),
            "The whole answer has to be the name of the class's folder: case, spaces and full stops do not "
            "matter, any other mark and any other word do.",
        ),
    ),
    scorers={"classify": _classes},
    headlines={"classify": "accuracy"},
    shares={"classify": ("accuracy",)},
    not_scored=dict.fromkeys(("caption", "ground", "detect", "vqa"), _NOT_FOUND),
)
