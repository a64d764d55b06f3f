# SPDX-License-Identifier: Apache-2.0
"""Where the pixels of an image are on Earth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodit.data.windows import Window

__all__ = ["GeoReference", "MapReference"]


@dataclass(frozen=True)
class MapReference(ABC):
    """The map from pixels to a coordinate reference system.

    Points of the image are `[x, y]` in pixels, counted from its upper left corner; points on the map are `[x, y]`, or
    `[longitude, latitude]`.

    Args:
        crs: The coordinate reference system, as `"EPSG:32617"` where it has such a code, else as WKT.
    """

    crs: str

    @abstractmethod
    def to_map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (..., 2) of the image in map coordinates (..., 2); NaN where there are none."""

    @abstractmethod
    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (..., 2) of the map in pixels (..., 2); NaN where there are none."""

    @abstractmethod
    def window(self, window: Window) -> MapReference:
        """Return the reference of a part of the image."""

    @abstractmethod
    def scaled(self, row_factor: float, column_factor: float) -> MapReference:
        """Return the reference of the image resampled to other pixels.

        Args:
            row_factor: Rows of this image for one row of the other: 2 for an image of half the height.
            column_factor: Columns likewise.
        """

    def corners(self, box: tuple[float, float, float, float]) -> NDArray[np.float64]:
        """Return the corners (4, 2) of a pixel box on the map: upper left, lower left, lower right, upper right."""
        x1, y1, x2, y2 = box
        return self.to_map(np.array([[x1, y1], [x1, y2], [x2, y2], [x2, y1]], dtype=np.float64))

    def bounds(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Return the least box `(left, bottom, right, top)` on the map that holds the corners of a pixel box."""
        corners = self.corners(box)
        (left, bottom), (right, top) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        return left, bottom, right, top


@dataclass(frozen=True)
class GeoReference(MapReference):
    """A coordinate reference system, and the affine map from pixels to it.

    Args:
        crs: The coordinate reference system, as `"EPSG:32617"` where it has such a code, else as WKT.
        transform: Six coefficients (a, b, c, d, e, f) in the order of `affine.Affine`: the point `column x,
            row y`, counted from the upper left corner of the image, lies at `(a x + b y + c, d x + e y + f)`.
    """

    transform: tuple[float, float, float, float, float, float]

    def to_map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (..., 2) `[x, y]` in pixels, in map coordinates (..., 2)."""
        a, b, c, d, e, f = self.transform
        mapped: NDArray[np.float64] = points @ np.array([[a, d], [b, e]]) + np.array([c, f])
        return mapped

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (..., 2) of the map in pixels (..., 2); NaN if the transform has no inverse."""
        a, b, c, d, e, f = self.transform
        determinant = a * e - b * d
        if determinant == 0:
            return np.full_like(points, np.nan, dtype=np.float64)
        inverse = np.array([[e, -d], [-b, a]]) / determinant
        pixels: NDArray[np.float64] = (points - np.array([c, f])) @ inverse
        return pixels

    def window(self, window: Window) -> GeoReference:
        """Return the reference of a part of the image."""
        a, b, _, d, e, _ = self.transform
        c, f = self.to_map(np.array([window.left, window.top], dtype=np.float64)).tolist()
        return GeoReference(self.crs, (a, b, c, d, e, f))

    def scaled(self, row_factor: float, column_factor: float) -> GeoReference:
        """Return the reference of the image resampled, see [`MapReference.scaled`]."""
        a, b, c, d, e, f = self.transform
        return GeoReference(self.crs, (a * column_factor, b * row_factor, c, d * column_factor, e * row_factor, f))
