# SPDX-License-Identifier: Apache-2.0
"""How the bands of a raster become the 8-bit RGB that a model sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["PERCENTILES", "BandStatistics", "Rendering", "Stretch", "StretchRule"]

# The limits that QGIS and others use to show such bands: a few very dark or bright pixels do not count.
PERCENTILES = (2.0, 98.0)

# One value that takes so large a share of a band, or a band without any contrast, is worth a warning.
_MOSTLY_ONE_VALUE = 0.5

# What a user writes by name.
_NAMED: tuple[Literal["auto"], Literal["none"], Literal["statistics"]] = ("auto", "none", "statistics")

BandStatistics = tuple[float, float]
"""Minimum and maximum of a band, as a file states them."""


@dataclass(frozen=True)
class StretchRule:
    """Which values of a band become black and white.

    Args:
        kind: `"auto"` shows 8 bits as they are and takes percentiles for all other types. `"none"` shows values from
            0 to 255 as they are, whatever their type. `"limits"` takes `low` and `high` as values, `"percentiles"` as
            percentiles of the band, `"statistics"` the minimum and maximum that the file states.
        low: The value, or percentile, that becomes 0.
        high: The one that becomes 255.

    Raises:
        ValueError: If the limits are not in order, or no percentiles.
    """

    kind: Literal["auto", "none", "limits", "percentiles", "statistics"] = "auto"
    low: float = PERCENTILES[0]
    high: float = PERCENTILES[1]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a stretch goes from a lower to a higher number, not from {self.low} to {self.high}")
        if self.kind in ("auto", "percentiles") and not 0 <= self.low < self.high <= 100:
            raise ValueError(f"percentiles are numbers from 0 to 100, not {self.low} and {self.high}")

    @classmethod
    def parse(cls, text: str) -> StretchRule:
        """Read what a user writes: `none`, `auto`, `statistics`, `300,2850` (values) or `p2,98` (percentiles).

        Raises:
            ValueError: If it is none of these.
        """
        name = text.strip().lower()
        for kind_of_name in _NAMED:
            if name == kind_of_name:
                return cls(kind_of_name)
        kind: Literal["limits", "percentiles"] = "percentiles" if name.startswith("p") else "limits"
        try:
            low, high = (float(part) for part in name.removeprefix("p").split(","))
        except ValueError:
            raise ValueError(
                f"a stretch is none, auto, statistics, two values such as 300,2850, or two percentiles such as p2,98, "
                f"not {text!r}"
            ) from None
        return cls(kind, low, high)


@dataclass(frozen=True)
class Rendering:
    """How the bands of a raster become 8-bit RGB.

    Pixels are taken in this order: no data is left out, decibels, stretch, gamma. Pixels without data are black.

    Args:
        stretch: Which values become black and white.
        nodata: A value that stands for no data, beside what the file says.
        gamma: Above 1 brightens what is dark: the share v of white becomes v ** (1 / gamma).
        decibels: Whether values are powers that are shown as 10 log10(value), as radar images are.

    Raises:
        ValueError: If `gamma` is not above 0.
    """

    stretch: StretchRule = StretchRule()
    nodata: float | None = None
    gamma: float = 1.0
    decibels: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf:
            raise ValueError(f"gamma must be a number above 0, got {self.gamma}")

    @property
    def changes_8_bits(self) -> bool:
        """Whether bands of 8 bits are not shown as they are."""
        return self.stretch.kind not in ("auto", "none") or self.gamma != 1 or self.decibels

    def valid(self, bands: NDArray[np.generic], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Return where there is data, given where the file says so.

        Args:
            bands: `(H, W, C)`.
            valid: `(H, W)`, or `None` if the file has data everywhere.

        Returns:
            `(H, W)`; `None` if there is data everywhere. A pixel has data if one of its bands has.
        """
        parts = [] if valid is None else [valid]
        if self.nodata is not None:
            same = np.isnan(bands) if math.isnan(self.nodata) else bands == self.nodata
            parts.append(~same.all(axis=-1))
        if bands.dtype.kind == "f":
            finite = np.isfinite(bands)
            if not finite.all():
                parts.append(finite.any(axis=-1))
        return np.logical_and.reduce(parts) if parts else None

    def values(self, bands: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return the numbers `(H, W, C)` that are stretched; what is not finite stays so."""
        values = bands.astype(np.float64)
        if not self.decibels:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels: NDArray[np.float64] = 10.0 * np.log10(values)
        return decibels

    def fit(
        self,
        sample: NDArray[np.generic],
        valid: NDArray[np.bool_] | None,
        statistics: list[BandStatistics | None] | None = None,
    ) -> Stretch | None:
        """Find black and white of each band.

        Args:
            sample: `(H, W, C)`, the image or a part of it.
            valid: `(H, W)`, the pixels that count.
            statistics: Of each band, where the file states them.

        Returns:
            `None` if bands are shown as they are.

        Raises:
            ValueError: If statistics are asked for and the file states none.
        """
        rule = self.stretch
        if sample.dtype == np.uint8 and not self.changes_8_bits:
            return None
        num_bands = sample.shape[-1]
        if rule.kind == "none" or (rule.kind == "auto" and sample.dtype == np.uint8 and not self.decibels):
            return Stretch.constant(0.0, 255.0, num_bands)
        if rule.kind == "limits":
            return Stretch.constant(rule.low, rule.high, num_bands)
        if rule.kind == "statistics":
            if statistics is None or None in statistics:
                raise ValueError("the file states no minimum and maximum of its bands: take another stretch")
            low, high = np.array([pair for pair in statistics if pair is not None], dtype=np.float64).T
            return Stretch(low, high)
        return Stretch.percentiles(self.values(sample), self.valid(sample, valid), (rule.low, rule.high))

    def apply(
        self,
        bands: NDArray[np.generic],
        valid: NDArray[np.bool_] | None,
        stretch: Stretch | None,
        *,
        white_is_zero: bool = False,
    ) -> NDArray[np.uint8]:
        """Return 8-bit RGB `(H, W, 3)`.

        Args:
            bands: `(H, W, 1 or 3)`.
            valid: `(H, W)`, as [`valid`] returns it.
            stretch: As [`fit`] returned it for the whole image.
            white_is_zero: Whether the lowest values are shown white.
        """
        if stretch is None:
            pixels = 255 - bands.astype(np.uint8) if white_is_zero else bands.astype(np.uint8, copy=True)
        else:
            shares = stretch.shares(self.values(bands))
            if white_is_zero:
                shares = 1.0 - shares
            if self.gamma != 1:
                shares **= 1.0 / self.gamma
            pixels = np.rint(shares * 255.0).astype(np.uint8)
        if valid is not None:
            pixels[~valid] = 0
        if pixels.shape[-1] == 1:
            pixels = np.repeat(pixels, 3, axis=-1)
        return np.ascontiguousarray(pixels)

    def doubts(self, sample: NDArray[np.generic], valid: NDArray[np.bool_] | None, names: list[str]) -> list[str]:
        """Say what of a raster will hardly be seen as its user means it.

        Args:
            sample: As for [`fit`].
            valid: Likewise.
            names: What each band is called.

        Returns:
            A sentence for each band without contrast, or of which most is one value.
        """
        counted = self.valid(sample, valid)
        told = []
        for name, band in zip(names, np.moveaxis(sample, -1, 0), strict=True):
            values = band[np.isfinite(band) if counted is None else np.isfinite(band) & counted]
            if not values.size:
                continue
            distinct, counts = np.unique(values, return_counts=True)
            share, value = counts.max() / values.size, distinct[counts.argmax()]
            if len(distinct) == 1:
                told.append(f"{name} is {value:g} everywhere")
            elif share > _MOSTLY_ONE_VALUE:
                told.append(f"{share:.0%} of {name} is {value:g}: if that means no data, give it as nodata")
        return told


@dataclass(frozen=True)
class Stretch:
    """The linear map of bands to 8 bits: `low` becomes 0 and `high` 255, what lies beyond is clipped.

    Args:
        low: `(C,)`, one value per band.
        high: `(C,)`.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def constant(cls, low: float, high: float, num_bands: int) -> Stretch:
        """Take the same limits for all bands."""
        return cls(np.full(num_bands, low, np.float64), np.full(num_bands, high, np.float64))

    @classmethod
    def percentiles(
        cls,
        values: NDArray[np.float64],
        valid: NDArray[np.bool_] | None,
        percentiles: tuple[float, float],
    ) -> Stretch:
        """Take two percentiles of each band as its limits.

        Args:
            values: `(H, W, C)`, the image or a sample of it.
            valid: `(H, W)`, the pixels that count. Values that are not finite never do.
            percentiles: From 0 to 100.
        """
        limits = []
        for band in np.moveaxis(values, -1, 0):
            counted = np.isfinite(band) if valid is None else np.isfinite(band) & valid
            numbers = band[counted]
            limits.append(np.percentile(numbers, percentiles) if numbers.size else np.zeros(2))
        low, high = np.array(limits, dtype=np.float64).T
        return cls(low, high)

    def shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of white `(H, W, C)`, 0 to 1. A band whose limits coincide is black."""
        span = self.high - self.low
        scale = np.divide(1.0, span, out=np.zeros_like(span), where=span > 0)
        known = np.where(np.isfinite(values), values, np.where(values > 0, self.high, self.low))
        shares: NDArray[np.float64] = (np.clip(known, self.low, self.high) - self.low) * scale
        return shares
