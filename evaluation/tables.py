# SPDX-License-Identifier: Apache-2.0
"""Results as rich tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.table import Table

from geodit.evaluation.baseline_tables import baselines_table
from geodit.evaluation.scaled_figures import scaled
from geodit.evaluation.scoring import iterate_figures, iterate_intervals
from geodit.evaluation.sweep import Spread, SweepCell, SweepResult
from geodit.hub_cards.card.evaluation_results import figure_title

__all__ = ["result_tables", "sweep_table", "sweep_tables"]

# Shorter than on cards, so that tables fit into a terminal.
_SHORT_TITLES = {
    "majority_accuracy": "accuracy, commonest answer",
    "empty_accuracy": "accuracy, no object",
    "parse_rate": "parsed",
}
# What a table of many settings shows; the JSON document has everything.
_HEADLINES = (
    *("cider", "bleu4", "accuracy", "precision", "recall", "f1", "f1_keep_wellformed"),
    *("map50", "map50_equal_scores"),
)


def result_tables(result: SweepResult) -> list[Table]:
    """Build all tables of a sweep for a terminal: of its settings, of other protocols, and of baselines.

    Args:
        result: The sweep.
    """
    tables = sweep_tables(result)
    if any(cell.protocols for cell in result.cells):
        tables.append(_protocols_table(result))
    if result.baselines:
        tables.append(baselines_table(result.baselines))
    return tables


def sweep_tables(result: SweepResult) -> list[Table]:
    """Tabulate a grid of settings, two per table, which fit 80 columns without a broken word.

    Args:
        result: The sweep.
    """
    return [sweep_table(replace(result, cells=result.cells[at : at + 2])) for at in range(0, len(result.cells), 2)]


def sweep_table(result: SweepResult, figures: Sequence[str] | None = None) -> Table:
    """Build a table of a grid of settings: one column per point, mean ± standard deviation over the repetitions.

    Where intervals were asked for, they stand below, in brackets.

    Args:
        result: The sweep.
        figures: Flat names such as `"detect.f1"`. By default the main figures of each task, the accuracy of
            each kind of visual question, and the parse rates.

    Raises:
        ValueError: If no point has a figure of that name; the message lists those there are.
    """
    summaries = [cell.summary for cell in result.cells]
    intervals = [dict(iterate_intervals(cell.pooled or {})) for cell in result.cells]
    pooled_figures = [dict(iterate_figures(cell.pooled or {})) for cell in result.cells]
    known = list(dict.fromkeys(name for summary in summaries for name in summary))
    rows = [name for name in known if _is_headline(name)] if figures is None else list(figures)
    unknown = [name for name in rows if name not in known]
    if unknown:
        raise ValueError(f"no figure is called {', '.join(unknown)}; there are {', '.join(known)}")

    table = Table(title=result.dataset_name, caption=_repetitions(result))
    table.add_column("task")
    table.add_column("figure")
    for cell in result.cells:
        table.add_column(_point(cell), justify="right")
    previous = ""
    for name in rows:
        task, _, figure = name.rpartition(".")
        if previous and task != previous:
            table.add_section()
        table.add_row(
            task.replace(".", " ") if task != previous else "",
            _figure_title(task, figure),
            *(
                _spread(summary.get(name), of_cell.get(name), pooled.get(name))
                for summary, of_cell, pooled in zip(summaries, intervals, pooled_figures, strict=True)
            ),
        )
        previous = task
    return table


def _protocols_table(result: SweepResult) -> Table:
    table = Table("protocol", "task", "figure", title="other protocols, times 100")
    for cell in result.cells:
        table.add_column(_point(cell), justify="right")
    shown = dict.fromkeys(
        (protocol, task, figure)
        for cell in result.cells
        for protocol, tasks in cell.protocols.items()
        for task, of_task in tasks.items()
        for figure in of_task
        if scaled(figure, of_task) is not None
    )
    for protocol, task, figure in shown:
        values = (scaled(figure, cell.protocols[protocol].get(task, {})) for cell in result.cells)
        table.add_row(protocol, task, figure, *("-" if value is None else str(value) for value in values))
    return table


def _point(cell: SweepCell) -> str:
    steps = cell.settings.max_denoising_steps
    return f"{steps} step{'s' * (steps != 1)}\n{cell.settings.remasking}"


def _is_headline(name: str) -> bool:
    task, _, figure = name.rpartition(".")
    return figure in _HEADLINES or (figure in ("parse_rate", "mean_steps") and "." not in task)


def _repetitions(result: SweepResult) -> str:
    images = result.cells[0].runs[0].num_images
    seeds = ", ".join(map(str, result.seeds))
    pooled = ""
    if result.cells[0].pooled is not None:
        below = (
            "below, all answers pooled with 95% intervals" if len(result.seeds) > 1 else "in brackets 95% intervals"
        )
        pooled = f"; {below}, a bootstrap over images"
    if len(result.seeds) == 1:
        return f"{images} images, seed {seeds}{pooled}"
    spread = f"mean ± standard deviation (ddof = 1) over seeds {seeds}"
    if result.dataset_seeds is None:
        return (
            f"{images} images, the same for every seed; {spread}; ± 0 where decoding draws nothing at random{pooled}"
        )
    return f"{images} images for each seed, not the same; {spread}{pooled}"


def _figure_title(task: str, name: str) -> str:
    return _SHORT_TITLES.get(name) or figure_title(task, name, 0.5)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _spread(spread: Spread | None, interval: tuple[float, float] | None, pooled: float | None) -> str:
    if spread is None:
        return _number(None)
    text = _number(spread.mean) if spread.std is None else f"{spread.mean:.3f} ± {spread.std:.3f}"
    if interval is None:
        return text
    # The figure of all answers together, to which the interval belongs, where it is not the mean above.
    differs = spread.std is not None and _number(pooled) != _number(spread.mean)
    own = f"pooled {_number(pooled)}\n" if differs else ""
    return f"{text}\n{own}[{interval[0]:.3f}, {interval[1]:.3f}]"
