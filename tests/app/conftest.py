# SPDX-License-Identifier: Apache-2.0
"""The page with the bundled checkpoint, on a free port of this machine, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import geodit

if TYPE_CHECKING:
    from geodit.app.server import RunningPage
    from geodit.app.service import Model

# Where the extra `app` is not installed there is nothing to test.
collect_ignore_glob = ["test_*.py"] if find_spec("gradio") is None or find_spec("rasterio") is None else []

SCENES = Path(str(files("geodit"))) / "tiny" / "demo_scenes"


@pytest.fixture(scope="session")
def models() -> dict[str, Model]:
    from geodit.app.service import Model
    from geodit.pipelines.image_pipeline import GeoDiTPipeline
    from geodit.pipelines.scenes.objects import ModelName

    pipeline = GeoDiTPipeline.from_pretrained(geodit.bundled_checkpoint(), device="cpu")
    return {
        "geodit-tiny": Model(pipeline, ModelName("geodit-tiny")),
        "the same": Model(pipeline, ModelName("the same")),
    }


@pytest.fixture(scope="module")
def page(models: dict[str, Model]) -> Iterator[RunningPage]:
    from geodit.app.server import Limits, start

    with start(models, port=None, limits=Limits(max_upload_mb=8, max_pixels=4_000_000)) as running:
        yield running


@pytest.fixture(scope="session")
def harbor() -> Path:
    """A GeoTIFF with two ships."""
    return SCENES / "harbor.tif"
