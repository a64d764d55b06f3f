# SPDX-License-Identifier: Apache-2.0
"""Plots of a report, by Matplotlib where it is installed."""

from __future__ import annotations

import functools
import importlib.util
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodit.evaluation.commit_order import committed_shares
from geodit.evaluation.main_figures import MAIN_FIGURES
from geodit.evaluation.report.box_outcomes import Reliability, measure_reliability
from geodit.evaluation.report.contents import Report, ReportCell
from geodit.evaluation.scaled_figures import Value, scaled
from geodit.hub_cards.card.evaluation_results import figure_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PLOTS", "can_plot", "draw_plots"]

PLOTS: Mapping[str, str] = {
    "quality_steps": "Quality against the maximum number of denoising steps",
    "quality_time": "Quality against time per question",
    "reliability": "Share of boxes that are right against their score",
    "commit_order": "Order in which tokens are committed: share of each kind after each step",
}
"""The plots by name, with their titles."""

_COLUMNS = 3
# Width and height of one panel, in inches, and pixels per inch.
_PANEL = (4.2, 3.0)
_DPI = 100
# Panels that one picture has at most.
_MOST = 12
# Paul Tol's "bright" palette, which stays distinct for all kinds of color vision.
_COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")

_Panel = tuple[str, "Callable[[Axes], None]"]


def can_plot() -> bool:
    """Return whether Matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_plots(report: Report) -> dict[str, bytes]:
    """Draw the plots that there is something to draw for.

    Args:
        report: The report.

    Returns:
        PNG files by the name of the plot; the same report gives the same bytes.

    Raises:
        ImportError: If Matplotlib is not installed.
    """
    panels = {
        "quality_steps": _quality_panels(report, "maximum denoising steps", _by_steps),
        "quality_time": _quality_panels(report, "seconds per question", _by_time),
        "reliability": _reliability_panels(report),
        "commit_order": _commit_panels(report),
    }
    return {name: _draw(some[:_MOST]) for name, some in panels.items() if some}


def _by_steps(cell: ReportCell) -> float | None:
    return cell.max_denoising_steps


def _by_time(cell: ReportCell) -> float | None:
    return cell.seconds_per_question or None


def _quality_panels(report: Report, label: str, place: Callable[[ReportCell], float | None]) -> list[_Panel]:
    panels: list[_Panel] = []
    for dataset, cells in report.datasets.items():
        if len({cell.max_denoising_steps for cell in cells}) < 2:
            continue
        for task in dict.fromkeys(task for cell in cells for task in cell.figures):
            lines = _lines(cells, task, place)
            if lines:
                title = figure_title(task, MAIN_FIGURES[task], 0.5).partition(" (0 to")[0]
                panels.append((f"{dataset}: {task}", _line_panel(lines, label, f"{title}, times 100")))
    return panels


_Line = list[tuple[float, Value]]


def _lines(cells: Sequence[ReportCell], task: str, place: Callable[[ReportCell], float | None]) -> dict[str, _Line]:
    """Return the points of each line, by what the settings on it have in common."""
    lines: dict[str, _Line] = {}
    for cell in cells:
        x, value = place(cell), scaled(MAIN_FIGURES[task], cell.figures.get(task, {}))
        if x is not None and value is not None:
            lines.setdefault(cell.other_settings, []).append((x, value))
    return {name: sorted(points, key=lambda point: point[0]) for name, points in lines.items()}


def _line_panel(lines: Mapping[str, _Line], x_label: str, y_label: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for index, (name, points) in enumerate(lines.items()):
            xs, values = zip(*points, strict=True)
            color = _COLORS[index % len(_COLORS)]
            ys = [value.value for value in values]
            axes.plot(xs, ys, label=name, color=color, marker="o", markersize=3)
            ends = [value.interval or (value.value, value.value) for value in values]
            axes.fill_between(xs, [low for low, _ in ends], [high for _, high in ends], color=color, alpha=0.15, lw=0)
        axes.set_xscale("log")
        ticks = sorted({x for points in lines.values() for x, _ in points})
        axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize="small")

    return draw


def _reliability_panels(report: Report) -> list[_Panel]:
    panels: list[_Panel] = []
    for cell in report.cells:
        reliability = measure_reliability(cell.answers)
        if reliability is not None:
            panels.append((_panel_title(report, cell), functools.partial(_draw_reliability, reliability)))
    return panels


def _draw_reliability(reliability: Reliability, axes: Axes) -> None:
    bins = reliability.bins
    most = max(one.num_boxes for one in bins)
    scores, shares = [one.mean_score for one in bins], [one.share_right for one in bins]
    axes.plot((0, 1), (0, 1), color="#bbbbbb", linewidth=1)
    axes.plot(scores, shares, color=_COLORS[0], linewidth=1)
    axes.scatter(scores, shares, [8 + 60 * one.num_boxes / most for one in bins], color=_COLORS[0])
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="score", ylabel="share right")
    note = f"ECE {reliability.calibration_error:.3f}\n{reliability.num_boxes:,} boxes"
    axes.text(0.04, 0.96, note, va="top", fontsize="small")


def _commit_panels(report: Report) -> list[_Panel]:
    panels: list[_Panel] = []
    for cell in report.cells:
        shares = committed_shares(answer.commit_steps for answer in cell.answers)
        # In one step everything is committed at once.
        if any(len(of_kind) > 1 for of_kind in shares.values()):
            panels.append((_panel_title(report, cell), functools.partial(_draw_commits, shares)))
    return panels


def _draw_commits(shares: Mapping[str, NDArray[np.float64]], axes: Axes) -> None:
    for (kind, of_kind), color in zip(shares.items(), _COLORS, strict=False):
        axes.plot(range(1, len(of_kind) + 1), of_kind, label=kind, color=color, marker="o", markersize=3)
    axes.set(ylim=(0, 1.02), xlabel="step", ylabel="share committed")
    axes.legend(frameon=False, fontsize="small")


def _panel_title(report: Report, cell: ReportCell) -> str:
    return cell.setting if len(report.datasets) == 1 else f"{cell.dataset}\n{cell.setting}"


def _draw(panels: Sequence[_Panel]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(columns * _PANEL[0], rows * _PANEL[1]), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for index, (title, draw) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        draw(axes)
        axes.set_title(title, parse_math=False, fontsize="medium")
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    # Without the version of Matplotlib, which is nobody's concern.
    canvas.print_figure(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
