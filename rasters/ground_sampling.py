# SPDX-License-Identifier: Apache-2.0
"""How large the pixels of an image are on the ground. Needs the extra `geodit[geo]`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geodit.rasters.georeference import MapReference

__all__ = ["ground_sampling_distance", "pixel_sizes"]


def ground_sampling_distance(georeference: MapReference, image_size: tuple[int, int]) -> float:
    """Return the side of a pixel in the middle of an image, in meters on the ellipsoid of WGS 84.

    It is the geometric mean of height and width, where they differ.

    Raises:
        ValueError: If the middle of the image has no longitude and latitude, or pixels have no size.
    """
    height, width = image_size
    ((across, down),) = pixel_sizes(georeference, np.array([[width / 2, height / 2]])).tolist()
    if not (math.isfinite(across) and math.isfinite(down)):
        raise ValueError("its middle has no longitude and latitude, from which its ground sampling distance follows")
    if not across * down > 0:
        raise ValueError("its pixels have no size on the ground")
    return math.sqrt(across * down)


def pixel_sizes(georeference: MapReference, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return width and height (N, 2) of the pixels around points, in meters on the ellipsoid of WGS 84.

    Args:
        georeference: Where the image is on Earth.
        points: `[x, y]` (N, 2) in pixels of the image.

    Returns:
        NaN where there are no longitude and latitude.

    Raises:
        ValueError: If the reference system has no longitude and latitude at all.
    """
    from pyproj import Geod, Transformer
    from pyproj.exceptions import ProjError

    half = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, -0.5], [0.0, 0.5]])
    around = georeference.to_map(np.asarray(points, np.float64)[:, None, :] + half)
    try:
        to_wgs84 = Transformer.from_crs(georeference.crs, "EPSG:4326", always_xy=True)
        longitudes, latitudes = to_wgs84.transform(around[..., 0], around[..., 1])
    except ProjError as error:
        raise ValueError(f"its middle has no longitude and latitude: {error}") from error
    with np.errstate(invalid="ignore"):
        known = (np.isfinite(longitudes) & (np.abs(latitudes) <= 90)).all(axis=1)
    sizes = np.full((len(around), 2), np.nan)
    if known.any():
        longitudes, latitudes = longitudes[known], latitudes[known]
        _, _, distances = Geod(ellps="WGS84").inv(
            longitudes[:, ::2], latitudes[:, ::2], longitudes[:, 1::2], latitudes[:, 1::2]
        )
        sizes[known] = distances
    return sizes
