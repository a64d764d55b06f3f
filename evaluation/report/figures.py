# SPDX-License-Identifier: Apache-2.0
"""The figures of a report: each under several rules for answers that do not parse, with its interval."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.baseline_tables import times_100_title
from geodit.evaluation.report.contents import Report, ReportCell
from geodit.evaluation.scaled_figures import Value, scaled

__all__ = ["RULES", "figure_rows", "figures_csv"]

RULES: Mapping[str, str] = {
    "": "strict",
    "_keep_wellformed": "well-formed boxes kept",
    "_one_wrong_box": "one wrong box",
}
"""What an answer that does not parse counts for, by the ending of a figure's name."""

_PARTS = ("by_kind", "by_size")
_NO_FIGURES = ("iou_threshold", "mean_steps", "parse_rate")


@dataclass(frozen=True)
class FigureRow:
    """A figure under each rule.

    Args:
        task: The task, or a part of its questions: `"vqa.count"`.
        figure: Name of the figure.
        title: The same as the field writes it.
        values: By the ending of the rule, those rules that the figure has.
        parse_rate: Share of answers that parsed, times 100.
        num_answers: Answers that the figure is about, over all runs that differ.
    """

    task: str
    figure: str
    title: str
    values: Mapping[str, Value]
    parse_rate: Value | None
    num_answers: int


def figure_rows(cell: ReportCell) -> Iterator[FigureRow]:
    """Yield the figures of a cell, times 100 where they are shares or the CIDEr of papers.

    Args:
        cell: Of a report.
    """
    for task, result in cell.figures.items():
        yield from _rows(task, result, result.get("iou_threshold"))
        for by in _PARTS:
            for part, of_part in result.get(by, {}).items():
                if part != task:
                    yield from _rows(f"{task}.{part}", of_part, result.get("iou_threshold"))


def figures_csv(report: Report) -> str:
    """Return all figures as CSV, with intervals in columns of their own and nothing rounded.

    Args:
        report: The report.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = ("value", "low", "high", "published", "num_answers", "num_images", "num_runs")
    writer.writerow(("dataset", "setting", "task", "figure", "rule", *columns))
    for cell in report.cells:
        for row in figure_rows(cell):
            task = row.task.partition(".")[0]
            published = cell.published.get(f"{row.task}.{row.figure}")
            for ending, value in row.values.items():
                low, high = value.interval or (None, None)
                asked = (row.num_answers, cell.num_images(task), cell.num_runs)
                named = (cell.dataset, cell.setting, row.task, row.figure, RULES[ending])
                writer.writerow((*named, value.value, low, high, published, *asked))
    return buffer.getvalue()


def _rows(task: str, result: JsonObject, iou_threshold: float | None) -> Iterator[FigureRow]:
    parse_rate = scaled("parse_rate", result)
    for name in result:
        if name in _NO_FIGURES or any(name.endswith(ending) for ending in RULES if ending):
            continue
        found = {ending: scaled(name + ending, result) for ending in RULES}
        values = {ending: value for ending, value in found.items() if value is not None}
        if "" in values:
            title = times_100_title(task.partition(".")[0], name, iou_threshold)
            yield FigureRow(task, name, title, values, parse_rate, int(result.get("num_samples", 0)))
