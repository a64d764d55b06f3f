# SPDX-License-Identifier: Apache-2.0
"""Which parts of a large raster are read, and in which order, so that little of it is in memory at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from geodit.data.windows import Window

__all__ = ["SAMPLE_SIDE", "blocks_of", "overview_factor", "sample_windows", "strips"]

SAMPLE_SIDE = 1024
"""Black and white are found in a sample of the raster with about as many pixels a side."""

# GDAL keeps the blocks that it has read. So many bytes of them are read for a sample, or for a strip.
_SAMPLE_BYTES = 2**26
_STRIP_BYTES = 2**26
# Of large blocks so many nevertheless, of very large ones a single one.
_LEAST_BLOCKS = 4
_LARGE_BLOCK_BYTES = 2**28
# Windows of a sample a side, and the side of each in pixels.
_MOST_WINDOWS = 8
_WINDOW_SIDE = SAMPLE_SIDE // _MOST_WINDOWS
# Where a block is a whole row, or several, more of them are looked at, and less of each.
_MOST_STRIPES = 64
_STRIPE_ROWS = 16


def sample_windows(image_size: tuple[int, int], block_size: tuple[int, int], block_bytes: int) -> list[Window]:
    """Choose windows all over a raster, which begin where its blocks do.

    Args:
        image_size: (height, width) of the raster in pixels.
        block_size: (height, width) of the blocks that GDAL reads it by.
        block_bytes: Bytes of one of them in memory.
    """
    (height, width), (block_rows, block_columns) = image_size, block_size
    blocks = max(_SAMPLE_BYTES // block_bytes, _LEAST_BLOCKS if block_bytes <= _LARGE_BLOCK_BYTES else 1)
    if block_columns >= width:
        rows = min(height, max(1, min(block_rows, _STRIPE_ROWS)))
        tops = _starts(height, rows, block_rows, min(blocks, _MOST_STRIPES))
        return [Window(top, 0, rows, width) for top in tops]
    rows, columns = min(height, _WINDOW_SIDE), min(width, _WINDOW_SIDE)
    count = min(_MOST_WINDOWS, math.isqrt(blocks))
    return [
        Window(top, left, rows, columns)
        for top in _starts(height, rows, block_rows, count)
        for left in _starts(width, columns, block_columns, count)
    ]


def _starts(length: int, side: int, block: int, count: int) -> list[int]:
    """Spread windows over a length; each begins with a block, the last ends with the image if it has to."""
    spread = np.linspace(0, length - side, count) if count > 1 else [(length - side) / 2]
    return sorted({min(int(start) // block * block, length - side) for start in spread})


def blocks_of(window: Window, block_size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return (row, column) of each block of a raster that a window touches.

    Args:
        window: A part of the raster.
        block_size: (height, width) of a block in pixels.
    """
    (top, left, height, width), (rows, columns) = window, block_size
    return [
        (row, column)
        for row in range(top // rows, (top + height - 1) // rows + 1)
        for column in range(left // columns, (left + width - 1) // columns + 1)
    ]


def overview_factor(overviews: Sequence[int], decimation: float) -> int:
    """Return how many pixels of the raster one of those has that are read for a smaller copy: 1 without overviews.

    Args:
        overviews: Factors of the raster's overviews, such as 2, 4, 8.
        decimation: Pixels of the raster for one of the copy, along the side where these are fewer.
    """
    return max((factor for factor in overviews if factor <= decimation), default=1)


def strips(
    window: Window, num_rows: int, row_bytes: float, block_rows: int
) -> Iterator[tuple[tuple[float, float], int]]:
    """Divide a window into strips, each of which becomes some rows of a smaller copy.

    Args:
        window: Of the raster.
        num_rows: Rows of the smaller copy.
        row_bytes: Bytes that GDAL reads for a row of the raster.
        block_rows: Rows that it reads at once.

    Yields:
        Top and height of the strip in rows of the raster, and the rows that it becomes.
    """
    decimation = window.height / num_rows
    rows = max(1, int(max(_STRIP_BYTES / row_bytes, block_rows) / decimation))
    for first in range(0, num_rows, rows):
        count = min(rows, num_rows - first)
        yield (window.top + first * decimation, count * decimation), count
