# SPDX-License-Identifier: Apache-2.0
"""One figure for each task, and one for all, by which checkpoints of a training run are compared."""

from __future__ import annotations

from collections.abc import Mapping

from geodit.configuration.types_geodit import JsonObject
from geodit.hub_cards.card.evaluation_results import MAIN_FIGURES

__all__ = ["MAIN_FIGURES", "main_figures", "mean_score"]

# What a figure is at most, if not 1.
_HIGHEST = {"cider": 10.0}


def main_figures(figures: Mapping[str, JsonObject]) -> dict[str, float]:
    """Return the main figure of each task.

    Args:
        figures: What [`~geodit.evaluation.scoring.score_answers`] returns.

    Returns:
        By task, in the scale of the metric; undefined figures are left out.
    """
    found = {task: result.get(MAIN_FIGURES[task]) for task, result in figures.items()}
    return {task: float(value) for task, value in found.items() if value is not None}


def mean_score(figures: Mapping[str, JsonObject]) -> float:
    """Return the mean over the tasks of their main figures, each from 0 to 1: CIDEr counts as a tenth.

    Args:
        figures: What [`~geodit.evaluation.scoring.score_answers`] returns.
    """
    values = [value / _HIGHEST.get(MAIN_FIGURES[task], 1.0) for task, value in main_figures(figures).items()]
    return sum(values) / len(values) if values else 0.0
