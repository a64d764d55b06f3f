# SPDX-License-Identifier: Apache-2.0
"""The page with the bundled checkpoint, on a free port of this machine, for all tests of a module."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("gradio")
pytest.importorskip("rasterio")

import geodit
from geodit.app.server import Limits, RunningPage, start
from geodit.app.service import Model
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.scenes.objects import ModelName

SCENES = Path(str(files("geodit"))) / "tiny" / "demo_scenes"


@pytest.fixture(scope="session")
def models() -> dict[str, Model]:
    pipeline = GeoDiTPipeline.from_pretrained(geodit.bundled_checkpoint(), device="cpu")
    return {
        "geodit-tiny": Model(pipeline, ModelName("geodit-tiny")),
        "the same": Model(pipeline, ModelName("the same")),
    }


@pytest.fixture(scope="module")
def page(models: dict[str, Model]) -> Iterator[RunningPage]:
    with start(models, port=None, limits=Limits(max_upload_mb=8, max_pixels=4_000_000)) as running:
        yield running


@pytest.fixture(scope="session")
def harbor() -> Path:
    """A GeoTIFF with two ships."""
    return SCENES / "harbor.tif"
