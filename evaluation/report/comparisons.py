# SPDX-License-Identifier: Apache-2.0
"""Two settings, or two models, compared question by question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answer_store import read_stored_answers
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.comparison import FigureChange, compare_answers
from geodit.evaluation.main_figures import MAIN_FIGURES
from geodit.evaluation.report.contents import Report, ReportCell
from geodit.evaluation.scored_answers import Scoring

__all__ = ["Comparison", "OtherRuns", "compare_settings", "compare_with_answers", "read_other_answers"]

_RESAMPLES = 1000

Runs = Sequence[Sequence[AnswerRecord]]


class OtherRuns(NamedTuple):
    """What another model, or the same under other settings, answered.

    Args:
        name: What it is called, with its settings if they are those of the report.
        runs: Its answers in each repetition.
    """

    name: str
    runs: Runs


@dataclass(frozen=True)
class Comparison:
    """The answers of two settings or models to the same questions.

    Args:
        dataset: The data set.
        before: What is compared with.
        after: What is compared.
        changes: By flat name, the figures of both; McNemar's test only where every question was answered once.
    """

    dataset: str
    before: str
    after: str
    changes: Mapping[str, FigureChange]

    @property
    def main_changes(self) -> dict[str, FigureChange]:
        """The main figure of each task."""
        names = (f"{task}.{figure}" for task, figure in MAIN_FIGURES.items())
        return {name: self.changes[name] for name in names if name in self.changes}

    def to_dict(self) -> JsonObject:
        """Return the comparison in types that JSON has."""
        return {
            "dataset": self.dataset,
            "before": self.before,
            "after": self.after,
            "changes": {name: change.to_dict() for name, change in self.changes.items()},
        }


def compare_settings(report: Report) -> Iterator[Comparison]:
    """Compare the first setting of each data set with every other one.

    Args:
        report: The report.
    """
    for dataset, (first, *others) in report.datasets.items():
        for other in others:
            changes = _compare(first.runs, other.runs, first.scoring)
            yield Comparison(dataset, first.setting, other.setting, changes)


def read_other_answers(folder: str | Path, report: Report) -> dict[str, OtherRuns]:
    """Read what the folder of another report has under the settings of this one.

    Where both have one run, these are compared whatever their settings, as those of different kinds of models are.

    Args:
        folder: The folder of the other report.
        report: This report.

    Returns:
        By the name of the cell.

    Raises:
        FileNotFoundError: If it has answers under none of the settings.
        ValueError: If a file of answers is damaged.
    """
    answers = Path(folder) / "answers"
    there = [path.name for path in sorted(answers.iterdir()) if path.is_dir()] if answers.is_dir() else []
    wanted = {cell.name: cell.run_names for cell in report.cells}
    found = {name: run_names for name, run_names in wanted.items() if set(run_names) <= set(there)}
    if not found and len(there) == len(wanted) == 1 and all(len(set(names)) == 1 for names in wanted.values()):
        found = {name: tuple(there) * len(run_names) for name, run_names in wanted.items()}
    if not found:
        names = ", ".join(dict.fromkeys(name for run_names in wanted.values() for name in run_names))
        raise FileNotFoundError(f"{answers} has none of {names}: give the folder of a report with the same settings")
    return {
        cell.name: _read_runs([answers / name for name in found[cell.name]], cell)
        for cell in report.cells
        if cell.name in found
    }


def _read_runs(folders: Sequence[Path], cell: ReportCell) -> OtherRuns:
    stored = [read_stored_answers(folder) for folder in folders]
    asked = stored[0][0]
    name, settings = str(asked.get("model")), asked.get("settings")
    # Another kind of model has settings of another kind.
    steps = settings.get("steps") if isinstance(settings, dict) else None
    if steps is not None and steps == cell.max_denoising_steps:
        name = f"{name}, {cell.setting}"
    return OtherRuns(name, [list(answers.values()) for _, answers in stored])


def compare_with_answers(report: Report, others: Mapping[str, OtherRuns]) -> Iterator[Comparison]:
    """Compare each setting with what another model answered under the same one.

    Args:
        report: The report.
        others: What the other model answered, by the name of the cell.

    Raises:
        ValueError: If it answered other questions.
    """
    for cell in report.cells:
        if cell.name in others:
            other = others[cell.name]
            changes = _compare(other.runs, cell.runs, cell.scoring)
            yield Comparison(cell.dataset, other.name, f"{report.model}, {cell.setting}", changes)


def _compare(before: Runs, after: Runs, scoring: Scoring) -> dict[str, FigureChange]:
    if len(before) != len(after):
        raise ValueError(f"runs are compared one with one, but there are {len(before)} and {len(after)}")
    # Repetitions of the same answers on both sides tell nothing new.
    pairs = list(dict.fromkeys((tuple(old), tuple(new)) for old, new in zip(before, after, strict=True)))
    old_answers = [answer for old, _ in pairs for answer in old]
    changes = compare_answers(
        old_answers,
        [answer for _, new in pairs for answer in new],
        resamples=scoring.bootstrap or _RESAMPLES,
        rules=scoring.rules,
    )
    if len({(answer.image_id, answer.question) for answer in old_answers}) < len(old_answers):
        # Several answers to a question are not as much evidence as answers to several questions.
        changes = {name: replace(change, mcnemar=None) for name, change in changes.items()}
    return changes
