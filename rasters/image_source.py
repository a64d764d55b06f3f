# SPDX-License-Identifier: Apache-2.0
"""Images of any size, read by windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geodit.data.windows import Window
from geodit.rasters.georeference import GeoReference, MapReference

__all__ = ["MAX_WINDOW_PIXELS", "ArraySource", "GeoImage", "ImageSource", "choose_bands", "fit_within"]

MAX_WINDOW_PIXELS = 2**29
"""Pixels that are read at once at most, as RGB in memory 1.6 GB: any header can state any size."""


@dataclass(frozen=True)
class GeoImage:
    """An image in memory, or a part of one.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        georeference: where it is on Earth, if that is known.
        valid: (H, W) bool, false where the image has no data; None if it has data everywhere.
    """

    pixels: NDArray[np.uint8]
    georeference: MapReference | None = None
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
        """The affine map from pixels to `crs`, see [`GeoReference`]; None if there is none or it is not affine."""
        return self.georeference.transform if isinstance(self.georeference, GeoReference) else None

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
    georeference: MapReference | None

    def read(self, window: Window | None = None, shape: tuple[int, int] | None = None) -> GeoImage:
        """Read a window, or all of the image.

        Args:
            window: A part of the image; by default all of it.
            shape: (height, width) that the window is resampled to while it is read, so that a large image is never
                in memory at full size; by default the window's own. See [`fit_within`].

        Returns:
            The pixels, with the georeference of the window at that size.

        Raises:
            ValueError: If the window leaves the image, what is asked for is too large to be held, or the file is
                damaged there.
        """
        height, width = self.image_size
        if window is None:
            window = Window(0, 0, height, width)
        top, left, rows, columns = window
        if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
            raise ValueError(f"{window} leaves the image, which has {height} rows and {width} columns")
        out_rows, out_columns = (rows, columns) if shape is None else shape
        if min(out_rows, out_columns) < 1:
            raise ValueError(f"shape must be (height, width) of at least one pixel, got {shape}")
        if out_rows * out_columns > MAX_WINDOW_PIXELS:
            raise ValueError(
                f"{out_columns} x {out_rows} pixels are more than the {MAX_WINDOW_PIXELS:,} (MAX_WINDOW_PIXELS) that "
                "are read at once: read the image in tiles, or a smaller copy of it"
            )
        georeference = None if self.georeference is None else self.georeference.window(window)
        if (out_rows, out_columns) == (rows, columns):
            pixels, valid = self._read(window)
        else:
            pixels, valid = self._read_resampled(window, (out_rows, out_columns))
            if georeference is not None:
                georeference = georeference.scaled(rows / out_rows, columns / out_columns)
        return GeoImage(pixels, georeference, valid)

    def fit_within(self, max_side: int) -> tuple[int, int]:
        """Return the shape of the image with at most `max_side` pixels a side, see [`fit_within`]."""
        return fit_within(self.image_size, max_side)

    @abstractmethod
    def _read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Return the pixels (H, W, 3) of a window inside the image, and which of them are valid."""

    def _read_resampled(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Return the same at another size. Here the whole window is read first; a file can do better."""
        if window.height * window.width > MAX_WINDOW_PIXELS:
            raise ValueError(
                f"{window.width} x {window.height} pixels are more than the {MAX_WINDOW_PIXELS:,} (MAX_WINDOW_PIXELS) "
                "that are read at once: choose a smaller window"
            )
        pixels, valid = self._read(window)
        height, width = shape
        resized = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
        if valid is None:
            return resized, None
        nearest = Image.fromarray(valid).resize((width, height), Image.Resampling.NEAREST)
        known = np.asarray(nearest, dtype=bool)
        # A mean over pixels of which some are black for want of data would be darker than what is seen there.
        weight = Image.fromarray(valid.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
        share = np.asarray(weight, dtype=np.float32)[..., None] / 255
        lit = np.divide(resized, share, out=np.zeros(resized.shape, np.float32), where=known[..., None] & (share > 0))
        return np.rint(np.clip(lit, 0, 255)).astype(np.uint8), known

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


def fit_within(image_size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Return the shape of a smaller copy of an image, for [`ImageSource.read`].

    Args:
        image_size: (height, width) in pixels.
        max_side: Pixels of its longer side at most.

    Returns:
        (height, width) in the same proportion; `image_size` itself if it is no larger.

    Raises:
        ValueError: If `max_side` is below 1.
    """
    if max_side < 1:
        raise ValueError(f"max_side must be at least 1 pixel, got {max_side}")
    height, width = image_size
    scale = min(1.0, max_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def choose_bands(num_bands: int, bands: Sequence[int] | None, default: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return the bands that are shown as RGB.

    Args:
        num_bands: how many bands the image has.
        bands: one band for a gray image, or three for red, green and blue, counted from 1 as GDAL does.
        default: the bands to choose from if none are given, of which the first three or the only one are taken; by
            default all.

    Returns:
        One or three numbers of bands.

    Raises:
        ValueError: if `bands` is not one or three of the image's bands, or is needed and not given.
    """
    if bands is None:
        colored = tuple(range(1, num_bands + 1) if default is None else default)
        if len(colored) >= 3:
            return colored[:3]
        if len(colored) == 1:
            return colored
        raise ValueError(f"it has {len(colored)} bands: choose one or three of them, for instance bands=(1,)")
    chosen = tuple(bands)
    whole = all(isinstance(band, int) and not isinstance(band, bool) for band in chosen)
    if len(chosen) not in (1, 3) or not whole or not all(1 <= band <= num_bands for band in chosen):
        raise ValueError(f"bands must be one or three numbers from 1 to {num_bands}, got {chosen}")
    return chosen
