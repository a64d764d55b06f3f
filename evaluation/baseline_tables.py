# SPDX-License-Identifier: Apache-2.0
"""Baselines as tables, and in documents of results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rich.table import Table

from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.baselines import BASELINES
from geodit.evaluation.main_figures import MAIN_FIGURES
from geodit.evaluation.report.tables import value_cell
from geodit.evaluation.scaled_figures import Value, scaled
from geodit.hub_cards.card.evaluation_results import figure_title
from geodit.hub_cards.card.markdown import Markdown, as_markdown
from geodit.hub_cards.card.markdown import Table as MarkdownTable

__all__ = [
    "BaselineFigures",
    "BaselineRow",
    "baseline_rows",
    "baselines_document",
    "baselines_markdown",
    "baselines_table",
    "times_100_title",
]

BaselineFigures = Mapping[str, Mapping[str, JsonObject]]
"""By the name of a baseline what [`~geodit.evaluation.scoring.score_answers`] returns."""

BaselineRow = tuple[str, str, str, str, str, "Value | None"]
"""Name, whether it uses the truth, description, task, title of the main figure, and the figure."""


def baselines_document(baselines: BaselineFigures) -> JsonObject:
    """Return baselines in types that JSON has, with what each of them is.

    Args:
        baselines: What they reached.
    """
    return {
        name: {
            "uses_truth": BASELINES[name].uses_truth,
            "description": BASELINES[name].description,
            "figures": dict(figures),
        }
        for name, figures in baselines.items()
    }


def baseline_rows(baselines: BaselineFigures) -> Iterator[BaselineRow]:
    """Yield the main figure of each task of each baseline, times 100.

    Args:
        baselines: What they reached.
    """
    for name, figures in baselines.items():
        kind = "uses the truth" if BASELINES[name].uses_truth else "baseline"
        for task, result in figures.items():
            main = MAIN_FIGURES[task]
            yield name, kind, BASELINES[name].description, task, times_100_title(task, main), scaled(main, result)


def baselines_table(baselines: BaselineFigures, title: str = "baselines, times 100") -> Table:
    """Build a table for a terminal.

    Args:
        baselines: What they reached.
        title: Of the table.
    """
    table = Table("name", "kind", "task", "figure", title=title)
    table.add_column("value", justify="right")
    for name, kind, _, task, figure, value in baseline_rows(baselines):
        table.add_row(name, kind, task, figure, "-" if value is None else str(value))
    return table


def baselines_markdown(baselines: Iterable[tuple[str, BaselineFigures]]) -> Markdown | None:
    """Return a table of the baselines of data sets as Markdown; `None` if there are none.

    Args:
        baselines: Of each data set its name, and what they reached.
    """
    rows = tuple(
        (dataset, *words, value_cell(value))
        for dataset, of_dataset in baselines
        for *words, value in baseline_rows(of_dataset)
    )
    header = ("data set", "name", "kind", "answers", "task", "figure", "value")
    return as_markdown(MarkdownTable(header, rows, num_left=6)) if rows else None


def times_100_title(task: str, figure: str, iou_threshold: float | None = 0.5) -> str:
    """Return the name of a figure that is shown times 100.

    Args:
        task: The task, or a kind of its questions.
        figure: The figure.
        iou_threshold: From which IoU on a box counts as right.
    """
    return figure_title(task, figure, iou_threshold).replace("(0 to 10)", "(0 to 1,000)")
