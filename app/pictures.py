# SPDX-License-Identifier: Apache-2.0
"""Pictures for the browser, inside the document that shows them: no file of an answer stays on the server."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.scenes.map_picture import MapPicture
from geodit.rasters.image_source import GeoImage, ImageSource

__all__ = ["data_url", "map_document", "picture_document", "read_copy"]

MAX_SIDE = 1024
"""Pixels of the longer side of what is shown at most."""

_SMALL = 512 * 512


def read_copy(source: ImageSource, max_side: int = MAX_SIDE) -> GeoImage:
    """Read an image, reduced to what is shown."""
    return source.read(shape=source.fit_within(max_side))


def picture_document(source: ImageSource, copy: GeoImage, name: str) -> JsonObject:
    """Return what the page shows of an image.

    Args:
        source: The image.
        copy: It, reduced.
        name: What its owner calls it.
    """
    height, width = source.image_size
    reference = source.georeference
    return {
        "name": name,
        "src": data_url(copy.pixels),
        "width": width,
        "height": height,
        "crs": None if reference is None else _short_name(reference.crs),
    }


def map_document(picture: MapPicture | None) -> JsonObject | None:
    """Return the picture that lies on the map, if there is one."""
    if picture is None:
        return None
    west, south, east, north = picture.bounds
    return {"src": data_url(picture.pixels), "bounds": [[south, west], [north, east]]}


def data_url(pixels: NDArray[np.uint8] | bytes, kind: str = "") -> str:
    """Return a picture (H, W, 3 or 4), or the bytes of a file of some kind, as an address that holds it."""
    if isinstance(pixels, bytes):
        return f"data:{kind};base64,{base64.b64encode(pixels).decode('ascii')}"
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    if image.mode == "RGBA" or image.width * image.height <= _SMALL:
        image.save(buffer, "PNG")
        return data_url(buffer.getvalue(), "image/png")
    image.save(buffer, "JPEG", quality=88)
    return data_url(buffer.getvalue(), "image/jpeg")


def _short_name(crs: str) -> str:
    return crs if len(crs) <= 40 else "a reference system of its own"
