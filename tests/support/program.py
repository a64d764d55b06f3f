# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the command line program in this process, an image to ask it about, and an adapter."""

from pathlib import Path

import numpy as np
import pytest
import torch
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


@pytest.fixture(scope="session")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of the checkpoint, saved as training saves one; it changes the answers."""
    peft = pytest.importorskip("peft")
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.trainers.lora import add_adapter
    from geodit.weights.adapters import complete_adapter_folder

    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=64, init_lora_weights=False)
    model = add_adapter(GeoDiTForMaskedDiffusion.from_pretrained(checkpoint), config)
    directory = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(directory)
    complete_adapter_folder(model, directory)
    return directory
