# SPDX-License-Identifier: Apache-2.0
"""The program, and an image to ask about."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from geodit.cli.main import app


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / "harbor.png"
    Image.fromarray(pixels).save(path)
    return path


class Command:
    """`geodit(...)` runs the command line program in this process."""

    def __call__(self, *arguments: object) -> Result:
        # A terminal of this width is a table's limit; without it CliRunner has 80 columns.
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])

    def fails(self, *arguments: object) -> str:
        """Runs what must fail as bad input does, and gives its one line on stderr."""
        result = self(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith("geodit: error: ")
        return line


@pytest.fixture
def geodit() -> Command:
    return Command()
