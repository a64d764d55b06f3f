# SPDX-License-Identifier: Apache-2.0
"""What a protocol is: how one project scores answers, with its sources and its quirks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import TASKS
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.bootstrap import Figures, bootstrap_intervals, group_members, wilson_interval

__all__ = ["EvaluationProtocol", "Quirk", "Scorer", "Source", "mean_figures"]

_NO_WIDTH = 1e-12  # rounding apart

Scorer = Callable[[Sequence[AnswerRecord]], Figures]
"""Function of the answers to the questions of one task to a function of indices into them to named figures."""


@dataclass(frozen=True)
class Source:
    """Public code that a protocol reproduces.

    Args:
        repository: Owner and name on GitHub.
        commit: The commit that was read.
        paths: Files in it.
    """

    repository: str
    commit: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        """Return the source in one line."""
        return f"{self.repository} at {self.commit[:10]}: {', '.join(self.paths)}"


@dataclass(frozen=True)
class Quirk:
    """One way in which a protocol differs from what the name of its figure makes a reader expect.

    Args:
        name: Name, in snake case.
        tasks: The tasks whose figures it touches.
        description: What is done, and what follows from it.
    """

    name: str
    tasks: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class EvaluationProtocol:
    """How one project scores answers.

    Every protocol but `ours` takes an answer as its project's code would, which knows no parsing error: texts as they
    are, and boxes where there are any. Boxes are read by our reader of the model's format, not by the project's
    regular expressions, which fit its own format only.

    Args:
        name: Name, a key of `PROTOCOLS`.
        description: One line about it.
        sources: The code that it reproduces; empty for our own.
        quirks: What is peculiar to it.
        scorers: For each task that it scores, how.
        headlines: Of each task that it scores, the figure that stands for it in tables.
        shares: Of each task, the figures that are shares of the questions, or of some of them.
        not_scored: For each other task, why it is not scored.
        left_out: Figures that the project reports and this protocol does not, with the reason.
    """

    name: str
    description: str
    sources: tuple[Source, ...] = ()
    quirks: tuple[Quirk, ...] = ()
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    headlines: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    not_scored: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def score(
        self,
        answers: Sequence[AnswerRecord],
        *,
        bootstrap: int = 0,
        bootstrap_seed: int = 0,
        images: Sequence[Hashable] | None = None,
    ) -> dict[str, JsonObject]:
        """Score the answers of each task.

        Args:
            answers: Answers to questions of any tasks, in any order.
            bootstrap: Number of bootstrap resamples, over images, for 95% confidence intervals; 0 for none. A share of
                exactly 0 or 1 has Wilson's interval, of as many trials as there are images that it is about. Other
                figures that do not vary from resample to resample have none.
            bootstrap_seed: Seed of the resampling.
            images: The image of each answer, for the bootstrap; by default its `image_id`.

        Returns:
            For each task that has answers and that the protocol scores, the figures by name, `num_samples`, and
            `confidence_intervals` when asked for, each of them the two ends or `None`. A share lies between 0 and 1,
            and a name that ends in `_x100` says that a figure is multiplied by 100. A figure is `None` if it is
            undefined or its library is not installed.

        Raises:
            ValueError: If there are no answers, or a question lacks what its task needs.
        """
        if not answers:
            raise ValueError("there are no answers to score")
        image_of = [answer.image_id for answer in answers] if images is None else images
        results: dict[str, JsonObject] = {}
        for task in TASKS:
            members = [index for index, answer in enumerate(answers) if answer.question.task == task]
            of_task = [answers[index] for index in members]
            if not of_task or task not in self.scorers:
                continue
            figures = self.scorers[task](of_task)
            results[task] = {**figures(np.arange(len(of_task), dtype=np.intp)), "num_samples": len(of_task)}
            if bootstrap:
                groups = [image_of[index] for index in members]
                intervals = bootstrap_intervals(figures, groups, resamples=bootstrap, seed=bootstrap_seed)
                shares = self.shares.get(task, ())
                results[task]["confidence_intervals"] = _with_width(intervals, results[task], shares, figures, groups)
        return results


def _with_width(
    intervals: Mapping[str, tuple[float, float] | None],
    result: JsonObject,
    shares: Sequence[str],
    figures: Figures,
    groups: Sequence[Hashable],
) -> dict[str, tuple[float, float] | None]:
    """Put Wilson's intervals, or none, in place of those that have no width as resampling had nothing to vary."""
    found = dict(intervals)
    flat = [name for name, ends in intervals.items() if ends is not None and ends[1] - ends[0] < _NO_WIDTH]
    if flat:
        of_images = [figures(members) for members in group_members(groups)]
        for name in flat:
            trials = sum(of_image[name] is not None for of_image in of_images)
            is_share = name in shares and result[name] in (0.0, 1.0)
            found[name] = wilson_interval(trials if result[name] else 0, trials) if is_share else None
    return found


def mean_figures(values: Mapping[str, Sequence[float] | NDArray[np.float64] | None]) -> Figures:
    """Return the figures that are means over answers.

    Args:
        values: For each figure its value for every answer; `None` if it cannot be computed here.
    """
    arrays = {
        name: None if of_answers is None else np.asarray(of_answers, dtype=np.float64)
        for name, of_answers in values.items()
    }

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        return {name: None if array is None else float(array[indices].mean()) for name, array in arrays.items()}

    return figures
