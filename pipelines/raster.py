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
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from geodit.data.windows import Window
from geodit.pipelines.georeference import GeoReference
from geodit.pipelines.image_source import ImageSource, Stretch, choose_bands, to_rgb

# Percentiles are taken from a sample of the raster with at most this many pixels a side.
SAMPLE_SIDE = 1024

# GDAL reads and holds whole strips or tiles, however small the window.
_MAX_BLOCK_BYTES = 2**30
_DRIVERS = ("GTiff", "PNG")
_OPTIONS = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}


class RasterSource(ImageSource):
    """A raster on disk, of which only the windows asked for are read.

    Bands that are not 8-bit are stretched between their percentiles over the whole raster, so that its
    windows look alike. Pixels without data become black when stretched, and stay as they are in 8-bit.

    Args:
        path: the file.
        driver: name of GDAL's driver, `"GTiff"` or `"PNG"`, so that no other format is tried.
        bands: see [`choose_bands`].

    Raises:
        ValueError: if the file cannot be read as such a raster, or `bands` does not fit it.
    """

    def __init__(self, path: Path, driver: str = "GTiff", bands: Sequence[int] | None = None) -> None:
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
        if dataset.crs is not None and not dataset.transform.is_identity:
            self.georeference = GeoReference(dataset.crs.to_string(), tuple(dataset.transform)[:6])

        interpretations = dataset.colorinterp
        if ColorInterp.cyan in interpretations:
            raise ValueError("its colors are CMYK: convert it to RGB first")
        colored = [index for index, use in enumerate(interpretations, 1) if use != ColorInterp.alpha]
        self._palette: NDArray[np.uint8] | None = None
        if len(colored) == 1 and interpretations[colored[0] - 1] == ColorInterp.palette:
            self._palette = _palette_array(dataset.colormap(colored[0]))
        self._bands = [colored[band - 1] for band in choose_bands(len(colored), bands)]

        flags = [dataset.mask_flag_enums[band - 1] for band in self._bands]
        self._masked = any(MaskFlags.all_valid not in flag for flag in flags)
        kind = np.dtype(dataset.dtypes[self._bands[0] - 1])
        if kind.kind not in "uif":
            raise ValueError(f"its values are of type {kind}, not integers or floats")
        rows, columns = dataset.block_shapes[self._bands[0] - 1]
        if rows * columns * kind.itemsize > _MAX_BLOCK_BYTES:
            raise ValueError(
                f"it is stored in blocks of {columns} x {rows} pixels, of which one takes more than "
                f"{_MAX_BLOCK_BYTES:,} bytes: store it in tiles"
            )
        self._stretch: Stretch | None = None
        if kind != np.uint8 and self._palette is None:
            height, width = self.image_size
            shape = (min(height, SAMPLE_SIDE), min(width, SAMPLE_SIDE))
            self._stretch = Stretch.fit(*self._read_bands(Window(0, 0, height, width), shape))

    def _read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        bands, valid = self._read_bands(window, (window.height, window.width))
        if self._palette is not None:
            # Indices beyond the palette have no color of their own.
            bands = self._palette[np.minimum(bands[..., 0], len(self._palette) - 1)]
        return to_rgb(bands, valid, self._stretch), valid

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
        if bands.dtype.kind == "f":
            finite = np.isfinite(bands).any(axis=0)
            valid = finite if valid is None else finite & valid
        return np.moveaxis(bands, 0, -1), valid

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()


def _palette_array(colormap: dict[int, tuple[int, int, int, int]]) -> NDArray[np.uint8]:
    palette = np.zeros((max(colormap) + 1, 3), dtype=np.uint8)
    for index, color in colormap.items():
        palette[index] = color[:3]
    return palette
