# SPDX-License-Identifier: Apache-2.0
"""Images in tiles: the pixels that LLaVA's models were trained on, and as many tokens as they give features."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import LlavaOnevisionImageProcessorPil, PreTrainedTokenizerFast, SiglipImageProcessorPil
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTModel
from geodit.processing.image_processors import build_image_processor
from geodit.processing.processing_geodit import GeoDiTProcessor

TILE, SIDE = 32, 4  # pixels and patches on the side of a tile
ANYRES = "anyres_max_4"


def make_config(tile: int = TILE, patch: int = TILE // SIDE, mode: str = ANYRES) -> GeoDiTConfig:
    return GeoDiTConfig(vision_config={"image_size": tile, "patch_size": patch}, vision_aspect_ratio=mode)


def make_processor(tokenizer: PreTrainedTokenizerFast, config: GeoDiTConfig) -> GeoDiTProcessor:
    return GeoDiTProcessor(
        build_image_processor(config),
        tokenizer,
        num_image_tokens=config.num_image_tokens,
        vision_aspect_ratio=config.vision_aspect_ratio,
    )


@pytest.fixture(scope="session")
def tiling_processor(tokenizer: PreTrainedTokenizerFast) -> GeoDiTProcessor:
    return make_processor(tokenizer, make_config())


def make_image(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height + width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def llava_pictures(image: Image.Image, grid: tuple[int, int]) -> torch.Tensor:
    """What LLaVA makes of an image with Pillow alone, given the rows and columns of its grid."""
    height, width = grid[0] * TILE, grid[1] * TILE
    scale = min(width / image.width, height / image.height)
    shown = min(math.ceil(image.height * scale), height), min(math.ceil(image.width * scale), width)
    canvas = Image.new("RGB", (width, height))
    canvas.paste(image.resize(shown[::-1]), ((width - shown[1]) // 2, (height - shown[0]) // 2))
    corners = [(x, y) for y in range(0, height, TILE) for x in range(0, width, TILE)]
    pictures = [image.resize((TILE, TILE)), *(canvas.crop((x, y, x + TILE, y + TILE)) for x, y in corners)]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1


class TestPictures:
    @pytest.mark.parametrize(
        ("size", "grid"),
        [((32, 32), (1, 1)), ((10, 20), (1, 1)), ((40, 60), (2, 2)), ((31, 150), (1, 5)), ((400, 90), (6, 2))],
    )
    def test_are_those_of_llava(
        self, tiling_processor: GeoDiTProcessor, size: tuple[int, int], grid: tuple[int, int]
    ) -> None:
        image = make_image(*size)
        inputs = tiling_processor(images=image, return_tensors="pt")
        assert set(inputs) == {"pixel_values", "image_sizes"}
        assert inputs["image_sizes"].tolist() == [list(size)]
        torch.testing.assert_close(inputs["pixel_values"][0], llava_pictures(image, grid), atol=1e-6, rtol=0)

    def test_of_a_batch_are_filled_up_with_zeros(self, tiling_processor: GeoDiTProcessor) -> None:
        small, wide = make_image(20, 20), make_image(30, 150)
        batch = tiling_processor(images=[small, wide], text=["a", "b"], return_tensors="pt")
        assert batch["pixel_values"].shape == (2, 6, 3, TILE, TILE)
        assert batch["image_sizes"].tolist() == [[20, 20], [30, 150]]
        alone = tiling_processor(images=small, return_tensors="pt")["pixel_values"][0]
        assert torch.equal(batch["pixel_values"][0, :2], alone)
        assert not batch["pixel_values"][0, 2:].any()


class TestTokens:
    def test_an_image_takes_as_many_as_are_counted(self, tiling_processor: GeoDiTProcessor) -> None:
        images = [make_image(20, 20), make_image(30, 150)]
        batch = tiling_processor(images=images, text=["ship"] * 2, task="detect", return_tensors="pt")
        found = (batch["input_ids"] == tiling_processor.image_token_id).sum(-1).tolist()
        assert found == [tiling_processor.count_image_tokens(size) for size in ((20, 20), (30, 150))]
        assert found[0] == SIDE**2 + SIDE * (SIDE + 1)
        assert found[1] > found[0]
        # Padding is on the left, and hidden.
        assert batch["attention_mask"][0].sum() == batch["attention_mask"][1].sum() - found[1] + found[0]

    def test_without_tensors_too(self, tiling_processor: GeoDiTProcessor) -> None:
        ids = tiling_processor(images=make_image(30, 150), task="caption")["input_ids"][0]
        assert ids.count(tiling_processor.image_token_id) == tiling_processor.count_image_tokens((30, 150))

    def test_of_one_picture_do_not_depend_on_the_image(self, processor: GeoDiTProcessor) -> None:
        assert processor.count_image_tokens((3000, 50)) == processor.num_image_tokens == 4

    @pytest.mark.parametrize(
        ("tile", "patch", "mode"),
        [(8, 4, "anyres_max_3"), (TILE, 8, ANYRES), (384, 14, ANYRES), (384, 14, "anyres_max_1")],
    )
    def test_are_the_features_of_the_model_for_an_image_of_any_size(
        self, tokenizer: PreTrainedTokenizerFast, tile: int, patch: int, mode: str
    ) -> None:
        config = make_config(tile, patch, mode)
        processor = make_processor(tokenizer, config)

        @settings(max_examples=150, deadline=None)
        @given(size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)))
        def check(size: tuple[int, int]) -> None:
            num_tiles = image_size_to_num_patches(size, config.image_grid_pinpoints, tile)
            features = [torch.zeros(num_tiles, config.num_image_tokens, 1)]
            model = SimpleNamespace(config=config)  # all that packing reads of a model
            packed, _ = GeoDiTModel.pack_image_features(model, features, [size], torch.zeros(1), mode)
            assert processor.count_image_tokens(size) == len(packed[0])

        check()


class TestRefusals:
    def test_several_images_in_a_text(self, tiling_processor: GeoDiTProcessor) -> None:
        images = [make_image(20, 20), make_image(30, 150)]
        with pytest.raises(ValueError, match="'anyres_max_4' a text takes one image, got 2"):
            tiling_processor(images=images, text="<image>then<image>now")
        with pytest.raises(ValueError, match="a text takes one image, got 2"):
            tiling_processor(images=[images], text="then and now")

    @pytest.mark.parametrize(
        ("image_processor", "arguments", "message"),
        [
            (
                SiglipImageProcessorPil(),
                {"vision_aspect_ratio": ANYRES},
                "such as LlavaOnevisionImageProcessorPil, got Sig",
            ),
            (LlavaOnevisionImageProcessorPil(), {}, 'tiles, which goes with `vision_aspect_ratio="anyres_max_<k>"`'),
            (SiglipImageProcessorPil(), {"vision_aspect_ratio": "pad"}, '"square" or "anyres_max_<k>".*got \'pad\''),
            (
                LlavaOnevisionImageProcessorPil(),
                {"vision_aspect_ratio": ANYRES, "num_image_tokens": 730},
                "patches of a square tile, got 730",
            ),
            (
                LlavaOnevisionImageProcessorPil(image_grid_pinpoints=[[384, 400]]),
                {"vision_aspect_ratio": ANYRES},
                "multiples of 384",
            ),
            (
                LlavaOnevisionImageProcessorPil(size={"height": 384, "width": 300}),
                {"vision_aspect_ratio": ANYRES},
                "square tiles.*'width': 300",
            ),
        ],
    )
    def test_an_image_processor_of_another_mode(
        self, tokenizer: PreTrainedTokenizerFast, image_processor: object, arguments: dict[str, object], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            GeoDiTProcessor(image_processor, tokenizer, **arguments)


def test_everything_comes_back(tiling_processor: GeoDiTProcessor, tmp_path: Path) -> None:
    tiling_processor.save_pretrained(tmp_path)
    loaded = GeoDiTProcessor.from_pretrained(tmp_path)
    assert type(loaded.image_processor) is LlavaOnevisionImageProcessorPil
    assert loaded.to_dict() == tiling_processor.to_dict()
    image = make_image(30, 150)
    before, after = (one(images=image, task="caption", return_tensors="pt") for one in (tiling_processor, loaded))
    assert set(before) == set(after) == {"input_ids", "attention_mask", "pixel_values", "image_sizes"}
    for name, value in before.items():
        assert torch.equal(after[name], value), name
