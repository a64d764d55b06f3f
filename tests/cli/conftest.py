# SPDX-License-Identifier: Apache-2.0
"""A checkpoint with random weights, and images to ask it about."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SiglipImageProcessorPil
from typer.testing import CliRunner, Result

from geodit.cli.main import app
from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import COMPACT_CHAT_TEMPLATE, GeoDiTProcessor
from geodit.processing.tokenization import build_tokenizer


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved as training saves a model; its answers are arbitrary."""
    tokenizer = build_tokenizer(["Detect: ship.", "How many ships are there?"], vocab_size=400, location_bins=16)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = GeoDiTConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            **ids,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 16,
            "vision_use_head": False,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        mask_token_id=tokenizer.mask_token_id,
        **ids,
    )
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("checkpoint")
    GeoDiTForMaskedDiffusion(config).save_pretrained(directory)
    GeoDiTProcessor(
        SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer,
        chat_template=COMPACT_CHAT_TEMPLATE,
        num_image_tokens=4,
    ).save_pretrained(directory)
    return directory


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
