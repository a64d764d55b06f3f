# SPDX-License-Identifier: Apache-2.0
"""Of a large raster little is in memory at once."""

from pathlib import Path

from benchmark_scripts import imported_benchmark

SIDE = 7000
# Of the values as they are stored. As much is read for a smaller copy of the whole.
RASTER_MB = SIDE**2 * 3 * 2 / 2**20


def test_a_smaller_copy_of_a_large_raster_takes_little_memory(tmp_path: Path) -> None:
    with imported_benchmark("scene_memory") as benchmark:
        benchmark.write_raster(tmp_path / "tile.tif", benchmark.TILE)
        benchmark.write_raster(tmp_path / "large.tif", SIDE)
        tile, _ = benchmark.measure("single tile", tmp_path / "tile.tif")
        whole, _ = benchmark.measure("decimated whole", tmp_path / "large.tif")
    assert RASTER_MB > 280
    assert whole - tile < RASTER_MB / 2
