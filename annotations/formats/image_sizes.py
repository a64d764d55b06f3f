# SPDX-License-Identifier: Apache-2.0
"""Sizes of images, for formats that measure in parts of a side."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from geodit.configuration.text_files import check_regular_file
from geodit.processing.images_geodit import DAMAGE, IMAGE_FORMATS
from geodit.rasters.imagery import open_image

__all__ = ["oriented_size"]

_EXIF_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)


def oriented_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image as it is shown, in pixels, from its header if Pillow knows the format.

    Raises:
        ValueError: If it is not an image that can be read.
    """
    check_regular_file(path)
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.getexif().get(_EXIF_ORIENTATION) in _ON_ITS_SIDE:
                return image.width, image.height
            return image.height, image.width
    except DAMAGE:
        # A raster that Pillow cannot read.
        try:
            with open_image(path) as source:
                return source.image_size
        except OSError as error:
            raise ValueError(f"{path} cannot be read as an image: {error}") from error
