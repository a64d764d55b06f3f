# SPDX-License-Identifier: Apache-2.0
"""Cells of tables that several reports share. Figures are times 100, CIDEr too."""

from __future__ import annotations

from geodit.evaluation.comparison import FigureChange
from geodit.evaluation.scaled_figures import Value
from geodit.hub_cards.card.markdown import Markdown

__all__ = ["CHANGE_COLUMNS", "change_cells", "value_cell"]

CHANGE_COLUMNS = ("difference", "p", "gained", "lost", "p (McNemar)")
"""Titles of the cells of [`change_cells`]."""


def value_cell(value: Value | None) -> Markdown:
    """Write a figure, or a dash if it is not defined.

    Args:
        value: The figure.
    """
    # Brackets alone mean nothing in Markdown.
    return Markdown("-" if value is None else str(value))


def change_cells(change: FigureChange | None) -> tuple[Markdown, ...]:
    """Write how a figure changed, under the titles of [`CHANGE_COLUMNS`].

    Args:
        change: Of one figure; `None` if it is undefined before or after.
    """
    if change is None:
        return (Markdown("-"),) * len(CHANGE_COLUMNS)
    interval = change.interval and (change.interval[0] * 100, change.interval[1] * 100)
    test = change.mcnemar
    return (
        value_cell(Value(change.difference * 100, interval)),
        Markdown("-" if change.p_value is None else f"{change.p_value:.3g}"),
        *(Markdown("-" if value is None else value) for value in (test and test.gained, test and test.lost)),
        Markdown("-" if test is None else f"{test.p_value:.3g}"),
    )
