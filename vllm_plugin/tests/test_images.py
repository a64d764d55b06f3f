# SPDX-License-Identifier: Apache-2.0
"""Images in tiles, and images that several requests are about."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from vllm import SamplingParams

from engines import answer, compare, engine, expected_answers
from geodit import GeoDiTConfig, GeoDiTForMaskedDiffusion, GeoDiTProcessor, bundled_checkpoint
from geodit.processing.image_processors import build_image_processor
from mixed_requests import MixedRequest, mixed_requests

TOLERANCE = 1e-5
SIZES = ((96, 96), (200, 100), (50, 150))


@pytest.fixture(scope="module", params=["prefix", "full"])
def tiled_checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled weights with images in tiles, of which the features are those of the last layer but one."""
    folder = tmp_path_factory.mktemp("tiles") / request.param
    torch.manual_seed(0)
    config = GeoDiTConfig.from_pretrained(
        bundled_checkpoint(),
        vision_aspect_ratio="anyres_max_2",
        image_grid_pinpoints=[[96, 96], [96, 192], [192, 96]],
        vision_feature_layer=-2,
        attention_mode=request.param,
    )
    GeoDiTForMaskedDiffusion.from_pretrained(bundled_checkpoint(), config=config).save_pretrained(folder)
    processor = GeoDiTProcessor.from_pretrained(bundled_checkpoint())
    GeoDiTProcessor(
        image_processor=build_image_processor(config),
        tokenizer=processor.tokenizer,
        num_image_tokens=config.num_image_tokens,
        vision_aspect_ratio="anyres_max_2",
    ).save_pretrained(folder)
    return folder


def test_images_in_tiles(tiled_checkpoint: Path) -> None:
    requests = mixed_requests(30, SIZES)
    with engine(tiled_checkpoint, max_model_len=384) as llm:
        difference = compare(answer(llm, requests), expected_answers(tiled_checkpoint, requests))
    assert not difference.wrong
    assert difference.confidence < TOLERANCE


def test_the_blocks_of_an_image_are_shared_and_those_of_a_prompt_are_not() -> None:
    """An image of 64 tokens fills two blocks of 32."""
    image = mixed_requests(1)[0].image
    queries = ["ship", "tree", "a red car next to the road", "ship"]
    requests = [MixedRequest(image, "detect", query, {"max_denoising_steps": 4}) for query in queries]
    expected = expected_answers(bundled_checkpoint(), requests)
    with engine() as llm:
        outputs = [
            llm.generate(request.prompt(3), SamplingParams(extra_args=request.extra_args), use_tqdm=False)[0]
            for request in requests
        ]
    difference = compare([output.kv_transfer_params["geodit"] for output in outputs], expected)
    # The last prompt is the first one once more: its own blocks are not found either.
    assert [output.num_cached_tokens for output in outputs] == [0, 64, 64, 64]
    assert not difference.wrong
    assert difference.confidence < TOLERANCE


def test_with_full_attention_nothing_is_shared(tiled_checkpoint: Path) -> None:
    image = mixed_requests(1)[0].image
    request = MixedRequest(image, "detect", "ship", {"max_denoising_steps": 2})
    with engine(tiled_checkpoint, max_model_len=384) as llm:
        is_full = llm.llm_engine.vllm_config.model_config.hf_config.attention_mode == "full"
        cached = [
            llm.generate(request.prompt(3), SamplingParams(extra_args=request.extra_args), use_tqdm=False)[0]
            for _ in range(2)
        ][1].num_cached_tokens
    assert (cached == 0) == is_full
