# SPDX-License-Identifier: Apache-2.0
"""Which parts of a large raster are read."""

import numpy as np
import pytest

from geodit.data.windows import Window
from geodit.rasters.sampling import blocks_of, overview_factor, sample_windows, strips


@pytest.mark.parametrize(
    "block_size", [(1, 20_000), (16, 20_000), (256, 256), (512, 512), (3000, 20_000), (20_000, 20_000)]
)
def test_a_sample_is_from_all_over_the_raster_and_reads_little(block_size: tuple[int, int]) -> None:
    rows, columns = block_size
    block_bytes = rows * columns * 6
    windows = sample_windows((20_000, 20_000), block_size, block_bytes)
    blocks = {block for window in windows for block in blocks_of(window, block_size)}
    assert len(blocks) * block_bytes <= max(2**27, 4 * block_bytes)
    assert all(top >= 0 and top + height <= 20_000 for top, _, height, _ in windows)
    assert all(left >= 0 and left + width <= 20_000 for _, left, _, width in windows)
    if block_bytes <= 2**28:
        tops = [window.top for window in windows]
        assert min(tops) < 500
        assert max(tops) > 17_000


def test_a_block_too_large_for_more_is_looked_at_once() -> None:
    assert len(sample_windows((40_000, 40_000), (10_000, 40_000), 2**30)) == 1


@pytest.mark.parametrize(
    ("overviews", "decimation", "expected"), [([], 9.0, 1), ([2, 4, 8], 9.0, 8), ([2, 4, 8], 5.0, 4), ([8], 5.0, 1)]
)
def test_the_smallest_overview_with_enough_pixels_is_read(
    overviews: list[int], decimation: float, expected: int
) -> None:
    assert overview_factor(overviews, decimation) == expected


@pytest.mark.parametrize("row_bytes", [10.0, 2.0**20, 2.0**27])
def test_strips_cover_a_window_once(row_bytes: float) -> None:
    window = Window(top=100, left=0, height=9000, width=500)
    parts = list(strips(window, 384, row_bytes, block_rows=1))
    tops = np.array([top for (top, _), _ in parts])
    bottoms = np.array([top + height for (top, height), _ in parts])
    assert sum(rows for _, rows in parts) == 384
    assert (tops[0], bottoms[-1]) == pytest.approx((100, 9100))
    assert tops[1:] == pytest.approx(bottoms[:-1])
    one_row = row_bytes * 9000 / 384
    assert all(height * row_bytes <= max(2**26, one_row) * 1.001 for (_, height), _ in parts)
