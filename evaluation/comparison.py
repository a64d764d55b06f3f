# SPDX-License-Identifier: Apache-2.0
"""Two sets of answers to the same questions, compared question by question."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import TASKS
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.bootstrap import Figures, resample_figures
from geodit.evaluation.metrics.base import Part, Scored
from geodit.evaluation.optional import import_optional
from geodit.evaluation.scoring import ScoringRules, judge_answers

__all__ = ["FigureChange", "McNemar", "compare_answers", "mcnemar"]


@dataclass(frozen=True)
class McNemar:
    """How many questions changed sides.

    Args:
        gained: Questions that were wrong before and are right after.
        lost: Questions that were right before and are wrong after.
        p_value: Probability of a split at least as uneven, if either is as likely: exact, two-sided.
    """

    gained: int
    lost: int
    p_value: float


@dataclass(frozen=True)
class FigureChange:
    """One figure of both sets of answers.

    Args:
        before: The figure of the first set.
        after: The figure of the second set.
        interval: 95% interval of `after - before` by a paired bootstrap over images; `None` if no resample defined it.
        p_value: Two-sided, from the same resamples: how easily the difference would be 0 or of the other sign.
        mcnemar: The exact test on questions, of figures that are a share of the questions.
    """

    before: float
    after: float
    interval: tuple[float, float] | None
    p_value: float | None
    mcnemar: McNemar | None = None

    @property
    def difference(self) -> float:
        """`after - before`."""
        return self.after - self.before

    def to_dict(self) -> JsonObject:
        """Return the comparison in types that JSON has."""
        return {**asdict(self), "difference": self.difference}


def compare_answers(
    before: Sequence[AnswerRecord],
    after: Sequence[AnswerRecord],
    *,
    resamples: int = 1000,
    seed: int = 0,
    rules: ScoringRules | None = None,
) -> dict[str, FigureChange]:
    """Compare two sets of answers to the same questions.

    The bootstrap draws images and takes both answers to all questions about them, so what is hard for both cancels.
    McNemar's test takes every question for itself; where there are several about one image, the bootstrap is the
    more careful of the two. Nothing is corrected for the number of figures that are looked at.

    Args:
        before: One set, e.g. of the model before training.
        after: The other one, in any order. A question that was asked several times is paired in the order of answers.
        resamples: How often to resample; the least p-value is 2 / (resamples + 1).
        seed: Seed of the resampling.
        rules: How to score.

    Returns:
        By flat name, such as `"detect.f1"` or `"vqa.count.accuracy"`, each figure that both sets have.

    Raises:
        ValueError: If the questions are not the same, there are none, or as `score_answers` does.
        FileNotFoundError: If the rules need Java, and there is none.

    Source: Koehn, "Statistical significance tests for machine translation evaluation", EMNLP 2004 (the bootstrap);
    McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 1947.
    """
    after = _aligned(before, after)
    changes: dict[str, FigureChange] = {}
    for task in TASKS:
        members = [index for index, answer in enumerate(before) if answer.question.task == task]
        if not members:
            continue
        images = [before[index].image_id for index in members]
        with (
            judge_answers([before[index] for index in members], rules) as first,
            judge_answers([after[index] for index in members], rules) as second,
        ):
            changes |= _compare(task, first, second, images, resamples, seed)
            for by in first.parts:
                for name, part in first.parts[by].items():
                    if name != task:
                        other = second.parts[by][name]
                        changes |= _compare_parts(
                            f"{task}.{name}", first, second, (part, other), images, resamples, seed
                        )
    return changes


def mcnemar(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> McNemar:
    """Test whether as many questions were gained as lost.

    Args:
        before: Whether each question was right before, shape (N,).
        after: The same after, shape (N,).

    Raises:
        ValueError: If the shapes differ.
    """
    if before.shape != after.shape:
        raise ValueError(f"both sets must answer the same questions, but have shapes {before.shape} and {after.shape}")
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    if not gained + lost:
        return McNemar(0, 0, 1.0)
    test = import_optional("scipy.stats").binomtest(gained, gained + lost, 0.5)
    return McNemar(gained, lost, float(test.pvalue))


def _aligned(before: Sequence[AnswerRecord], after: Sequence[AnswerRecord]) -> list[AnswerRecord]:
    """Return the second set in the order of the first one."""
    if not before:
        raise ValueError("there are no answers to compare")
    answers: dict[Hashable, list[AnswerRecord]] = {}
    for answer in reversed(after):
        answers.setdefault((answer.image_id, answer.question), []).append(answer)
    aligned, missing = [], 0
    for answer in before:
        of_question = answers.get((answer.image_id, answer.question))
        if of_question:
            aligned.append(of_question.pop())
        else:
            missing += 1
    extra = sum(map(len, answers.values()))
    if missing or extra:
        raise ValueError(
            f"both sets must answer the same questions about the same images, but {missing} of {len(before)} answers "
            f"of the first have no counterpart in the second, and {extra} of {len(after)} of the second none in the "
            "first"
        )
    return aligned


def _compare(
    task: str, first: Scored, second: Scored, images: Sequence[Hashable], resamples: int, seed: int
) -> dict[str, FigureChange]:
    everything = np.arange(len(images), dtype=np.intp)
    whole = Part(everything, first.figures, first.shares), Part(everything, second.figures, second.shares)
    return _compare_parts(task, first, second, whole, images, resamples, seed)


def _compare_parts(
    prefix: str,
    first: Scored,
    second: Scored,
    parts: tuple[Part, Part],
    images: Sequence[Hashable],
    resamples: int,
    seed: int,
) -> dict[str, FigureChange]:
    members = parts[0].members
    figures_before, figures_after = _figures(first, parts[0]), _figures(second, parts[1])
    everything = np.arange(len(members), dtype=np.intp)
    before, after = figures_before(everything), figures_after(everything)
    names = [name for name, value in before.items() if value is not None and after.get(name) is not None]

    def differences(drawn: NDArray[np.intp]) -> dict[str, float | None]:
        old, new = figures_before(drawn), figures_after(drawn)
        pairs = {name: (old[name], new[name]) for name in names}
        return {name: None if mine is None or other is None else other - mine for name, (mine, other) in pairs.items()}

    sampled: dict[str, list[float]] = {name: [] for name in names}
    of_part = [images[index] for index in members]
    for resample in resample_figures(differences, of_part, resamples=resamples, seed=seed):
        for name, value in resample.items():
            if value is not None:
                sampled[name].append(value)
    outcomes = {name: (first.outcomes[name], second.outcomes[name]) for name in names if name in first.outcomes}
    outcomes["parse_rate"] = first.parsed, second.parsed
    return {
        f"{prefix}.{name}": FigureChange(
            before=float(before[name] or 0.0),
            after=float(after[name] or 0.0),
            interval=_interval(sampled[name]),
            p_value=_p_value(sampled[name]),
            mcnemar=mcnemar(outcomes[name][0][members], outcomes[name][1][members]) if name in outcomes else None,
        )
        for name in names
    }


def _figures(scored: Scored, part: Part) -> Figures:
    def figures(drawn: NDArray[np.intp]) -> dict[str, float | None]:
        indices = part.members[drawn]
        return {**part.figures(indices), "parse_rate": float(scored.parsed[indices].mean())}

    return figures


def _interval(differences: Sequence[float]) -> tuple[float, float] | None:
    if not differences:
        return None
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)


def _p_value(differences: Sequence[float]) -> float | None:
    """Return twice the smaller share of resamples at or beyond 0, where the observation counts as one more."""
    if not differences:
        return None
    values = np.asarray(differences)
    least = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(1.0, 2 * (least + 1) / (len(values) + 1))
