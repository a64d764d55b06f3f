# SPDX-License-Identifier: Apache-2.0
"""Which object each patch of an image shows: the targets of dense pretraining."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

# Points at which a patch is probed along either side.
_PROBES = 8
_LEAST_COVER = 0.25


def assign_patches(
    outlines: Sequence[Sequence[tuple[float, float]]],
    centers: Sequence[tuple[float, float]],
    image_size: float,
    grid: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Assign to every patch of a square image the object that it shows.

    A patch belongs to the object whose centre it holds; else to the one that covers most of it, if it covers
    a quarter; else to the background. Of several centres in a patch the object that covers most of it counts.

    Args:
        outlines: The K objects, a polygon (x, y) in pixels each; later ones lie on top.
        centers: Their K centres (x, y) in pixels.
        image_size: Side of the image in pixels.
        grid: Patches along either side of the image.

    Returns:
        By row and column of the patch: the object (grid, grid) int64, 0 for the background and else 1 + its
        index; and (grid, grid) bool, whether the patch holds the centre of its object.

    Raises:
        ValueError: If `grid` is not positive.
    """
    if grid < 1:
        raise ValueError(f"grid must be positive, got {grid}")
    owner = np.zeros((grid, grid), dtype=np.int64)
    is_center = np.zeros((grid, grid), dtype=bool)
    if not outlines:
        return owner, is_center
    cover = _cover(outlines, image_size, grid)
    owner = np.where(cover.max(axis=-1) >= _LEAST_COVER, cover.argmax(axis=-1) + 1, owner)
    held: dict[tuple[int, int], float] = {}
    for index, (x, y) in enumerate(centers):
        row, column = (min(grid - 1, int(value / image_size * grid)) for value in (y, x))
        covered = float(cover[row, column, index])
        if covered >= held.get((row, column), 0.0):
            held[row, column] = covered
            owner[row, column] = index + 1
            is_center[row, column] = True
    return owner, is_center


def _cover(outlines: Sequence[Sequence[tuple[float, float]]], image_size: float, grid: int) -> NDArray[np.float64]:
    """Return the share of each patch that each object covers, `(grid, grid, K)`."""
    side = grid * _PROBES
    canvas = Image.new("I", (side, side))
    draw = ImageDraw.Draw(canvas)
    scale = side / image_size
    for number, outline in enumerate(outlines, start=1):
        draw.polygon([(x * scale - 0.5, y * scale - 0.5) for x, y in outline], fill=number)
    probes = np.asarray(canvas).reshape(grid, _PROBES, grid, _PROBES).transpose(0, 2, 1, 3).reshape(grid, grid, -1)
    shares: NDArray[np.float64] = (probes[..., None] == np.arange(1, len(outlines) + 1)).mean(axis=2)
    return shares
