# SPDX-License-Identifier: Apache-2.0
"""`geodit predict` with the bundled checkpoint, which is loaded once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import Result

from geodit.pipelines.image_pipeline import GeoDiTPipeline
from program import Command

Predict = Callable[..., Result]


@pytest.fixture(scope="session")
def bundled() -> GeoDiTPipeline:
    return GeoDiTPipeline.from_pretrained("geodit-tiny", device="cpu")


@pytest.fixture
def predict(geodit: Command, bundled: GeoDiTPipeline, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """`predict(image, ..., exit_code=0)` runs `geodit predict` with geodit-tiny; by default it detects ships."""
    monkeypatch.setattr("geodit.cli.engines.load_from", lambda *args, **options: bundled)

    def run(*arguments: object, exit_code: int = 0) -> Result:
        asked = () if "--task" in arguments else ("--task", "detect")
        what = () if {"--task", "--query"} & set(arguments) else ("--query", "ship")
        result = geodit("predict", *arguments, *asked, *what, "--model", "geodit-tiny")
        assert result.exit_code == exit_code, result.output
        return result

    return run
