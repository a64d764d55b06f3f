# SPDX-License-Identifier: Apache-2.0
"""Images of any size, read by windows, and how other pixel types become 8-bit RGB."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geodit.data.windows import Window
from geodit.pipelines.georeference import GeoReference

# The limits that QGIS and others use to show such bands: a few very dark or bright pixels do not count.
STRETCH_PERCENTILES = (2.0, 98.0)
# As RGB in memory 1.6 GB. What a header says of the size of an image costs nothing to say.
MAX_WINDOW_PIXELS = 2**29


@dataclass(frozen=True)
class GeoImage:
    """An image in memory, or a part of one.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        georeference: where it is on Earth, if that is known.
        valid: (H, W) bool, false where the image has no data; None if it has data everywhere.
    """

    pixels: NDArray[np.uint8]
    georeference: GeoReference | None = None
    valid: NDArray[np.bool_] | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.pixels.shape[:2]
        return height, width

    @property
    def crs(self) -> str | None:
        """The coordinate reference system, if it is known."""
        return None if self.georeference is None else self.georeference.crs

    @property
    def transform(self) -> tuple[float, float, float, float, float, float] | None:
        """The map from pixels to `crs`, see [`GeoReference`]."""
        return None if self.georeference is None else self.georeference.transform

    def to_pil(self) -> Image.Image:
        """Return the pixels as a PIL image."""
        return Image.fromarray(self.pixels)


class ImageSource(ABC):
    """An image that is read by windows. It is a context manager: leaving it closes the file.

    Attributes:
        image_size: (height, width) in pixels.
        georeference: where it is on Earth, if that is known.
    """

    image_size: tuple[int, int]
    georeference: GeoReference | None

    def read(self, window: Window | None = None) -> GeoImage:
        """Read a window, or all of the image.

        Raises:
            ValueError: if the window leaves the image or is too large to be held, or the file is damaged there.
        """
        height, width = self.image_size
        if window is None:
            window = Window(0, 0, height, width)
        top, left, rows, columns = window
        if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
            raise ValueError(f"{window} leaves the image, which has {height} rows and {width} columns")
        if rows * columns > MAX_WINDOW_PIXELS:
            raise ValueError(
                f"{columns} x {rows} pixels are more than the {MAX_WINDOW_PIXELS:,} that are read at once: read the "
                "image in tiles"
            )
        pixels, valid = self._read(window)
        georeference = None if self.georeference is None else self.georeference.window(window)
        return GeoImage(pixels, georeference, valid)

    @abstractmethod
    def _read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Return the pixels (H, W, 3) of a window inside the image, and which of them are valid."""

    def close(self) -> None:
        """Close the file, if there is one."""
        return

    def __enter__(self) -> ImageSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ArraySource(ImageSource):
    """An image that is in memory already.

    Args:
        image: the image.
    """

    def __init__(self, image: GeoImage) -> None:
        self._image = image
        self.image_size = image.image_size
        self.georeference = image.georeference

    def _read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        part = np.s_[window.top : window.top + window.height, window.left : window.left + window.width]
        valid = self._image.valid
        return self._image.pixels[part], None if valid is None else valid[part]


@dataclass(frozen=True)
class Stretch:
    """The linear map of bands to 8 bits: `low` becomes 0 and `high` 255, what lies beyond is clipped.

    Args:
        low: (C,) one value a band.
        high: (C,).
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def fit(cls, bands: NDArray[np.generic], valid: NDArray[np.bool_] | None) -> Stretch:
        """Take each band's 2nd and 98th percentile as its limits.

        Args:
            bands: (H, W, C), the image or a sample of it.
            valid: (H, W), the pixels that count. Values that are not finite never do.
        """
        limits = []
        for band in np.moveaxis(bands, -1, 0):
            counted = np.isfinite(band) if valid is None else np.isfinite(band) & valid
            values = band[counted]
            limits.append(np.percentile(values, STRETCH_PERCENTILES) if values.size else np.zeros(2))
        low, high = np.array(limits, dtype=np.float64).T
        return cls(low, high)

    def apply(self, bands: NDArray[np.generic], valid: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
        """Map bands (H, W, C) to uint8. A band whose limits coincide, and pixels without data, become 0."""
        values = bands.astype(np.float64)
        values[~np.isfinite(values)] = -np.inf
        span = self.high - self.low
        scale = np.divide(255.0, span, out=np.zeros_like(span), where=span > 0)
        values = (np.clip(values, self.low, self.high) - self.low) * scale
        if valid is not None:
            values[~valid] = 0
        return np.rint(values).astype(np.uint8)


def choose_bands(num_bands: int, bands: Sequence[int] | None) -> tuple[int, ...]:
    """Return the bands that are shown as RGB.

    Args:
        num_bands: how many bands the image has, without alpha.
        bands: one band for a gray image, or three for red, green and blue, counted from 1 as GDAL does. By
            default the first three, or the only one.

    Returns:
        One or three numbers of bands.

    Raises:
        ValueError: if `bands` is not one or three of the image's bands, or is needed and not given.
    """
    if bands is None:
        if num_bands >= 3:
            return (1, 2, 3)
        if num_bands == 1:
            return (1,)
        raise ValueError(f"it has {num_bands} bands: choose one or three of them, for instance bands=(1,)")
    chosen = tuple(bands)
    whole = all(isinstance(band, int) and not isinstance(band, bool) for band in chosen)
    if len(chosen) not in (1, 3) or not whole or not all(1 <= band <= num_bands for band in chosen):
        raise ValueError(f"bands must be one or three numbers from 1 to {num_bands}, got {chosen}")
    return chosen


def to_rgb(bands: NDArray[np.generic], valid: NDArray[np.bool_] | None, stretch: Stretch | None) -> NDArray[np.uint8]:
    """Bands (H, W, 1 or 3) as 8-bit RGB (H, W, 3); `stretch` is for all types but uint8."""
    pixels = bands if stretch is None else stretch.apply(bands, valid)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    return np.ascontiguousarray(pixels, dtype=np.uint8)
