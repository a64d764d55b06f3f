# SPDX-License-Identifier: Apache-2.0
"""Reading PNG, JPEG and (Geo)TIFF files as 8-bit RGB.

* Bands of 16 bits or more, and floats, are stretched linearly, each from its 2nd to its 98th percentile, or as
  [`~geodit.pipelines.rendering.Rendering`] says.
* Of more than three bands those that the file calls red, green and blue are taken, else the first three, or the ones
  asked for; one band is shown as gray.
* Where alpha is zero the image has no data, which `GeoImage.valid` tells; such pixels are black.
* Palettes become colors; the EXIF orientation of photographs is applied.

TIFF is read by rasterio where it is installed (`pip install "geodit[geo]"`), with its georeference and by
windows. Without it, gray, palette and 8-bit RGB TIFF are read by Pillow, whole and without a georeference.

Of an image its file is read and nothing else: see [`geodit.pipelines.raster`] on the files that GDAL looks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from geodit.configuration.text_files import check_regular_file
from geodit.pipelines.image_source import (
    ArraySource,
    GeoImage,
    ImageSource,
    choose_bands,
)
from geodit.pipelines.rendering import Rendering
from geodit.processing.images_geodit import DAMAGE

ImageInput = str | PathLike[str] | Image.Image | NDArray[np.uint8] | GeoImage

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Classic TIFF and BigTIFF, each in both byte orders.
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_GEO_HINT = 'pip install "geodit[geo]"'


def read_image(
    path: str | PathLike[str],
    bands: Sequence[int] | None = None,
    rendering: Rendering | None = None,
    *,
    crs: str | None = None,
) -> GeoImage:
    """Read a whole image.

    Args:
        path: A PNG, JPEG or (Geo)TIFF file; what counts is its content, not its name.
        bands: The band to show as gray, or the three to show as red, green and blue, counted from 1.
        rendering: How they become 8-bit RGB.
        crs: The coordinate reference system of a raster that states its transform, but none. One that the file states
            itself comes first.

    Returns:
        The image, its size and, for a GeoTIFF read by rasterio, its georeference.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: If it is not such an image, is damaged, or lacks the bands asked for, or `crs` is none.
    """
    with open_image(path, bands, rendering, crs=crs) as source:
        return source.read()


def open_image(
    path: str | PathLike[str],
    bands: Sequence[int] | None = None,
    rendering: Rendering | None = None,
    *,
    crs: str | None = None,
) -> ImageSource:
    """Open an image to be read by windows; arguments and errors are those of [`read_image`].

    Only a TIFF that rasterio reads stays on disk. Any other image is decoded now and kept in memory.
    """
    path, rendering = Path(path), rendering or Rendering()
    try:
        check_regular_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no image {path}") from None
    except ValueError as error:
        raise ValueError(f"{str(error).partition(':')[0]}, not an image") from error
    with path.open("rb") as file:
        header = file.read(32)
    if not header:
        raise ValueError(f"{path} is empty")
    if header.startswith(_TIFF):
        return _open_tiff(path, bands, rendering, crs)
    if header.startswith(_PNG):
        if _is_deep_color_png(header):
            return _open_deep_png(path, bands, rendering)
        return _open_with_pillow(path, "PNG", bands, rendering)
    if header.startswith(_JPEG):
        return _open_with_pillow(path, "JPEG", bands, rendering)
    raise ValueError(f"{path} is not a PNG, JPEG or TIFF image")


def as_image_source(
    image: ImageInput,
    bands: Sequence[int] | None = None,
    rendering: Rendering | None = None,
    *,
    crs: str | None = None,
) -> ImageSource:
    """Open whatever stands for an image: a path, a PIL image, an array or a [`GeoImage`].

    Args:
        image: a path as for [`open_image`], a PIL image, uint8 pixels (H, W) or (H, W, C), or a GeoImage.
        bands: as for [`read_image`]. A GeoImage has its three bands already.
        rendering: likewise.
        crs: likewise, of a path.

    Raises:
        TypeError: if it is none of these.
        FileNotFoundError, ValueError: as [`open_image`] raises them.
    """
    if isinstance(image, str | PathLike):
        return open_image(image, bands, rendering, crs=crs)
    if isinstance(image, GeoImage):
        if bands is not None:
            raise ValueError("bands are chosen when an image is read; this GeoImage is RGB already")
        return ArraySource(image)
    if isinstance(image, Image.Image):
        return ArraySource(_from_pil(image, bands, rendering or Rendering()))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
            raise ValueError(
                f"an array must be uint8 of shape (H, W) or (H, W, C), not {image.dtype} of {image.shape}"
            )
        array = image if image.ndim == 3 else image[..., None]
        chosen = choose_bands(array.shape[-1], bands)
        return ArraySource(_render(array[..., [band - 1 for band in chosen]], None, rendering or Rendering()))
    raise TypeError(f"an image must be a path, a PIL image, a NumPy array or a GeoImage, not {type(image).__name__}")


def _open_tiff(path: Path, bands: Sequence[int] | None, rendering: Rendering, crs: str | None) -> ImageSource:
    try:
        from geodit.pipelines.raster import RasterSource
    except ImportError:
        try:
            return _open_with_pillow(path, "TIFF", bands, rendering)
        except ValueError as error:
            raise ValueError(f"{error}. Without rasterio only simple TIFF is read: {_GEO_HINT}") from error
    return RasterSource(path, "GTiff", bands, rendering, crs=crs)


def _is_deep_color_png(header: bytes) -> bool:
    """Return whether the PNG has 16-bit color, of which Pillow would only keep the high byte."""
    bit_depth, color_type = header[24:26] if len(header) >= 26 else (8, 0)
    return bit_depth == 16 and color_type in (2, 4, 6)


def _open_deep_png(path: Path, bands: Sequence[int] | None, rendering: Rendering) -> ImageSource:
    try:
        from geodit.pipelines.raster import RasterSource
    except ImportError:
        raise ValueError(f"{path} has 16-bit color, which needs rasterio: {_GEO_HINT}") from None
    return RasterSource(path, "PNG", bands, rendering)


def _open_with_pillow(path: Path, kind: str, bands: Sequence[int] | None, rendering: Rendering) -> ImageSource:
    try:
        # Only the one decoder that fits the content is let near the file.
        with Image.open(path, formats=(kind,)) as image:
            image.load()
            loaded = ImageOps.exif_transpose(image)
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged, or not a {kind} image that can be read: {error}") from error
    try:
        return ArraySource(_from_pil(loaded, bands, rendering))
    except ValueError as error:
        raise ValueError(f"{path} cannot be shown as RGB: {error}") from error


def _from_pil(image: Image.Image, bands: Sequence[int] | None, rendering: Rendering) -> GeoImage:
    if image.width < 1 or image.height < 1:
        raise ValueError(f"it has {image.width} x {image.height} pixels")
    valid: NDArray[np.bool_] | None = None
    transparent = image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info
    if transparent or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        alpha = np.asarray(rgba.getchannel("A"))
        valid = None if alpha.all() else alpha > 0
        image = rgba.convert("L" if image.mode in ("L", "LA", "La", "1") else "RGB")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        array = np.asarray(image)[..., None]
    else:
        array = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
        array = array if array.ndim == 3 else array[..., None]
    array = array[..., [band - 1 for band in choose_bands(array.shape[-1], bands)]]
    return _render(array, valid, rendering)


def _render(array: NDArray[np.generic], valid: NDArray[np.bool_] | None, rendering: Rendering) -> GeoImage:
    """Render a whole image (H, W, 1 or 3), which is its own sample."""
    stretch = rendering.fit(array, valid)
    valid = rendering.valid(array, valid)
    return GeoImage(rendering.apply(array, valid, stretch), None, valid)
