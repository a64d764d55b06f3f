# SPDX-License-Identifier: Apache-2.0
"""Results of suites as tables: for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from geodit.evaluation.main_figures import MAIN_FIGURES
from geodit.evaluation.suite_runs import SuiteCell, SuiteResult

__all__ = ["SuiteRow", "suite_csv", "suite_markdown", "suite_rows", "suite_table"]

_HEADER = ("data set", "setting", "figure", "measured", "paper", "questions")
_PER_CENT = 100.0


@dataclass(frozen=True)
class SuiteRow:
    """A figure of a data set, on the scale of papers: times 100.

    Args:
        dataset: The data set.
        setting: Decoding settings, if several are compared.
        figure: Flat name of the figure.
        value: What was measured; `None` if it is undefined.
        interval: Its 95% interval over images, if there is one.
        published: What the paper states.
        num_questions: Questions that it is about.
    """

    dataset: str
    setting: str
    figure: str
    value: float | None
    interval: tuple[float, float] | None
    published: float | None
    num_questions: int

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, rounded once."""
        measured = "-" if self.value is None else f"{self.value:.1f}"
        if self.value is not None and self.interval is not None:
            measured += f" [{self.interval[0]:.1f}, {self.interval[1]:.1f}]"
        published = "-" if self.published is None else f"{self.published:.1f}"
        return self.dataset, self.setting, self.figure, measured, published, f"{self.num_questions:,}"


def suite_rows(result: SuiteResult) -> Iterator[SuiteRow]:
    """Yield the figures that the paper states, and the main figure of each task.

    Args:
        result: Of the suite.
    """
    for cell in result.cells:
        names = dict.fromkeys((*cell.published, *(f"{task}.{MAIN_FIGURES[task]}" for task in cell.figures)))
        for name in names:
            value, interval, questions = _figure(cell, name)
            yield SuiteRow(
                cell.entry.dataset, cell.setting, name, value, interval, cell.published.get(name), questions
            )


def suite_table(result: SuiteResult) -> Table:
    """Build a table for a terminal."""
    table = Table(*_HEADER[:3], title=f"{result.suite}, times 100")
    for name in _HEADER[3:]:
        table.add_column(name, justify="right")
    for row in suite_rows(result):
        table.add_row(*row.cells())
    return table


def suite_markdown(result: SuiteResult) -> str:
    """Return the table as Markdown."""
    lines = [f"| {' | '.join(_HEADER)} |", "|---|---|---|---:|---:|---:|"]
    lines += [f"| {' | '.join(row.cells())} |" for row in suite_rows(result)]
    return "\n".join(lines) + "\n"


def suite_csv(result: SuiteResult) -> str:
    """Return the table as CSV, with intervals in columns of their own and nothing rounded."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("dataset", "setting", "figure", "value", "low", "high", "published", "num_questions"))
    for row in suite_rows(result):
        low, high = row.interval or (None, None)
        writer.writerow((row.dataset, row.setting, row.figure, row.value, low, high, row.published, row.num_questions))
    return buffer.getvalue()


def _figure(cell: SuiteCell, name: str) -> tuple[float | None, tuple[float, float] | None, int]:
    """Return a figure times 100, its interval, and the number of questions that it is about."""
    task, *kind, figure = name.split(".")
    result = cell.figures.get(task, {})
    if kind:
        result = result.get("by_kind", {}).get(kind[0], {})
    value = result.get(figure)
    interval = (result.get("confidence_intervals") or {}).get(figure)
    return (
        None if value is None else value * _PER_CENT,
        None if interval is None else (interval[0] * _PER_CENT, interval[1] * _PER_CENT),
        int(result.get("num_samples", 0)),
    )
