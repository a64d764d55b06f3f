# SPDX-License-Identifier: Apache-2.0
"""Checks of an image that a stranger has sent, before any of its pixels are decoded.

A few bytes can state any size and any number of bands, and some formats name other files. So only plain images are
let in, by how the file begins, and only up to a number of pixels.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from geodit.configuration.text_files import check_regular_file
from geodit.processing.images_geodit import DAMAGE

__all__ = ["UPLOAD_FORMATS", "check_upload"]

UPLOAD_FORMATS = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
}
"""The formats, and how their files begin. None of them names another file."""

_MAX_BANDS = 1024
# Of one strip or tile, which is decoded as a whole.
_MAX_BLOCK_BYTES = 2**28


def check_upload(path: str | Path, name: str, max_pixels: int) -> tuple[int, int]:
    """Check whether an image may be read.

    Args:
        path: The file.
        name: What its owner calls it, for errors.
        max_pixels: Width times height at most.

    Returns:
        `(height, width)` in pixels.

    Raises:
        ValueError: If it is no PNG, JPEG or TIFF, is damaged, or has too many pixels or bands, or too large strips or
            tiles; or if it is a TIFF and rasterio is not installed.
        FileNotFoundError: If it is not there.
    """
    path = Path(path)
    try:
        check_regular_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} is not here any more: upload it again") from None
    with path.open("rb") as file:
        header = file.read(16)
    kind = next((kind for kind, magics in UPLOAD_FORMATS.items() if header.startswith(magics)), None)
    if kind is None:
        raise ValueError(f"{name} is not a PNG, JPEG or TIFF image")
    size = _tiff_size(path, name) if kind == "TIFF" else _picture_size(path, name, kind)
    height, width = size
    if height * width > max_pixels:
        raise ValueError(f"{name} has {width:,} x {height:,} pixels, more than the {max_pixels:,} that are allowed")
    return size


def _picture_size(path: Path, name: str, kind: str) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=(kind,)) as image:
                return image.height, image.width
    except Image.DecompressionBombError:
        raise ValueError(f"{name} has more pixels than are allowed") from None
    except DAMAGE as error:
        raise ValueError(f"{name} is damaged, or not a {kind} image that can be read") from error


def _tiff_size(path: Path, name: str) -> tuple[int, int]:
    try:
        from geodit.rasters.gdal_access import GDAL_ERRORS, GdalAccess, local_options
    except ImportError:
        raise ValueError(f'{name} is a TIFF, which needs rasterio: pip install "geodit[geo]"') from None
    access = GdalAccess(name, str(path.absolute()), ("GTiff",), local_options(with_sidecars=False))
    try:
        with access.environment(), access.open() as dataset:
            if dataset.count > _MAX_BANDS:
                raise ValueError(f"{name} has {dataset.count:,} bands, more than the {_MAX_BANDS:,} that are allowed")
            itemsize = max((_itemsize(dtype) for dtype in dataset.dtypes), default=1)
            together = dataset.count if str(dataset.interleaving).lower().endswith("pixel") else 1
            for rows, columns in dataset.block_shapes:
                if rows * columns * itemsize * together > _MAX_BLOCK_BYTES:
                    raise ValueError(
                        f"{name} is stored in strips or tiles of {columns:,} x {rows:,} pixels, of which one takes "
                        f"more than {_MAX_BLOCK_BYTES:,} bytes: store it in smaller tiles"
                    )
            return dataset.height, dataset.width
    except GDAL_ERRORS as error:
        raise ValueError(f"{name} cannot be read as an image: {access.reason(error)}") from error


def _itemsize(dtype: str) -> int:
    digits = "".join(letter for letter in dtype if letter.isdigit())
    return max(1, int(digits or 8) // 8)
