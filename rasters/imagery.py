# SPDX-License-Identifier: Apache-2.0
"""Read images and rasters as 8-bit RGB.

* Bands of 16 bits or more, and floats, are stretched linearly, each from its 2nd to its 98th percentile, or as
  [`~geodit.rasters.rendering.Rendering`] says.
* Of more than three bands those that the file calls red, green and blue are taken, else the first three, or the ones
  asked for; one band is shown as gray.
* Where alpha is zero the image has no data, which `GeoImage.valid` tells; such pixels are black.
* Palettes become colors; the EXIF orientation of photographs is applied.

Where rasterio is installed (`pip install "geodit[geo]"`), GDAL reads by windows, and with the georeference: GeoTIFF,
JPEG 2000, VRT, Erdas Imagine, ENVI, NITF, GeoPackage and more, and PNG, JPEG and WebP that have a world file or are
large. Other PNG, JPEG, WebP, BMP and GIF files are read by Pillow, whole. Without rasterio Pillow also reads gray,
palette and 8-bit RGB TIFF, without a georeference.

Of an image its file is read, with the files next to it that hold its georeference, statistics, overviews and mask,
and nothing else: see [`geodit.rasters.local_rasters`]. Addresses and archives are opened if the user names them.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from geodit.configuration.text_files import check_regular_file
from geodit.processing.images_geodit import DAMAGE
from geodit.rasters.image_source import ArraySource, GeoImage, ImageSource, choose_bands
from geodit.rasters.rendering import Rendering
from geodit.rasters.stac_items import find_asset, names_stac_item
from geodit.rasters.world_files import has_world_file

__all__ = ["ImageInput", "as_image_source", "open_image", "read_image"]

ImageInput = str | PathLike[str] | Image.Image | NDArray[np.uint8] | GeoImage

# What Pillow is asked to read, by how the file begins. Only the one decoder that fits is let near a file.
_PILLOW_FORMATS = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM....\0\0\0\0", re.DOTALL),
}
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_ZIP = b"PK\x03\x04"
# netCDF, and HDF5, which a netCDF file may be as well.
_CONTAINERS = re.compile(rb"CDF[\x01\x02\x05]|\x89HDF\r\n\x1a\n")
_GEO_HINT = 'pip install "geodit[geo]"'
# Larger images are read by windows where GDAL can.
_MAX_PILLOW_PIXELS = 2**24
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = 1


def read_image(
    path: str | PathLike[str],
    bands: Sequence[int] | None = None,
    rendering: Rendering | None = None,
    *,
    crs: str | None = None,
) -> GeoImage:
    """Read a whole image.

    Args:
        path: An image or raster of any kind that is named above; what counts is its content, not its name. Also an
            address, a member of an archive or a part of a file, as [`~geodit.rasters.image_names.find_raster`]
            names them, or a STAC item, see [`~geodit.rasters.stac_items.find_asset`].
        bands: The band to show as gray, or the three to show as red, green and blue, counted from 1.
        rendering: How they become 8-bit RGB.
        crs: The coordinate reference system of a raster that states its transform, but none. One that the file states
            itself comes first.

    Returns:
        The image, its size and, where rasterio reads it, its georeference.

    Raises:
        FileNotFoundError: if there is no such file.
        ModuleNotFoundError: If the name needs a library that is not installed.
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

    What Pillow reads is decoded now and kept in memory. All else stays on disk.
    """
    name, rendering = os.fspath(path), rendering or Rendering()
    if not os.path.lexists(name):
        return _open_named(name, bands, rendering, crs)
    return _open_file(Path(name), bands, rendering, crs)


def _open_named(name: str, bands: Sequence[int] | None, rendering: Rendering, crs: str | None) -> ImageSource:
    """Open what is no file of that name: an address, a member of an archive, an asset of a STAC item."""
    if names_stac_item(name):
        return _open_asset(name, bands, rendering, crs)
    try:
        from geodit.rasters.image_names import find_raster
        from geodit.rasters.raster import RasterSource
    except ImportError:
        if "://" in name or name.startswith("/vsi"):
            raise ValueError(f"{name.partition('?')[0]} is no path; other names need rasterio: {_GEO_HINT}") from None
        raise FileNotFoundError(f"there is no image {name}") from None
    access = find_raster(name)
    if access is None:
        raise FileNotFoundError(f"there is no image {name}")
    return RasterSource(access, bands, rendering, crs=crs)


def _open_asset(name: str, bands: Sequence[int] | None, rendering: Rendering, crs: str | None) -> ImageSource:
    location = find_asset(name)
    if names_stac_item(location):
        raise ValueError(f"{name} names another STAC item, {location}, which is not followed")
    return open_image(location, bands, rendering, crs=crs)


def _open_file(path: Path, bands: Sequence[int] | None, rendering: Rendering, crs: str | None) -> ImageSource:
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
    if header.lstrip().startswith(b"{") and names_stac_item(path.name):
        return _open_asset(str(path), bands, rendering, crs)
    if header.startswith(_ZIP):
        raise ValueError(f"{path} is an archive: name an image in it, such as zip://{path}!in/a.tif")
    if found := _CONTAINERS.match(header):
        form = 'HDF5:"{}"://NAME' if b"HDF" in found[0] else 'NETCDF:"{}":NAME'
        raise ValueError(f"{path} holds variables, which may be several images: name one as {form.format(path)}")
    kind = next((kind for kind, magic in _PILLOW_FORMATS.items() if magic.match(header)), None)
    if kind is not None and crs is None and not _is_deep_color_png(header) and not _is_for_gdal(path, kind):
        return _open_with_pillow(path, kind, bands, rendering)
    try:
        from geodit.rasters.raster import RasterSource
    except ImportError:
        return _open_without_rasterio(path, header, kind, bands, rendering, crs)
    return RasterSource(path, bands, rendering, crs=crs)


def _open_without_rasterio(
    path: Path, header: bytes, kind: str | None, bands: Sequence[int] | None, rendering: Rendering, crs: str | None
) -> ImageSource:
    if crs is not None:
        raise ValueError(f"{path} is given a coordinate reference system, which needs rasterio: {_GEO_HINT}")
    if _is_deep_color_png(header):
        raise ValueError(f"{path} has 16-bit color, which needs rasterio: {_GEO_HINT}")
    if header.startswith(_TIFF):
        try:
            return _open_with_pillow(path, "TIFF", bands, rendering)
        except ValueError as error:
            raise ValueError(f"{error}. Without rasterio only simple TIFF is read: {_GEO_HINT}") from error
    if kind is None:
        raise ValueError(
            f"{path} is not a PNG, JPEG, WebP, BMP, GIF or TIFF image; other rasters need rasterio: {_GEO_HINT}"
        )
    return _open_with_pillow(path, kind, bands, rendering)


def _is_for_gdal(path: Path, kind: str) -> bool:
    """Return whether GDAL reads a PNG, JPEG and the like: if it is georeferenced, or too large to be decoded whole."""
    if has_world_file(path):
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=(kind,)) as image:
                if image.mode in ("CMYK", "YCCK") or image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT) != _UPRIGHT:
                    return False
                large = image.width * image.height > _MAX_PILLOW_PIXELS
    except Image.DecompressionBombError:
        return True
    except DAMAGE:
        return False
    return large or path.with_name(path.name + ".aux.xml").exists()


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
    if crs is not None:
        raise ValueError(
            f"crs {crs!r} is for a file, and this image is in memory: give a GeoImage with a georeference"
        )
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


def _is_deep_color_png(header: bytes) -> bool:
    """Return whether the PNG has 16-bit color, of which Pillow would only keep the high byte."""
    if not header.startswith(b"\x89PNG") or len(header) < 26:
        return False
    bit_depth, color_type = header[24:26]
    return bit_depth == 16 and color_type in (2, 4, 6)


def _open_with_pillow(path: Path, kind: str, bands: Sequence[int] | None, rendering: Rendering) -> ImageSource:
    try:
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
