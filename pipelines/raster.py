# SPDX-License-Identifier: Apache-2.0
"""GeoTIFF and PNG that rasterio reads by windows. Needs the extra `geodit[geo]`.

GDAL can be made to open further files, and addresses on the network, by what it reads. Here it reads one file:

* The driver is GTiff or PNG: no other format is tried, such as VRT, which is a list of other files.
* The path is absolute, so that it is a path and none of the names that GDAL gives a meaning of its own.
* Files next to it are not looked for: no `.aux.xml`, `.ovr`, `.msk` or world file. A georeference, overviews and masks
  must be in the file itself.
* A file whose metadata name another file of overviews is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow
from transformers.utils import logging

from geodit.data.windows import Window
from geodit.pipelines.georeference import GeoReference
from geodit.pipelines.image_source import ImageSource, choose_bands
from geodit.pipelines.rendering import BandStatistics, Rendering

logger = logging.get_logger(__name__)

# Black and white are found in a sample of the raster with about as many pixels a side.
SAMPLE_SIDE = 1024
# A larger raster without overviews is sampled in so many windows a side, as a smaller copy would read all of it.
_SAMPLE_WINDOWS = 8
_WINDOW_SIDE = SAMPLE_SIDE // _SAMPLE_WINDOWS

# GDAL reads and holds whole strips or tiles, however small the window.
_MAX_BLOCK_BYTES = 2**30
_DRIVERS = ("GTiff", "PNG")
_OPTIONS = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}


class RasterSource(ImageSource):
    """A raster on disk, of which only the windows asked for are read.

    Bands that are not 8-bit are stretched, all windows alike. Pixels without data become black.

    Args:
        path: the file.
        driver: name of GDAL's driver, `"GTiff"` or `"PNG"`, so that no other format is tried.
        bands: see [`choose_bands`]. Alpha counts, and can be asked for: GDAL assumes it of a fourth band that the file
            says nothing about. By default those that the file calls red, green and blue.
        rendering: how they become 8-bit RGB.
        crs: The coordinate reference system of a raster that has a transform but states none.

    Raises:
        ValueError: if the file cannot be read as such a raster, or `bands` or `rendering` does not fit it.
    """

    def __init__(
        self,
        path: Path,
        driver: str = "GTiff",
        bands: Sequence[int] | None = None,
        rendering: Rendering | None = None,
        *,
        crs: str | None = None,
    ) -> None:
        self._crs = crs
        self._rendering = rendering or Rendering()
        if driver not in _DRIVERS:
            raise ValueError(f"driver must be one of {', '.join(_DRIVERS)}, got {driver!r}")
        self._path = path
        location = str(path.absolute())
        if location.startswith("/vsi"):
            raise ValueError(f"{path} is a name that GDAL does not take for a file: copy it to another directory")
        try:
            with rasterio.Env(**_OPTIONS), warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._dataset = rasterio.open(location, driver=driver)
        except (RasterioError, OSError) as error:
            raise ValueError(f"{path} cannot be read as an image: {error}") from error
        try:
            with rasterio.Env(**_OPTIONS):
                self._prepare(bands)
        except ValueError as error:
            self.close()
            raise ValueError(f"{path} cannot be shown as RGB: {error}") from error

    def _prepare(self, bands: Sequence[int] | None) -> None:
        dataset = self._dataset
        # Before anything is read, which is when GDAL looks for overviews.
        if others := dataset.tags(ns="OVERVIEWS"):
            raise ValueError(f"its overviews are said to be in another file, {next(iter(others.values()))!r:.200}")
        self.image_size = (dataset.height, dataset.width)
        self.georeference = None
        crs = dataset.crs
        if crs is None and self._crs is not None:
            crs = _parse_crs(self._crs)
        if crs is not None and not dataset.transform.is_identity:
            self.georeference = GeoReference(crs.to_string(), tuple(dataset.transform)[:6])

        interpretations = dataset.colorinterp
        if ColorInterp.cyan in interpretations:
            raise ValueError("its colors are CMYK: convert it to RGB first")
        self._bands = list(choose_bands(dataset.count, bands, _colored_bands(interpretations)))
        self._palette: NDArray[np.uint8] | None = None
        if len(self._bands) == 1 and interpretations[self._bands[0] - 1] == ColorInterp.palette:
            self._palette = _palette_array(dataset.colormap(self._bands[0]))
        self._white_is_zero = dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"

        flags = [dataset.mask_flag_enums[band - 1] for band in self._bands]
        shows_alpha = any(interpretations[band - 1] == ColorInterp.alpha for band in self._bands)
        self._masked = any(
            MaskFlags.all_valid not in flag and not (shows_alpha and MaskFlags.alpha in flag) for flag in flags
        )
        kind = np.dtype(dataset.dtypes[self._bands[0] - 1])
        if kind.kind not in "uif":
            raise ValueError(f"its values are of type {kind}, not integers or floats")
        rows, columns = dataset.block_shapes[self._bands[0] - 1]
        if rows * columns * kind.itemsize > _MAX_BLOCK_BYTES:
            raise ValueError(
                f"it is stored in blocks of {columns} x {rows} pixels, of which one takes more than "
                f"{_MAX_BLOCK_BYTES:,} bytes: store it in tiles"
            )
        self._stretch = None
        if self._palette is None:
            sample, valid = self._sample()
            self._stretch = self._rendering.fit(sample, valid, self._statistics())
            names = [f"band {band}" for band in self._bands]
            for doubt in self._rendering.doubts(sample, valid, names):
                logger.warning("%s: %s", self._path, doubt)

    def _sample(self) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Read pixels (H, W, C) from all over the raster, without reading all of it, and where they have data."""
        height, width = self.image_size
        whole = Window(0, 0, height, width)
        has_overviews = all(self._dataset.overviews(band) for band in self._bands)
        if has_overviews or height * width <= 4 * SAMPLE_SIDE**2:
            return self._read_bands(whole, (min(height, SAMPLE_SIDE), min(width, SAMPLE_SIDE)))
        rows, columns = min(height, _WINDOW_SIDE), min(width, _WINDOW_SIDE)
        parts = [
            self._read_bands(Window(int(top), int(left), rows, columns), (rows, columns))
            for top in np.linspace(0, height - rows, _SAMPLE_WINDOWS)
            for left in np.linspace(0, width - columns, _SAMPLE_WINDOWS)
        ]
        masks = [np.ones((rows, columns), bool) if valid is None else valid for _, valid in parts]
        return np.concatenate([part for part, _ in parts]), np.concatenate(masks)

    def _statistics(self) -> list[BandStatistics | None]:
        """Return the minimum and maximum that the file states of each band."""
        stated = [self._dataset.tags(band) for band in self._bands]
        return [
            (float(tags["STATISTICS_MINIMUM"]), float(tags["STATISTICS_MAXIMUM"]))
            if {"STATISTICS_MINIMUM", "STATISTICS_MAXIMUM"} <= tags.keys()
            else None
            for tags in stated
        ]

    def _read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        bands, valid = self._read_bands(window, (window.height, window.width))
        valid = self._rendering.valid(bands, valid)
        if self._palette is not None:
            # Indices beyond the palette have no color of their own.
            bands = self._palette[np.minimum(bands[..., 0], len(self._palette) - 1)]
        return self._rendering.apply(bands, valid, self._stretch), valid

    def _read_bands(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Bands (H, W, C) of a window, resampled to `shape`, and where any of them has data."""
        part = RasterWindow(window.left, window.top, window.width, window.height)
        out_shape = (len(self._bands), *shape)
        try:
            with rasterio.Env(**_OPTIONS):
                bands = self._dataset.read(self._bands, window=part, out_shape=out_shape)
                valid: NDArray[np.bool_] | None = None
                if self._masked:
                    masks = self._dataset.read_masks(self._bands, window=part, out_shape=out_shape)
                    valid = masks.any(axis=0)
        except (RasterioError, OSError) as error:
            raise ValueError(f"{self._path} is damaged: {error}") from error
        if self._white_is_zero and bands.dtype.kind == "u":
            bands = np.iinfo(bands.dtype).max - bands
        return np.moveaxis(bands, 0, -1), valid

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()


def _parse_crs(text: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise ValueError(f"{text!r} is no coordinate reference system: give one such as EPSG:32631") from error


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
