# SPDX-License-Identifier: Apache-2.0
"""Figures on the scale of papers."""

from __future__ import annotations

from dataclasses import dataclass

from geodit.configuration.types_geodit import JsonObject

__all__ = ["Value", "scaled"]

_UNSCALED = ("count_error", "mean_steps")


@dataclass(frozen=True)
class Value:
    """A figure with its 95% interval.

    Args:
        value: The figure.
        interval: Its ends, if there is an interval.
    """

    value: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        """Write it with one digit after the point, rounded once."""
        text = f"{self.value:.1f}"
        return text if self.interval is None else f"{text} [{self.interval[0]:.1f}, {self.interval[1]:.1f}]"


def scaled(name: str, result: JsonObject) -> Value | None:
    """Return a figure times 100 with its interval, if it is there and defined.

    Errors of counts and numbers of steps stay as they are, and so does what a protocol multiplies by 100 itself.

    Args:
        name: Its name in the result.
        result: The result of a metric or of a protocol.
    """
    value = result.get(name)
    if not isinstance(value, float):
        return None
    factor = 1.0 if name in _UNSCALED or name.endswith("_x100") else 100.0
    interval = (result.get("confidence_intervals") or {}).get(name)
    return Value(value * factor, None if interval is None else (interval[0] * factor, interval[1] * factor))
