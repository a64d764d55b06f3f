# SPDX-License-Identifier: Apache-2.0
"""Results as rich tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from geodit.evaluation.evaluate import EvaluationResult
from geodit.evaluation.sweep import Spread, SweepResult

__all__ = ["benchmark_table", "sweep_table"]

_TITLES = {
    "cider": "CIDEr",
    "bleu4": "BLEU-4",
    "accuracy": "accuracy",
    "majority_accuracy": "accuracy, commonest answer",
    "mean_iou": "mean IoU",
    "precision": "precision@0.5",
    "recall": "recall@0.5",
    "f1": "F1@0.5",
    "precision_keep_wellformed": "precision@0.5, well-formed boxes kept",
    "recall_keep_wellformed": "recall@0.5, well-formed boxes kept",
    "f1_keep_wellformed": "F1@0.5, well-formed boxes kept",
    "empty_accuracy": "accuracy, no object",
    "map50": "mAP@0.5",
    "map": "mAP@0.5:0.95",
    "parse_rate": "parsed",
    "mean_steps": "steps made per answer",
}
# What a table of many settings shows; the JSON document has everything.
_HEADLINES = ("cider", "bleu4", "accuracy", "precision", "recall", "f1", "f1_keep_wellformed")


def benchmark_table(result: EvaluationResult, title: str | None = None) -> Table:
    """One run: a row for each figure, with its 95% interval if there is one.

    Args:
        result: The run.
        title: Title of the table.
    """
    settings = result.settings
    caption = (
        f"{settings.steps} steps, {settings.remasking} remasking, seed {settings.seed}; "
        f"{result.num_images} images, {len(result.answers)} questions in {result.seconds:.1f} s, "
        f"{result.mean_steps:.1f} steps an answer"
    )
    table = Table(title=title, caption=caption)
    table.add_column("task")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("questions", justify="right")
    for task, of_task in _parts(result.figures):
        intervals = of_task.get("confidence_intervals", {})
        first = True
        for name in (name for name in _TITLES if name in of_task):
            table.add_row(
                task if first else "",
                _figure_title(task, name),
                _number(of_task[name]),
                _interval(intervals.get(name)),
                str(of_task["num_samples"]) if first else "",
            )
            first = False
        table.add_section()
    return table


def sweep_table(result: SweepResult, figures: Sequence[str] | None = None) -> Table:
    """A grid of settings: a column for each point, mean ± standard deviation over the repetitions.

    Args:
        result: The sweep.
        figures: Flat names such as `"detect.f1"`. By default the main figures of each task, the accuracy of
            each kind of visual question, and the parse rates.

    Raises:
        ValueError: If no point has a figure of that name; the message lists those there are.
    """
    summaries = [cell.summary for cell in result.cells]
    known = list(dict.fromkeys(name for summary in summaries for name in summary))
    rows = [name for name in known if _is_headline(name)] if figures is None else list(figures)
    unknown = [name for name in rows if name not in known]
    if unknown:
        raise ValueError(f"no figure is called {', '.join(unknown)}; there are {', '.join(known)}")

    table = Table(title=result.dataset_name, caption=_repetitions(result))
    table.add_column("task")
    table.add_column("figure")
    for cell in result.cells:
        steps = f"{cell.settings.steps} step{'s' * (cell.settings.steps != 1)}"
        table.add_column(f"{steps}\n{cell.settings.remasking}", justify="right")
    previous = ""
    for name in rows:
        task, _, figure = name.rpartition(".")
        if previous and task != previous:
            table.add_section()
        table.add_row(
            task.replace(".", " ") if task != previous else "",
            _figure_title(task, figure),
            *(_spread(summary.get(name)) for summary in summaries),
        )
        previous = task
    return table


def _parts(figures: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The tasks and, below each, its kinds of question; a kind named like its task is the task."""
    for task, of_task in figures.items():
        yield task, of_task
        for kind, of_kind in of_task.get("by_kind", {}).items():
            if kind != task:
                yield f"{task} {kind}", of_kind


def _is_headline(name: str) -> bool:
    task, _, figure = name.rpartition(".")
    return figure in _HEADLINES or (figure in ("parse_rate", "mean_steps") and "." not in task)


def _repetitions(result: SweepResult) -> str:
    images = result.cells[0].runs[0].num_images
    seeds = ", ".join(map(str, result.seeds))
    if len(result.seeds) == 1:
        return f"{images} images, seed {seeds}"
    spread = f"mean ± standard deviation (ddof = 1) over seeds {seeds}"
    if result.dataset_seeds is None:
        return f"{images} images, the same for every seed; {spread}; ± 0 where decoding draws nothing at random"
    return f"{images} images for each seed, not the same; {spread}"


def _figure_title(task: str, name: str) -> str:
    return "accuracy@0.5" if (task, name) == ("ground", "accuracy") else _TITLES.get(name, name)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return _number(None)
    return _number(spread.mean) if spread.std is None else f"{spread.mean:.3f} ± {spread.std:.3f}"
