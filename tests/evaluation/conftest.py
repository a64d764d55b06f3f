# SPDX-License-Identifier: Apache-2.0
"""A tiny model, a processor and hand-made images with questions."""

import socket

import evaluate
import numpy as np
import pytest
from transformers import SiglipImageProcessorPil

from geodit.data.schema import Question, make_dataset, make_row
from geodit.processing.processing_geodit import COMPACT_CHAT_TEMPLATE, GeoDiTProcessor
from geodit.processing.tokenization import build_tokenizer
from tiny_models import build_config, build_network

IMAGE_SIZE, PATCH_SIZE = 32, 16


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Evaluation must never reach for the network."""

    def refuse(*_):
        raise AssertionError("something tried to open a network connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def metrics_cache(monkeypatch, tmp_path):
    """The folder where `evaluate` would keep files; it does not exist yet."""
    folder = tmp_path / "metrics-cache"
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", folder)
    return folder


def make_questions(index: int) -> list[Question]:
    """One question of every task; the objects differ from image to image."""
    ship, tree = (2.0, 2.0, 12.0 + index, 12.0), (18.0, 16.0, 30.0, 26.0 + index)
    return [
        Question(
            "caption",
            answer=f"{index + 1} ships in water",
            references=(f"{index + 1} ships in water", "some ships and a tree"),
        ),
        Question("ground", query="the ship", boxes=(ship,), labels=("ship",)),
        Question("detect", query="ship", boxes=(ship,), labels=("ship",)),
        Question("detect", query="tree", boxes=(tree,) * (index % 2), labels=("tree",) * (index % 2)),
        Question("vqa", query="How many ships are there?", answer=str(index + 1), kind="count"),
        Question("vqa", query="Is there a ship?", answer="yes", kind="presence"),
        Question("classify", answer="open water"),
    ]


@pytest.fixture(scope="session")
def dataset():
    """Four images of 32 pixels with seven questions each, of all tasks."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(4, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    return make_dataset(
        [make_row(image, f"image-{index}", make_questions(index)) for index, image in enumerate(pixels)]
    )


@pytest.fixture(scope="session")
def processor():
    texts = ["ships ship some tree open water yes no none Describe the image. Locate: Detect: Classify scene"]
    return GeoDiTProcessor(
        SiglipImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}),
        build_tokenizer(texts, vocab_size=512, location_bins=IMAGE_SIZE),
        chat_template=COMPACT_CHAT_TEMPLATE,
        num_image_tokens=(IMAGE_SIZE // PATCH_SIZE) ** 2,
    )


@pytest.fixture(scope="session")
def model(processor):
    """A real model with random weights."""
    config = build_config(
        text={"initializer_range": 0.5},
        vision={"image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE},
        tokenizer=processor.tokenizer,
        initializer_range=0.5,  # random weights that give varied answers
    )
    return build_network(config)
