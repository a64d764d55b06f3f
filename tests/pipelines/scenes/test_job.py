# SPDX-License-Identifier: Apache-2.0
"""A job, and all that its answers depend on."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geodit.configuration.decoding_options import DecodingOptions
from geodit.pipelines.answering import Inquiry
from geodit.pipelines.scenes.job import SceneJob, Tiling, file_facts
from geodit.rasters.rendering import Rendering, StretchRule


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    path.write_bytes(b"12345")
    return path


@pytest.fixture
def job(image: Path, tmp_path: Path) -> SceneJob:
    area = tmp_path / "area.geojson"
    area.write_text("{}")
    return SceneJob((str(image),), Inquiry("detect", ("ship", "tank")), Tiling(64, aoi=str(area)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile_size": 0}, "tile_size must be at least 1"),
        ({"tile_size": 64, "overlap": 1.0}, "overlap"),
        ({"tile_size": 64, "overlap": -0.1}, "overlap"),
        ({"tile_size": 64, "overlap": float("nan")}, "overlap"),
        ({"tile_size": 64, "gsd": 0.0}, "gsd"),
        ({"tile_size": 64, "gsd": float("inf")}, "gsd"),
        ({"tile_size": 64, "gsd": float("nan")}, "gsd"),
        ({"gsd": 0.5}, "give a tile_size"),
        ({"full_image": True}, "give a tile_size"),
        ({"aoi": "area.geojson"}, "give a tile_size"),
    ],
)
def test_tilings_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tiling(**options)


def test_auto_is_the_size_of_the_pictures_of_the_training() -> None:
    assert Tiling("auto", 0.5).resolve(384) == Tiling(384, 0.5)
    assert Tiling(96).resolve(384) == Tiling(96)
    assert Tiling().resolve(384) == Tiling()


@pytest.mark.parametrize(("options", "message"), [({"images": ()}, "no image"), ({"batch_size": 0}, "batch_size")])
def test_jobs_that_cannot_be_are_refused(job: SceneJob, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(job, **options)


def test_the_fingerprint_comes_back_from_json_as_it_was(job: SceneJob) -> None:
    rendered = replace(job, rendering=Rendering(StretchRule.parse("p2,98"), nodata=0.0), bands=(3, 2, 1))
    assert json.loads(json.dumps(rendered.fingerprint())) == rendered.fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"inquiry": Inquiry("detect", ("tank", "ship"))},
        {"inquiry": Inquiry("ground", ("ship", "tank"))},
        {"inquiry": Inquiry("detect", ("ship", "tank"), options=DecodingOptions(seed=1))},
        {"inquiry": Inquiry("detect", ("ship", "tank"), options=DecodingOptions(max_denoising_steps=2))},
        {"tiling": Tiling(65)},
        {"tiling": Tiling(64, 0.5)},
        {"tiling": Tiling(64, gsd=0.3)},
        {"tiling": Tiling(64, full_image=True)},
        {"rendering": Rendering(StretchRule("none"))},
        {"rendering": Rendering(gamma=2.0)},
        {"bands": (1,)},
        {"crs": "EPSG:32631"},
        {"retry_unparsed": True},
        {"batch_size": 4},
        {"images": ("other.tif",)},
    ],
)
def test_the_fingerprint_tells_jobs_with_other_answers_apart(job: SceneJob, change: dict[str, Any]) -> None:
    assert replace(job, **change).fingerprint() != job.fingerprint()


def test_the_fingerprint_is_the_same_where_answers_are(job: SceneJob) -> None:
    captured = replace(job.inquiry, options=DecodingOptions(capture_step=True, compile_step=True))
    assert replace(job, inquiry=captured, keep_going=True).fingerprint() == job.fingerprint()


@pytest.mark.parametrize("name", ["scene.tif", "area.geojson"])
def test_the_fingerprint_tells_that_a_file_was_changed(job: SceneJob, tmp_path: Path, name: str) -> None:
    before = job.fingerprint()
    path = tmp_path / name
    times = path.stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 10**9))
    touched = job.fingerprint()
    path.write_text("longer than it was before")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    longer = job.fingerprint()
    assert before != touched
    assert before != longer


def test_of_an_address_the_name_is_known(image: Path) -> None:
    assert file_facts("https://example.org/scene.tif") == ["https://example.org/scene.tif"]
    assert file_facts(str(image)) == [str(image), 5, image.stat().st_mtime_ns]
