# SPDX-License-Identifier: Apache-2.0
"""Rasters that GDAL reads by windows. Needs the extra `geodit[geo]`.

What GDAL may open is up to [`geodit.rasters.gdal_access`]. Errors carry its own reason, with band and block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow
from transformers.utils import logging

from geodit.data.windows import Window
from geodit.rasters.block_checksums import BlockChecksums
from geodit.rasters.gdal_access import GDAL_ERRORS, GdalAccess
from geodit.rasters.image_source import MAX_WINDOW_PIXELS, ImageSource, choose_bands
from geodit.rasters.local_rasters import local_access
from geodit.rasters.place import find_place
from geodit.rasters.rendering import BandStatistics, Rendering
from geodit.rasters.sampling import SAMPLE_SIDE, blocks_of, overview_factor, sample_windows, strips

__all__ = ["RasterSource"]

logger = logging.get_logger(__name__)

_Values = NDArray[np.generic]
_Mask = NDArray[np.bool_]

# GDAL reads and holds whole strips or tiles, however small the window.
_MAX_BLOCK_BYTES = 2**30
# Formats without blocks: a window is decoded with all that comes before it.
_WITHOUT_BLOCKS = ("PNG", "JPEG", "JPEGXL", "WEBP", "GIF", "BIGGIF")
# GDAL keeps all blocks it has read, up to 5% of the machine's memory. The file is opened again after so many bytes.
_MAX_KEPT_BYTES = 2**28
_MOST_NAMES = 20


class RasterSource(ImageSource):
    """A raster of which only the windows asked for are read.

    Bands that are not 8-bit are stretched, all windows alike. Pixels without data become black.

    Args:
        source: A local file, which is checked first, or what GDAL is given.
        bands: See [`choose_bands`]. Alpha counts, and can be asked for: GDAL assumes it of a fourth band that the file
            says nothing about. By default those that the file calls red, green and blue.
        rendering: How they become 8-bit RGB.
        crs: The coordinate reference system of a raster that has a transform but states none.

    Raises:
        ValueError: If the file cannot be read as a raster, or `bands`, `rendering` or `crs` does not fit it.
    """

    def __init__(
        self,
        source: Path | GdalAccess,
        bands: Sequence[int] | None = None,
        rendering: Rendering | None = None,
        *,
        crs: str | None = None,
    ) -> None:
        self._rendering = rendering or Rendering()
        self._access = local_access(source) if isinstance(source, Path) else source
        self._dataset = self._access.open()
        try:
            with self._access.environment():
                self._prepare(bands, crs, source if isinstance(source, Path) else None)
        except GDAL_ERRORS as error:
            self.close()
            raise ValueError(
                f"{self._access.name} cannot be read as an image: {self._access.reason(error)}"
            ) from error
        except ValueError as error:
            self.close()
            raise ValueError(f"{self._access.name} cannot be shown as RGB: {error}") from error

    def _prepare(self, bands: Sequence[int] | None, crs: str | None, path: Path | None) -> None:
        dataset = self._dataset
        # Before anything is read, which is when GDAL looks for overviews.
        if others := dataset.tags(ns="OVERVIEWS"):
            raise ValueError(f"its overviews are said to be in another file, {next(iter(others.values()))!r:.200}")
        self._tell_of_parts()
        self.image_size = (dataset.height, dataset.width)
        if dataset.driver in _WITHOUT_BLOCKS and dataset.height * dataset.width > MAX_WINDOW_PIXELS:
            raise ValueError(
                f"it has {dataset.width} x {dataset.height} pixels, more than the {MAX_WINDOW_PIXELS:,} "
                f"(MAX_WINDOW_PIXELS) that are read of {dataset.driver}: make a GeoTIFF of it"
            )
        self.georeference = find_place(dataset, path, crs)
        self._choose_bands(bands)
        self._check_blocks()
        self._checksums = (
            BlockChecksums(dataset, path) if path is not None and BlockChecksums.are_in(dataset) else None
        )
        self._stretch = None
        shown_as_it_is = self._kind == np.uint8 and not self._rendering.changes_8_bits
        if self._palette is None and not (shown_as_it_is and dataset.driver in _WITHOUT_BLOCKS):
            sample, valid = self._sample()
            self._stretch = self._rendering.fit(sample, valid, self._statistics())
            names = [f"band {band}" for band in self._bands]
            for doubt in self._rendering.doubts(sample, valid, names):
                logger.warning_once(f"{self._access.name}: {doubt}")  # an image is opened several times

    def _tell_of_parts(self) -> None:
        parts = self._dataset.subdatasets
        if not self._dataset.count:
            shown = ", ".join(parts[:_MOST_NAMES]) + (", ..." if len(parts) > _MOST_NAMES else "")
            raise ValueError(f"it holds several rasters: name one of {shown}" if parts else "it has no bands")
        if len(parts) > 1:
            logger.warning_once(
                f"{self._access.name} has {len(parts)} pages, of which the first is shown: to see the second, name it "
                f"{parts[1]}"
            )

    def _choose_bands(self, bands: Sequence[int] | None) -> None:
        dataset = self._dataset
        interpretations = dataset.colorinterp
        if ColorInterp.cyan in interpretations:
            raise ValueError("its colors are CMYK: convert it to RGB first")
        self._bands = list(choose_bands(dataset.count, bands, _colored_bands(interpretations)))
        self._palette: NDArray[np.uint8] | None = None
        if len(self._bands) == 1 and interpretations[self._bands[0] - 1] == ColorInterp.palette:
            self._palette = _palette_array(dataset.colormap(self._bands[0]))
        self._white_is_zero = self._structure("MINISWHITE") == "YES"
        flags_of_bands = dataset.mask_flag_enums
        flags = [flags_of_bands[band - 1] for band in self._bands]
        shows_alpha = any(interpretations[band - 1] == ColorInterp.alpha for band in self._bands)
        self._masked = any(
            MaskFlags.all_valid not in flag and not (shows_alpha and MaskFlags.alpha in flag) for flag in flags
        )
        self._kind = np.dtype(dataset.dtypes[self._bands[0] - 1])
        if self._kind.kind not in "uif":
            raise ValueError(f"its values are of type {self._kind}, not integers or floats")

    def _check_blocks(self) -> None:
        rows, columns = self._dataset.block_shapes[self._bands[0] - 1]
        read_together = self._dataset.count if self._structure("INTERLEAVE") == "PIXEL" else len(self._bands)
        self._block_size = (rows, columns)
        self._pixel_bytes = self._kind.itemsize * read_together
        self._kept: set[tuple[int, int]] = set()
        if rows * columns * self._kind.itemsize > _MAX_BLOCK_BYTES:
            raise ValueError(
                f"it is stored in blocks of {columns} x {rows} pixels, of which one takes more than "
                f"{_MAX_BLOCK_BYTES:,} bytes: store it in tiles"
            )

    def _structure(self, name: str) -> str | None:
        """Return one item of how the file is stored.

        For all of them GDAL walks through a JPEG 2000 file, which may never end if that is damaged.
        """
        value: str | None = self._dataset.get_tag_item(name, "IMAGE_STRUCTURE")
        return value

    def _sample(self) -> tuple[_Values, _Mask | None]:
        """Read pixels (H, W, C) from all over the raster, without reading all of it, and where they have data."""
        height, width = self.image_size
        whole = Window(0, 0, height, width)
        factor = overview_factor(self._overviews(), max(height, width))
        if height * width <= 4 * SAMPLE_SIDE**2 * factor**2:
            return self._read_values(self._dataset, whole, (min(height, SAMPLE_SIDE), min(width, SAMPLE_SIDE)))
        rows, columns = self._block_size
        parts = [
            self._read_values(self._dataset, window, (window.height, min(window.width, SAMPLE_SIDE)))
            for window in sample_windows(self.image_size, self._block_size, rows * columns * self._pixel_bytes)
        ]
        flat = np.concatenate([values.reshape(1, -1, values.shape[-1]) for values, _ in parts], axis=1)
        masks = [np.ones(values.shape[:2], bool) if valid is None else valid for values, valid in parts]
        return flat, np.concatenate([mask.reshape(1, -1) for mask in masks], axis=1)

    def _overviews(self) -> list[int]:
        """Return the factors of overviews that all bands have."""
        return sorted(set.intersection(*(set(self._dataset.overviews(band)) for band in self._bands)))

    def _statistics(self) -> list[BandStatistics | None]:
        """Return the minimum and maximum that the file states of each band."""
        stated = [self._dataset.tags(band) for band in self._bands]
        return [
            (float(tags["STATISTICS_MINIMUM"]), float(tags["STATISTICS_MAXIMUM"]))
            if {"STATISTICS_MINIMUM", "STATISTICS_MAXIMUM"} <= tags.keys()
            else None
            for tags in stated
        ]

    def _read(self, window: Window) -> tuple[NDArray[np.uint8], _Mask | None]:
        with self._access.environment():
            self._drop_blocks()
            self._kept.update(blocks_of(window, self._block_size))
            values, valid = self._read_values(self._dataset, window, (window.height, window.width))
            if self._checksums is not None:
                try:
                    self._checksums.check(window, self._bands)
                except ValueError as error:
                    raise ValueError(f"{self._access.name} is damaged: {error}") from error
            return self._render(values, valid)

    def _drop_blocks(self) -> None:
        """Open the file again if GDAL keeps too many blocks of it."""
        rows, columns = self._block_size
        if len(self._kept) * rows * columns * self._pixel_bytes <= _MAX_KEPT_BYTES:
            return
        self._dataset.close()
        self._dataset = self._access.open()
        self._kept.clear()
        if self._checksums is not None:
            self._checksums.dataset = self._dataset

    def _read_resampled(self, window: Window, shape: tuple[int, int]) -> tuple[NDArray[np.uint8], _Mask | None]:
        """Read strip by strip. GDAL keeps the blocks of a file until it is closed, so each strip opens it again."""
        with self._access.environment():
            decimation = max(1.0, min(window.height / shape[0], window.width / shape[1]))
            factor = overview_factor(self._overviews(), decimation)
            resampling = self._resampling(window, factor)
            row_bytes = self.image_size[1] * self._pixel_bytes / factor**2
            planned = list(strips(window, shape[0], row_bytes, self._block_size[0]))
            parts = []
            for (top, height), rows in planned:
                part = RasterWindow(window.left, top, window.width, height)
                with self._strip_dataset(len(planned)) as dataset:
                    parts.append(self._render(*self._read_values(dataset, part, (rows, shape[1]), resampling)))
        pixels = np.concatenate([pixels for pixels, _ in parts])
        if all(valid is None for _, valid in parts):
            return pixels, None
        known = [np.ones(part.shape[:2], bool) if valid is None else valid for part, valid in parts]
        return pixels, np.concatenate(known)

    @contextmanager
    def _strip_dataset(self, num_strips: int) -> Iterator[DatasetReader]:
        if num_strips == 1:
            yield self._dataset
            return
        with self._access.open() as dataset:
            yield dataset

    def _resampling(self, window: Window, factor: int) -> Resampling:
        """Choose averages where they mean something and all that they are of can be read in reasonable time."""
        if self._palette is not None or self._rendering.nodata is not None:
            return Resampling.nearest
        too_many = window.height * window.width / factor**2 > MAX_WINDOW_PIXELS
        return Resampling.nearest if too_many else Resampling.average

    def _render(self, values: _Values, valid: _Mask | None) -> tuple[NDArray[np.uint8], _Mask | None]:
        valid = self._rendering.valid(values, valid)
        if self._palette is not None:
            # Indices beyond the palette have no color of their own.
            values = self._palette[np.minimum(values[..., 0], len(self._palette) - 1)]
        white_is_zero = self._white_is_zero and self._palette is None
        return self._rendering.apply(values, valid, self._stretch, white_is_zero=white_is_zero), valid

    def _read_values(
        self,
        dataset: DatasetReader,
        window: Window | RasterWindow,
        shape: tuple[int, int],
        resampling: Resampling = Resampling.nearest,
    ) -> tuple[_Values, _Mask | None]:
        """Values (H, W, C) of a window as they are stored, resampled to `shape`, and where any of them has data."""
        part = (
            RasterWindow(window.left, window.top, window.width, window.height)
            if isinstance(window, Window)
            else window
        )
        out_shape = (len(self._bands), *shape)
        try:
            values = dataset.read(self._bands, window=part, out_shape=out_shape, resampling=resampling)
            if resampling != Resampling.nearest and values.dtype.kind == "f" and not np.isfinite(values).all():
                # One value that is none makes none of an average.
                nearest = dataset.read(self._bands, window=part, out_shape=out_shape)
                values = np.where(np.isfinite(values), values, nearest)
            valid: _Mask | None = None
            if self._masked:
                valid = dataset.read_masks(self._bands, window=part, out_shape=out_shape).any(axis=0)
        except GDAL_ERRORS as error:
            raise ValueError(f"{self._access.name} is damaged: {self._access.reason(error)}") from error
        return np.moveaxis(values, 0, -1), valid

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()


def _colored_bands(interpretations: Sequence[ColorInterp]) -> list[int]:
    """Return the bands, counted from 1, that show the image: red, green and blue if the file has them, else all."""
    colors = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(interpretations.count(color) == 1 for color in colors):
        return [interpretations.index(color) + 1 for color in colors]
    return [index for index, use in enumerate(interpretations, 1) if use != ColorInterp.alpha]


def _palette_array(colormap: dict[int, tuple[int, int, int, int]]) -> NDArray[np.uint8]:
    palette = np.zeros((max(colormap) + 1, 3), dtype=np.uint8)
    for index, color in colormap.items():
        palette[index] = color[:3]
    return palette
