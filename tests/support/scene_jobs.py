# SPDX-License-Identifier: Apache-2.0
"""Jobs of several chunks for tests that stop them, and the programs that run them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

COMMAND = Path(__file__).with_name("geodit_command.py")
"""The program `geodit`."""

# A chunk is of 64 questions.
_QUERIES, _TILES_PER_CHUNK = 2, 32


def write_scene(path: Path, *, chunks: int = 6, side: int = 32) -> Path:
    """Write a raster of random pixels: one row of tiles, which are so many chunks in `predict_arguments`."""
    rasterio = pytest.importorskip("rasterio")
    tiles = chunks * _TILES_PER_CHUNK
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, tiles * side), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=tiles * side, height=side, count=3, dtype="uint8", crs="EPSG:32631",
        transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6),
    ) as file:  # fmt: skip
        file.write(pixels)
    return path


def predict_arguments(scene: Path, checkpoint: Path, out: Path, *more: str) -> list[str | Path]:
    """Return the arguments of `geodit` that ask about a scene and write the answers to `out`."""
    queries = [word for number in range(_QUERIES) for word in ("--query", f"ship {number}")]
    return [
        "predict", scene, "--task", "detect", *queries, "--model", checkpoint, "--max-denoising-steps", "1",
        "--tile-size", "32", "--overlap", "0", "--batch-size", str(_TILES_PER_CHUNK), "--out", out, *more,
    ]  # fmt: skip


def journal_of(out: Path, process: int = 0) -> Path:
    """Return the file of the answers that are known before there is a result."""
    return out.with_name(f"{out.name}.answers{f'-{process}' if process else ''}.jsonl")


def chunks_in(journal: Path) -> int:
    """Count the chunks in a journal that are complete."""
    try:
        return max(0, journal.read_bytes().count(b"\n") - 1)
    except FileNotFoundError:
        return 0


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that another process does.

    Raises:
        TimeoutError: It has not done it in time.
    """
    pause = threading.Event()
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        pause.wait(0.002)
