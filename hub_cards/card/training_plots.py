# SPDX-License-Identifier: Apache-2.0
"""The training logs as a picture."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Mapping, Sequence

from geodit.hub_cards.card.training_history import TrainingStage

__all__ = ["can_plot", "training_plot"]

_COLUMNS = 3
# Width and height of the plot of one stage, in inches, and pixels an inch.
_PANEL = (4.0, 2.7)
_DPI = 100
# Paul Tol's "bright" palette, which stays distinct for all kinds of color vision.
_BLUE, _RED = "#4477aa", "#ee6677"


def can_plot(stages: Sequence[TrainingStage]) -> bool:
    """Return whether there is anything to draw, and Matplotlib is installed to draw it."""
    return any(_panel(stage) for stage in stages) and importlib.util.find_spec("matplotlib") is not None


def training_plot(stages: Sequence[TrainingStage]) -> bytes:
    """Draw the loss of every stage, or its reward where it was tuned by rewards, over its updates.

    Args:
        stages: Those without a log are left out.

    Returns:
        A PNG file; the same stages give the same bytes.

    Raises:
        ImportError: If Matplotlib is not installed.
        ValueError: If no stage has a log.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [(stage, panel) for stage in stages if (panel := _panel(stage))]
    if not panels:
        raise ValueError("there is no log of training to draw")
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(columns * _PANEL[0], rows * _PANEL[1]), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for index, (stage, (quantity, lines)) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        for (label, points), color, marker in zip(lines.items(), (_BLUE, _RED), ("", "o"), strict=False):
            steps, values = zip(*points, strict=True)
            # A single point has no line to be seen.
            axes.plot(steps, values, label=label, color=color, marker=marker if len(points) > 1 else "o", markersize=3)
        axes.set_title(stage.name, parse_math=False)
        axes.set_xlabel("update")
        axes.set_ylabel(quantity)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    # Without the version of Matplotlib, which is nobody's concern.
    canvas.print_figure(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _panel(stage: TrainingStage) -> tuple[str, dict[str, list[tuple[float, float]]]] | None:
    """Return what to draw of a stage: what is measured, and its lines; `None` if it has no log."""
    quantity = "reward" if stage.values("reward") else "loss"
    lines = {"training": _points(stage.log, quantity), "held out": _points(stage.log, f"eval_{quantity}")}
    lines = {label: points for label, points in lines.items() if points}
    return (quantity, lines) if lines else None


def _points(log: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    return [(entry["step"], entry[name]) for entry in log if name in entry and "step" in entry]
