# SPDX-License-Identifier: Apache-2.0
"""A folder of GeoTIFFs to a GeoParquet of answers, by workers of a Ray cluster that each hold an engine of vLLM."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import geopandas
import numpy as np
import psutil
import pytest
import rasterio
import ray

from geodit import GeoDiTPipeline, ScenePipeline
from geodit.configuration.decoding_options import DecodingOptions
from geodit.pipelines.answering import Inquiry
from geodit.pipelines.ray import answer_on_ray
from geodit.pipelines.scenes.collecting import JobResult
from geodit.pipelines.scenes.job import SceneJob, Tiling
from geodit.pipelines.scenes.objects import ModelName
from geodit.tiny.scenes.rendering import render_scene
from geodit.tiny.scenes.scene import sample_scene
from geodit_vllm.answerer import VllmSpec

SIDE, TILES = 96, 3


def write_strip(path: Path, first: int) -> None:
    """Write a georeferenced strip of drawn scenes."""
    pixels = np.concatenate([render_scene(sample_scene(first + tile, SIDE)) for tile in range(TILES)], axis=1)
    with rasterio.open(
        path, "w", driver="GTiff", width=TILES * SIDE, height=SIDE, count=3, dtype="uint8", crs="EPSG:32631",
        transform=rasterio.Affine(0.5, 0, 5e5 + 1000 * first, 0, -0.5, 5e6),
    ) as file:  # fmt: skip
        file.write(np.moveaxis(pixels, -1, 0))


@pytest.fixture
def job(tmp_path: Path) -> SceneJob:
    folder = tmp_path / "tiles"
    folder.mkdir()
    for number in range(5):
        write_strip(folder / f"{number}.tif", number * TILES)
    damaged = folder / "2.tif"
    damaged.write_bytes(damaged.read_bytes()[: SIDE * SIDE * TILES])
    inquiry = Inquiry("detect", ("tree", "building"), options=DecodingOptions(max_denoising_steps=4))
    images = tuple(str(path) for path in sorted(folder.iterdir()))
    return SceneJob(images, inquiry, Tiling(SIDE, 0.0), batch_size=2, keep_going=True)


def kill_workers() -> int:
    """Kill the processes that answer chunks, and count them."""
    running = [one for one in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(one.cmdline())]
    for process in running:
        os.kill(process.pid, signal.SIGKILL)
    return len(running)


def table_of(result: JobResult, path: Path) -> geopandas.GeoDataFrame:
    """Write a result as GeoParquet, and read it."""
    result.write(path)
    frame = geopandas.read_parquet(path)
    return frame.sort_values(["source", "y1", "x1", "label"]).reset_index(drop=True)


def test_lost_workers_and_damaged_tiles_cost_nothing_but_themselves(job: SceneJob, tmp_path: Path) -> None:
    name = ModelName("geodit-tiny")
    engine = {"dtype": "float32", "enforce_eager": True, "max_model_len": 256, "max_num_seqs": 8, "block_size": 32}
    spec = VllmSpec("geodit-tiny", engine=engine)
    scenes = ScenePipeline(spec.load_answerer(), name=name)
    plan = scenes.plan(job)
    killed: list[int] = []

    def progress(done: int, total: int) -> None:
        if not killed:
            killed.append(kill_workers())

    ray.init(num_cpus=1, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        result = scenes.collect(plan, answer_on_ray(plan, spec, workers=1, progress=progress))
    finally:
        ray.shutdown()
    assert killed == [1]

    pipeline = GeoDiTPipeline.from_pretrained("geodit-tiny", device="cpu", dtype="float32")
    own = ScenePipeline(pipeline, name=name).run(job)
    assert [list(scene.unreadable) for scene in result.scenes] == [list(scene.unreadable) for scene in own.scenes]
    assert result.failures == own.failures
    assert sum(len(scene.unreadable) for scene in result.scenes) + len(result.failures) >= 1
    found, expected = table_of(result, tmp_path / "vllm.parquet"), table_of(own, tmp_path / "own.parquet")
    assert len(expected) >= 10
    assert found.crs == expected.crs
    assert list(found["label"]) == list(expected["label"])
    assert found.geometry.geom_equals_exact(expected.geometry, 1e-6).all()
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)
