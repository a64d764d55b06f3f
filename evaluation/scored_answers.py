# SPDX-License-Identifier: Apache-2.0
"""Answers with everything that is computed from them: our figures, and those of other protocols."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.protocols import get_protocol
from geodit.evaluation.scoring import ScoringRules, score_answers

__all__ = ["ProtocolFigures", "Scoring", "score_protocols"]

ProtocolFigures = dict[str, dict[str, JsonObject]]
"""By the name of a protocol what it computes of each task."""


@dataclass(frozen=True)
class Scoring:
    """How answers become figures.

    Args:
        rules: What can be chosen about our own metrics.
        protocols: Names of protocols that are computed beside them, without `ours`.
        bootstrap: Number of bootstrap resamples, over images, for 95% intervals; 0 for none.

    Raises:
        ValueError: If there is no protocol of a name, or one is named twice.
    """

    rules: ScoringRules | None = None
    protocols: tuple[str, ...] = ()
    bootstrap: int = 0

    def __post_init__(self) -> None:
        for name in self.protocols:
            get_protocol(name)
        if len(set(self.protocols)) != len(self.protocols):
            raise ValueError(f"protocols are named once each, not {', '.join(self.protocols)}")

    def to_dict(self) -> JsonObject:
        """Return the choices in types that JSON has."""
        rules = asdict(self.rules or ScoringRules())
        return {**rules, "answer_rules": list(rules["answer_rules"]), "bootstrap": self.bootstrap}

    def score(
        self, answers: Sequence[AnswerRecord], images: Sequence[Hashable] | None = None
    ) -> dict[str, JsonObject]:
        """Return our own figures, see [`~geodit.evaluation.scoring.score_answers`]."""
        return score_answers(answers, bootstrap=self.bootstrap, rules=self.rules, images=images)


def score_protocols(
    answers: Sequence[AnswerRecord], scoring: Scoring, images: Sequence[Hashable] | None = None
) -> ProtocolFigures:
    """Score answers under the protocols that are computed beside our own.

    Args:
        answers: Of any tasks, at least one.
        scoring: Names the protocols.
        images: The image of each answer, for the bootstrap; by default its `image_id`.

    Raises:
        ValueError: If there are no answers, or a question lacks what its task needs.
    """
    return {
        name: get_protocol(name).score(answers, bootstrap=scoring.bootstrap, images=images)
        for name in scoring.protocols
        if name != "ours"
    }
