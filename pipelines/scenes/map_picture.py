# SPDX-License-Identifier: Apache-2.0
"""A small picture of a georeferenced image as web maps show it: in Web Mercator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodit.rasters.image_source import ImageSource, fit_within

__all__ = ["MapPicture", "map_picture"]

_MERCATOR = "EPSG:3857"
_POINTS_PER_SIDE = 21


@dataclass(frozen=True)
class MapPicture:
    """A picture in Web Mercator.

    Args:
        pixels: `(H, W, 4)` uint8, RGB and alpha, which is 0 where the image is not.
        bounds: `(west, south, east, north)` in degrees.
    """

    pixels: NDArray[np.uint8]
    bounds: tuple[float, float, float, float]


def map_picture(source: ImageSource, max_side: int = 768) -> MapPicture | None:
    """Draw an image on the map, each pixel from the nearest of a reduced copy.

    Args:
        source: The image.
        max_side: Pixels of the longer side of the picture at most.

    Returns:
        The picture; `None` if the image has no place on Earth that Web Mercator shows, or crosses the antimeridian.
    """
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    reference = source.georeference
    if reference is None:
        return None
    height, width = source.image_size
    try:
        to_mercator = Transformer.from_crs(reference.crs, _MERCATOR, always_xy=True)
        to_degrees = Transformer.from_crs(_MERCATOR, "EPSG:4326", always_xy=True)
    except ProjError:
        return None
    edge = np.linspace(0.0, 1.0, _POINTS_PER_SIDE)
    begin, end = np.zeros_like(edge), np.ones_like(edge)
    sides = ((edge, begin), (edge, end), (begin, edge), (end, edge))
    around = np.concatenate([np.stack(side, axis=-1) for side in sides])
    on_map = reference.to_map(around * [width, height])
    xs, ys = to_mercator.transform(on_map[:, 0], on_map[:, 1])
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        return None
    left, right, bottom, top = (float(value) for value in (xs.min(), xs.max(), ys.min(), ys.max()))
    if not (0 < right - left < 2.0e7 and top > bottom):
        return None
    rows, columns = fit_within((max(1, round(1e4 * (top - bottom) / (right - left))), 10_000), max_side)
    at_x, at_y = np.meshgrid(
        left + (np.arange(columns) + 0.5) * (right - left) / columns,
        top - (np.arange(rows) + 0.5) * (top - bottom) / rows,
    )
    back = Transformer.from_crs(_MERCATOR, reference.crs, always_xy=True)
    points = reference.to_pixels(np.stack(back.transform(at_x, at_y), axis=-1))
    copy = source.read(shape=source.fit_within(max_side))
    factor = np.array([copy.image_size[1] / width, copy.image_size[0] / height])
    places = np.floor(np.nan_to_num(points, nan=-1.0, posinf=-1.0, neginf=-1.0) * factor).astype(np.int64)
    inside = ((places >= 0) & (places < [copy.image_size[1], copy.image_size[0]])).all(-1)
    column, row = np.where(inside[..., None], places, 0).transpose(2, 0, 1)
    if copy.valid is not None:
        inside &= copy.valid[row, column]
    pixels = np.dstack([copy.pixels[row, column], np.where(inside, 255, 0).astype(np.uint8)])
    west, south = to_degrees.transform(left, bottom)
    east, north = to_degrees.transform(right, top)
    return MapPicture(np.ascontiguousarray(pixels), (west, south, east, north))
