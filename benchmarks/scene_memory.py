# SPDX-License-Identifier: Apache-2.0
"""Memory and time of reading a large raster: 16 bits, three bands, in strips of one row, without overviews.

    python benchmarks/scene_memory.py                       # 20,000 x 20,000 pixels, about 2 GB on disk
    python benchmarks/scene_memory.py --side 8000 --work-dir /scratch

Each case runs in a process of its own. Prints the peak of its resident memory (VmHWM), what of it is above a process
that does the same with a raster of a single tile, and the seconds it took after the imports. Captions are those of the
bundled model.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window as RasterWindow

from geodit.data.windows import Window
from geodit.rasters.image_source import fit_within
from geodit.rasters.imagery import open_image

TILE = 384
BANDS = 3
# Each case with the one of a single tile that it is compared with.
CASES = {
    "single tile": "single tile",
    "open": "single tile",
    "far corner tile": "single tile",
    "decimated whole": "single tile",
    "caption of a tile": "caption of a tile",
    "caption of the whole": "caption of a tile",
}


def main() -> None:
    """Make the rasters and run every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000, help="pixels of a side of the raster")
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()), help="where to make it")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case is not None:
        run_case(args.case, args.file)
        return
    with tempfile.TemporaryDirectory(dir=args.work_dir) as folder:
        small, large = Path(folder) / "small.tif", Path(folder) / "large.tif"
        write_raster(small, TILE)
        write_raster(large, args.side)
        print(f"{args.side:,} x {args.side:,} pixels, {large.stat().st_size / 1e9:.2f} GB on disk")
        print(f"{'':20} {'peak MB':>8} {'above a tile':>13} {'seconds':>8}")
        peaks: dict[str, float] = {}
        for case, base in CASES.items():
            peaks[case], seconds = measure(case, small if case == base else large)
            print(f"{case:20} {peaks[case]:8.0f} {peaks[case] - peaks[base]:13.0f} {seconds:8.2f}")


def write_raster(path: Path, side: int) -> None:
    """Write noise that is not to be compressed much, in strips of one row."""
    profile = {"driver": "GTiff", "count": BANDS, "dtype": "uint16", "compress": "ZSTD", "zstd_level": 1}
    place = {"crs": "EPSG:32631", "transform": from_origin(590000, 5755000, 0.5, 0.5)}
    rows = 40
    noise = np.random.default_rng(0).integers(0, 4000, (BANDS, rows, side), dtype=np.uint16)
    with rasterio.open(path, "w", height=side, width=side, blockysize=1, BIGTIFF="YES", **profile, **place) as dataset:
        for top in range(0, side, rows):
            count = min(rows, side - top)
            dataset.write(noise[:, :count], window=RasterWindow(0, top, side, count))


def measure(case: str, file: Path) -> tuple[float, float]:
    """Return the peak memory in MB and the seconds of a case."""
    command = [sys.executable, __file__, "--case", case, "--file", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peak, seconds = output.split()[-2:]
    return float(peak), float(seconds)


def run_case(case: str, file: Path) -> None:
    """Run one case in this process and print what it took."""
    if case.startswith("caption"):
        from geodit import GeoDiTPipeline

        pipeline = GeoDiTPipeline.from_pretrained("geodit-tiny", device="cpu", dtype="float32")
        started = time.perf_counter()
        pipeline(file, "caption", max_denoising_steps=4)
        report(time.perf_counter() - started)
        return
    started = time.perf_counter()
    with open_image(file) as source:
        height, width = source.image_size
        if case in ("single tile", "far corner tile"):
            source.read(Window(height - TILE, width - TILE, TILE, TILE))
        elif case == "decimated whole":
            source.read(shape=fit_within(source.image_size, TILE))
    report(time.perf_counter() - started)


def report(seconds: float) -> None:
    """Print the peak memory of this process and how long it took."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(peak / 1024, seconds)


if __name__ == "__main__":
    main()
