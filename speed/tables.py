# SPDX-License-Identifier: Apache-2.0
"""Measured times as rich tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich import box
from rich.table import Table

from geodit.speed.results import Comparison, PointResult, Rates, SpeedResult
from geodit.speed.timing import Ratio, TimeSpread

__all__ = ["format_seconds", "format_spread", "machine_line", "point_table"]

_RATIOS: tuple[tuple[str, Callable[[Comparison], Ratio | None]], ...] = (
    ("as long as\nthe floor", lambda compared: compared.to_floor),
    ("faster than\nreference", lambda compared: compared.speedup_over_reference),
    ("faster\nthan AR", lambda compared: compared.speedup_over_autoregressive),
    ("than AR,\ndecoding", lambda compared: compared.decoding_speedup_over_autoregressive),
    ("faster than\none by one", lambda compared: compared.speedup_over_apart),
)


def point_table(result: SpeedResult, point: PointResult) -> Table:
    """Build a table of one workload: one row per contestant.

    Args:
        result: Tells what holds for all points.
        point: One of them.
    """
    caption = (
        f"Rounds: {result.repeats}. Medians of the rounds, below them minimum and maximum; ratios of medians, below "
        "them the lowest and the highest of a round. Prefix: the time before the first step; of the autoregressive "
        "model (AR), up to its first token. In a second: tokens of answers, images, and questions where an image has "
        "several."
    )
    table = Table(title=point.workload.describe(), caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("contestant and its work")
    for name in ("GFLOP", "total", "prefix", "decoding", "in a second"):
        table.add_column(name, justify="right")
    comparisons = [point.compare(measurement) for measurement in point.measurements]
    # A column in which nothing is compared, such as the reference where it does not take part, is left out.
    ratios = [(title, of) for title, of in _RATIOS if any(of(compared) is not None for compared in comparisons)]
    for title, _ in ratios:
        table.add_column(title, justify="right")
    for measurement, compared in zip(point.measurements, comparisons, strict=True):
        table.add_row(
            f"{measurement.name}\n{measurement.work}",
            f"{measurement.flops / 1e9:.3g}",
            *(format_spread(spread) for spread in (measurement.total, measurement.prefix, measurement.decoding)),
            _rates(point.rates(measurement)),
            *(_ratio(of(compared)) for _, of in ratios),
        )
    return table


def machine_line(result: SpeedResult) -> str:
    """Write in one line what the figures were measured with."""
    machine: dict[str, Any] = result.machine
    count = result.num_parameters
    return (
        f"shape {result.shape.name}: {count['total'] / 1e6:.3g} M parameters ({count['text'] / 1e6:.3g} M text core, "
        f"{count['vision'] / 1e6:.3g} M vision tower), random weights; {machine['processor']}, {machine['device']}, "
        f"{machine['threads']} of {machine['processors']} processors, load {machine['load_average']} at the start; "
        f"torch {machine['versions']['torch']}, transformers {machine['versions']['transformers']}"
    )


def format_seconds(seconds: float) -> str:
    """Format a time with three digits and its unit."""
    factor, unit = _unit(seconds)
    return f"{_three_digits(seconds * factor)} {unit}"


def format_spread(spread: TimeSpread | None) -> str:
    """Format median, minimum and maximum in one unit; a dash where nothing was measured."""
    if spread is None:
        return "-"
    factor, unit = _unit(spread.median)
    middle, low, high = (_three_digits(time * factor) for time in (spread.median, spread.minimum, spread.maximum))
    return f"{middle} {unit}\n{low} - {high}"


def _rates(rates: Rates) -> str:
    tokens, images, questions = (_three_digits(rate) for rate in (rates.tokens, rates.images, rates.questions))
    if images == questions:
        return f"{tokens} tokens\n{images} images"
    return f"{tokens} tokens\n{images} images\n{questions} questions"


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "-"
    return f"{_three_digits(ratio.of_medians)} x\n{_three_digits(ratio.lowest)} - {_three_digits(ratio.highest)}"


def _unit(seconds: float) -> tuple[float, str]:
    return (1.0, "s") if seconds >= 1 else (1e3, "ms")


def _three_digits(number: float) -> str:
    """Format a number with three significant digits and no exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
