# SPDX-License-Identifier: Apache-2.0
"""Where the pixels of an image are on Earth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodit.data.windows import Window


@dataclass(frozen=True)
class GeoReference:
    """A coordinate reference system, and the affine map from pixels to it.

    Args:
        crs: the coordinate reference system, as `"EPSG:32617"` where it has such a code, else as WKT.
        transform: six coefficients (a, b, c, d, e, f) in the order of `affine.Affine`: the point `column x,
            row y`, counted from the upper left corner of the image, lies at `(a x + b y + c, d x + e y + f)`.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]

    def to_map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (..., 2) `[x, y]` in pixels, in map coordinates (..., 2)."""
        a, b, c, d, e, f = self.transform
        mapped: NDArray[np.float64] = points @ np.array([[a, d], [b, e]]) + np.array([c, f])
        return mapped

    def corners(self, box: tuple[float, float, float, float]) -> NDArray[np.float64]:
        """Return the corners (4, 2) of a pixel box on the map: upper left, lower left, lower right, upper right."""
        x1, y1, x2, y2 = box
        return self.to_map(np.array([[x1, y1], [x1, y2], [x2, y2], [x2, y1]], dtype=np.float64))

    def bounds(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Return the least box `(left, bottom, right, top)` on the map that holds a pixel box."""
        corners = self.corners(box)
        (left, bottom), (right, top) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        return left, bottom, right, top

    def window(self, window: Window) -> GeoReference:
        """Return the reference of a part of the image."""
        a, b, _, d, e, _ = self.transform
        c, f = self.to_map(np.array([window.left, window.top], dtype=np.float64)).tolist()
        return GeoReference(self.crs, (a, b, c, d, e, f))
