# SPDX-License-Identifier: Apache-2.0
"""Sizes of objects, by which figures are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geodit.processing.box_ops import box_area

__all__ = ["RELATIVE_SIZES", "SIZES", "members_by_size"]

SIZES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
)
"""Area of the upright box in squared pixels of the original image: at least the first number, below the second.

The limits are COCO's, which takes the area of an object's outline where there is one; a remote sensing data set has
boxes. `cocoeval.py` counts an object of exactly 32 x 32 pixels as small and as medium, here it is medium.
"""

RELATIVE_SIZES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"below_1_percent": (0.0, 0.01), "1_to_10_percent": (0.01, 0.1), "above_10_percent": (0.1, float("inf"))}
)
"""Area of the box as a share of the image's: at least the first number, below the second.

Unlike pixels, shares mean the same after an image has been resized to what a model takes.
"""


def members_by_size(
    boxes: ArrayLike, limits: Mapping[str, tuple[float, float]], image_areas: Sequence[float] | None = None
) -> dict[str, NDArray[np.intp]]:
    """Return the indices of the boxes of each size, without sizes that no box has.

    Args:
        boxes: Shape (N, 4), in pixels.
        limits: Area from which on, and area below which, a box has the size.
        image_areas: What to divide the area of each box by; by default 1.

    Raises:
        ValueError: If a box is malformed, or there is not one area above 0 for each box.
    """
    areas = box_area(boxes)
    if image_areas is not None:
        divisors = np.asarray(image_areas, dtype=np.float64)
        if divisors.shape != areas.shape or (divisors <= 0).any():
            raise ValueError(f"image_areas must be {len(areas)} numbers above 0, one per box, not {len(divisors)}")
        areas = areas / divisors
    found = {name: np.flatnonzero((areas >= low) & (areas < high)) for name, (low, high) in limits.items()}
    return {name: members for name, members in found.items() if len(members)}
