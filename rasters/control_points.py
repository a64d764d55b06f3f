# SPDX-License-Identifier: Apache-2.0
"""Images whose place is known by control points or by the model of a camera: boxes stay in pixels of the image.

Needs the extra `geodit[geo]`.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.errors import TransformWarning
from rasterio.rpc import RPC
from rasterio.transform import GCPTransformer, RPCTransformer

from geodit.data.windows import Window
from geodit.rasters.gdal_access import GDAL_ERRORS
from geodit.rasters.georeference import MapReference

__all__ = ["ControlPoint", "ControlPointReference", "RpcReference"]

ControlPoint = tuple[float, float, float, float]
"""Row and column in the image, x and y on the map."""


@dataclass(frozen=True)
class _TransformerReference(MapReference):
    """A map that one of GDAL's transformers computes, of an image or of a part of it.

    Args:
        origin: `(x, y)` of the upper left corner of the part, in pixels of the image that the transformer is for.
        pixel_size: `(width, height)` of a pixel of the part, in the same pixels.
    """

    origin: tuple[float, float] = field(default=(0.0, 0.0), kw_only=True)
    pixel_size: tuple[float, float] = field(default=(1.0, 1.0), kw_only=True)

    @abstractmethod
    def _transformer(self) -> GCPTransformer | RPCTransformer:
        """Make the transformer. It holds memory of GDAL, so it is made for each call and this object is pickled."""

    def to_map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (..., 2) of the image in map coordinates (..., 2); NaN where there are none."""
        columns, rows = np.moveaxis(np.asarray(points, np.float64) * self.pixel_size + self.origin, -1, 0)
        with _quietly(), self._transformer() as transformer:
            x, y = transformer.xy(rows.ravel(), columns.ravel(), offset="ul")
        return _points(x, y, rows.shape)

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (..., 2) of the map in pixels (..., 2); NaN where there are none."""
        x, y = np.moveaxis(np.asarray(points, np.float64), -1, 0)
        with _quietly(), self._transformer() as transformer:
            rows, columns = transformer.rowcol(x.ravel(), y.ravel(), op=float)
        pixels: NDArray[np.float64] = (_points(columns, rows, x.shape) - self.origin) / self.pixel_size
        return pixels

    def window(self, window: Window) -> Self:
        """Return the reference of a part of the image."""
        (x, y), (width, height) = self.origin, self.pixel_size
        return replace(self, origin=(x + window.left * width, y + window.top * height))

    def scaled(self, row_factor: float, column_factor: float) -> Self:
        """Return the reference of the image resampled, see [`MapReference.scaled`]."""
        width, height = self.pixel_size
        return replace(self, pixel_size=(width * column_factor, height * row_factor))


@dataclass(frozen=True)
class ControlPointReference(_TransformerReference):
    """The polynomial that fits ground control points best, in both directions.

    Args:
        points: At least three, not on one line. GDAL takes order 1 below six points, 2 below ten, 3 from ten on.

    Raises:
        ValueError: If no polynomial fits them.
    """

    points: tuple[ControlPoint, ...]

    def __post_init__(self) -> None:
        try:
            with _quietly(), self._transformer():
                pass
        except GDAL_ERRORS as error:
            raise ValueError(f"its {len(self.points)} control points give no place on the map: {error}") from error

    def _transformer(self) -> GCPTransformer:
        return GCPTransformer([GroundControlPoint(row, column, x, y) for row, column, x, y in self.points])


@dataclass(frozen=True)
class RpcReference(_TransformerReference):
    """The rational polynomials of a satellite's camera, at one height above the ellipsoid.

    Args:
        coefficients: As GDAL names them in the metadata domain `RPC`, for instance `LINE_OFF`.
        height: In meters. Terrain that is higher or lower is moved on the map.

    Raises:
        ValueError: If coefficients are missing.
    """

    coefficients: Mapping[str, str] = field(hash=False)
    height: float = 0.0

    def __post_init__(self) -> None:
        try:
            with _quietly(), self._transformer():
                pass
        except (*GDAL_ERRORS, KeyError, IndexError, ValueError) as error:
            raise ValueError(f"its rational polynomials give no place on the map: {error}") from error

    def _transformer(self) -> RPCTransformer:
        return RPCTransformer(RPC.from_gdal(dict(self.coefficients)), RPC_HEIGHT=self.height)


@contextmanager
def _quietly() -> Iterator[None]:
    """Leave out the warning of points without a place, which are NaN."""
    with rasterio.Env(), warnings.catch_warnings():
        warnings.simplefilter("ignore", TransformWarning)
        yield


def _points(x: NDArray[np.float64], y: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    points = np.stack([x, y], axis=-1, dtype=np.float64).reshape(*shape, 2)
    points[~np.isfinite(points).all(axis=-1)] = np.nan
    return points
