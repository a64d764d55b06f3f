# SPDX-License-Identifier: Apache-2.0
"""Our own protocol, which is the default."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.protocols.base import EvaluationProtocol
from geodit.evaluation.scoring import score_answers

__all__ = ["OURS"]


@dataclass(frozen=True)
class _OurProtocol(EvaluationProtocol):
    """The metrics of this package, under the rule that an answer that does not parse is wrong."""

    def score(
        self,
        answers: Sequence[AnswerRecord],
        *,
        bootstrap: int = 0,
        bootstrap_seed: int = 0,
        images: Sequence[Hashable] | None = None,
    ) -> dict[str, JsonObject]:
        """Score the answers of each task, see [`~geodit.evaluation.scoring.score_answers`]."""
        return score_answers(answers, bootstrap=bootstrap, bootstrap_seed=bootstrap_seed, images=images)


OURS = _OurProtocol("ours", "the metrics of this package; an answer that does not parse is wrong")
