# SPDX-License-Identifier: Apache-2.0
"""A model small enough to train within a test, and questions to train it on."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from geodit.data.schema import Question
from geodit.trainers.new_model import new_model

GEOMETRY = {
    "text_config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.1,
    },
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 96,
        "patch_size": 48,
        "vision_use_head": False,
    },
}
TEXTS = ["Detect: ship.", "Describe the image.", "a harbor with two ships", "How many ships are there?", "none"]


@pytest.fixture
def geometry(tmp_path):
    path = tmp_path / "geometry.json"
    path.write_text(json.dumps(GEOMETRY))
    return path


@pytest.fixture
def model_and_processor():
    torch.manual_seed(0)
    return new_model(GEOMETRY, TEXTS, location_bins=16, vocab_size=400)


def make_items(number: int = 8) -> list[dict]:
    """Questions whose canvases have 32, 16 and 8 tokens."""
    rng = np.random.default_rng(0)
    questions = [
        Question("detect", query="ship", boxes=((10, 20, 40, 50), (5, 5, 30, 30)), labels=("ship", "ship")),
        Question("caption", answer="a harbor with two ships", references=("two ships",)),
        Question("vqa", query="How many ships are there?", answer="2", kind="count"),
    ]
    return [
        {
            "image": Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)),
            "question": questions[i % 3],
        }
        for i in range(number)
    ]


@pytest.fixture
def items():
    return make_items()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A checkpoint of that model, for tests that leave it as it is."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    for part in new_model(GEOMETRY, TEXTS, location_bins=16, vocab_size=400):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shared_items():
    return make_items()
