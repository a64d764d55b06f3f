# SPDX-License-Identifier: Apache-2.0
"""Measured times as rich tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich import box
from rich.table import Table

from geodit.speed.results import Comparison, PointResult, Rates, SpeedResult
from geodit.speed.timing import Ratio, TimeSpread

__all__ = ["format_seconds", "format_spread", "machine_line", "point_tables"]

_RATIOS: tuple[tuple[str, Callable[[Comparison], Ratio | None]], ...] = (
    ("time to\nthe floor's", lambda compared: compared.to_floor),
    ("faster than\nreference", lambda compared: compared.speedup_over_reference),
    ("faster\nthan AR", lambda compared: compared.speedup_over_autoregressive),
    ("than AR,\ndecoding", lambda compared: compared.decoding_speedup_over_autoregressive),
    ("faster than\none by one", lambda compared: compared.speedup_over_apart),
)


def point_tables(result: SpeedResult, point: PointResult) -> list[Table]:
    """Tabulate one workload with one row per contestant; no table breaks a word at 80 columns.

    Args:
        result: The result that the workload belongs to.
        point: The workload with its measurements.

    Returns:
        The times and, if contestants are compared with each other, their ratios.
    """
    comparisons = [point.compare(measurement) for measurement in point.measurements]
    # A comparison in which nobody takes part, such as with a reference that was not measured, has no column.
    ratios = [(title, of) for title, of in _RATIOS if any(of(compared) is not None for compared in comparisons)]
    times = _new_table("contestant and its work", ["GFLOP", "total", "prefix", "decoding", "per second"])
    times.title = point.workload.describe()
    times.caption = (
        f"Medians of {result.repeats} rounds, with minimum and maximum. Prefix: time before the first step; for the "
        "autoregressive model (AR), time to its first token. Per second: tokens of answers, images, and questions if "
        "an image has several."
    )
    compared_times = _new_table("contestant", [title for title, _ in ratios])
    compared_times.caption = "Ratios of the medians, with the lowest and the highest ratio of a round."
    for measurement, compared in zip(point.measurements, comparisons, strict=True):
        times.add_row(
            f"{measurement.name}\n{measurement.work}",
            f"{measurement.flops / 1e9:.3g}",
            *(format_spread(spread) for spread in (measurement.total, measurement.prefix, measurement.decoding)),
            _rates(point.rates(measurement)),
        )
        compared_times.add_row(measurement.name, *(_ratio(of(compared)) for _, of in ratios))
    return [times, compared_times] if ratios else [times]


def _new_table(first: str, others: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption_justify="left")
    table.add_column(first)
    for title in others:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def machine_line(result: SpeedResult) -> str:
    """Write in one line what the figures were measured with."""
    machine = result.machine
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
