# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from transformers import PreTrainedTokenizerFast, SiglipImageProcessorPil

from geodit.processing.processing_geodit import COMPACT_CHAT_TEMPLATE, GeoDiTProcessor
from geodit.processing.tokenization import build_tokenizer

TEXTS = (
    "Describe the image.",
    "Locate: the large white storage tank in the upper left.",
    "Detect: ship.",
    "Detect: storage tank.",
    "Classify the scene.",
    "How many ships are there?",
    "A harbor with two ships.",
    "harbor",
    "none",
    "yes",
)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(TEXTS, vocab_size=1024, location_bins=64)


@pytest.fixture(scope="session")
def image_processor() -> SiglipImageProcessorPil:
    return SiglipImageProcessorPil(size={"height": 32, "width": 32})


@pytest.fixture(scope="session")
def processor(image_processor: SiglipImageProcessorPil, tokenizer: PreTrainedTokenizerFast) -> GeoDiTProcessor:
    """A small processor: 32-pixel images of 4 tokens, 64 location tokens, LLaDA's chat template."""
    return GeoDiTProcessor(image_processor, tokenizer, num_image_tokens=4)


@pytest.fixture(scope="session")
def compact_processor(image_processor: SiglipImageProcessorPil, tokenizer: PreTrainedTokenizerFast) -> GeoDiTProcessor:
    return GeoDiTProcessor(image_processor, tokenizer, chat_template=COMPACT_CHAT_TEMPLATE, num_image_tokens=4)


@pytest.fixture(scope="session")
def image() -> Image.Image:
    """An RGB image 40 high and 60 wide."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def other_image() -> Image.Image:
    """An RGB image 50 high and 30 wide."""
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 30, 3), dtype=np.uint8))
