# SPDX-License-Identifier: Apache-2.0
"""Rectangular windows of an image: a grid of them that covers it, and the boxes that fall in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Window(NamedTuple):
    """A rectangle of whole pixels: rows `top .. top + height`, columns `left .. left + width`."""

    top: int
    left: int
    height: int
    width: int


def window_grid(image_size: tuple[int, int], size: int, stride: int) -> list[Window]:
    """Return square windows in row order that together cover the image.

    The last window of a row or column is moved back to end at the image's edge, so that every window has the
    full size; an image narrower than `size` gives windows as wide as itself.

    Args:
        image_size: (height, width) of the image in pixels.
        size: side of a window in pixels.
        stride: distance between the origins of neighbouring windows, 1 to `size`.

    Raises:
        ValueError: if a side is below 1, or the stride would leave gaps.
    """
    height, width = image_size
    if height < 1 or width < 1:
        raise ValueError(f"image_size must be (height, width) of at least one pixel, got {tuple(image_size)}")
    if size < 1:
        raise ValueError(f"the side of a window must be at least 1 pixel, got {size}")
    if not 1 <= stride <= size:
        raise ValueError(f"stride must be from 1 to the window's side ({size}), got {stride}")
    return [
        Window(top, left, min(size, height), min(size, width))
        for top in _origins(height, size, stride)
        for left in _origins(width, size, stride)
    ]


def _origins(length: int, size: int, stride: int) -> list[int]:
    last = max(length - size, 0)
    return [*range(0, last, stride), last]


def boxes_in_window(
    boxes: NDArray[np.float64] | Sequence[Sequence[float]], window: Window, min_visible: float = 0.5
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the boxes seen in a window, clipped to it.

    Args:
        boxes: (K, 4) boxes `[x1, y1, x2, y2]` in pixels of the image.
        window: where to look.
        min_visible: the least share of a box's area that must lie inside the window.

    Returns:
        The clipped boxes (M, 4), in pixels of the window, and the indices (M,) they had in `boxes`. Boxes
        without area are never seen.
    """
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    low = np.array([window.left, window.top], dtype=np.float64)
    high = low + np.array([window.width, window.height])
    clipped = np.concatenate([np.clip(array[:, :2], low, high), np.clip(array[:, 2:], low, high)], axis=1)
    area = np.prod(np.maximum(array[:, 2:] - array[:, :2], 0.0), axis=1)
    inside = np.prod(np.maximum(clipped[:, 2:] - clipped[:, :2], 0.0), axis=1)
    seen = np.flatnonzero((inside > 0) & (inside >= min_visible * area))
    return clipped[seen] - np.concatenate([low, low]), seen
