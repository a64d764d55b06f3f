# SPDX-License-Identifier: Apache-2.0
"""Transformers' own tests of models, over GeoDiT: both attention modes, images in tiles, the text core alone."""

import unittest
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers.models.auto import modeling_auto

from geodit.configuration.configuration_geodit import GeoDiTConfig, GeoDiTTextConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion, GeoDiTModel, GeoDiTTextModel
from transformers_suite import GENERATIVE_MODEL, except_for, load_suite_module, without

common = load_suite_module("test_modeling_common")
ConfigTester = load_suite_module("test_configuration_common").ConfigTester

IMAGE_SIZE, PATCH_SIZE = 8, 4
BOS, EOS, MASK, IMAGE = 0, 1, 2, 3


class TextModelTester:
    """Makes configurations and inputs of the text core, as the tests of Transformers ask for them."""

    batch_size = 3
    seq_length = 7
    is_training = True
    num_hidden_layers = 2
    hidden_size = 32
    num_attention_heads = 4
    base_model_class = GeoDiTTextModel

    def __init__(self, vocab_size: int = 99) -> None:
        self.vocab_size = vocab_size

    def get_config(self) -> Any:
        return GeoDiTTextConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=37,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_attention_heads,
            max_position_embeddings=512,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=EOS,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, torch.Tensor]]:
        input_ids = torch.randint(4, 80, (self.batch_size, self.seq_length))
        return self.get_config(), {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}


class ModelTester(TextModelTester):
    """The same for the whole model, with a question and a canvas behind each image."""

    base_model_class = GeoDiTModel
    prompt_length, canvas_length = 5, 4

    def __init__(self, attention_mode: str, *, vocab_size: int = 99) -> None:
        super().__init__(vocab_size)
        self.fields: dict[str, Any] = {"attention_mode": attention_mode}
        self.text_config = self.get_text_config()
        self.vision_config = {
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH_SIZE,
        }
        self.num_image_tokens = (IMAGE_SIZE // PATCH_SIZE) ** 2

    def get_text_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config().to_dict()
        return config

    @property
    def seq_length(self) -> int:  # type: ignore[override]
        return self.num_image_tokens + self.prompt_length + self.canvas_length

    def get_config(self) -> Any:
        return GeoDiTConfig(
            text_config=dict(self.text_config),
            vision_config=dict(self.vision_config),
            image_token_id=IMAGE,
            mask_token_id=MASK,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=EOS,
            **self.fields,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, torch.Tensor]]:
        config, images = self.get_config(), self.make_images()
        placeholders = torch.full((self.batch_size, self.num_image_tokens), IMAGE)
        prompts = torch.randint(4, 80, (self.batch_size, self.prompt_length))
        canvases = torch.full((self.batch_size, self.canvas_length), MASK)
        input_ids = torch.cat([placeholders, prompts, canvases], dim=1)
        return config, {**images, "input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}

    def make_images(self) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.rand(self.batch_size, 3, IMAGE_SIZE, IMAGE_SIZE)}


class TiledModelTester(ModelTester):
    """The same with every image in two tiles, next to a small version of the whole."""

    def __init__(self, attention_mode: str, *, vocab_size: int = 99) -> None:
        super().__init__(attention_mode, vocab_size=vocab_size)
        self.fields |= {
            "vision_aspect_ratio": "anyres_max_4",
            "image_grid_pinpoints": [[IMAGE_SIZE, 2 * IMAGE_SIZE]],
        }
        side = IMAGE_SIZE // PATCH_SIZE
        self.num_image_tokens = side**2 + side * (2 * side + 1)

    def make_images(self) -> dict[str, torch.Tensor]:
        return {
            "pixel_values": torch.rand(self.batch_size, 3, 3, IMAGE_SIZE, IMAGE_SIZE),
            "image_sizes": torch.tensor([[IMAGE_SIZE, 2 * IMAGE_SIZE]] * self.batch_size),
        }


@pytest.fixture(autouse=True)
def known_to_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the models are without a head, and which answer questions about images: the suite asks by name."""
    monkeypatch.setitem(modeling_auto.MODEL_MAPPING_NAMES, "geodit", "GeoDiTModel")
    monkeypatch.setitem(modeling_auto.MODEL_MAPPING_NAMES, "geodit_text", "GeoDiTTextModel")
    name = "GeoDiTForMaskedDiffusion"
    monkeypatch.setitem(modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, "geodit", name)


@pytest.fixture(autouse=True)
def short_tensors() -> Iterator[None]:
    """The suite writes out all weights that it compares, also of those that are equal."""
    with torch._tensor_str.printoptions(threshold=0, edgeitems=1):
        yield


class GeoDiTConformance(common.ModelTesterMixin):  # type: ignore[misc, name-defined]
    """What the tests of the whole model have in common."""

    all_model_classes = (GeoDiTModel, GeoDiTForMaskedDiffusion)
    _is_composite = True

    def make_tester(self, **options: Any) -> ModelTester:
        raise NotImplementedError

    def setUp(self) -> None:
        torch.manual_seed(0)
        self.model_tester = self.make_tester()
        if self._testMethodName.startswith("test_eager_matches_sdpa_inference"):
            self.all_model_classes = (GeoDiTForMaskedDiffusion,)  # the network without its head is a part of it

    def test_bc_torch_dtype(self) -> None:
        # A report of each weight takes longer than to compare it; the first that differs is an error.
        self.subTest = lambda *_: nullcontext()
        super().test_bc_torch_dtype()

    def test_config(self) -> None:
        tester = ConfigTester(self, config_class=GeoDiTConfig, has_text_modality=False)
        tester.run_common_tests()

    def test_model_forward_default_config_values(self) -> None:
        # The special tokens are LLaDA's by default, and a vocabulary without them is refused.
        self.model_tester = self.make_tester(vocab_size=GeoDiTTextConfig().vocab_size)
        super().test_model_forward_default_config_values()


@except_for(GENERATIVE_MODEL)
class TestFullAttention(GeoDiTConformance, unittest.TestCase):
    def make_tester(self, **options: Any) -> ModelTester:
        return ModelTester("full", **options)


@except_for(GENERATIVE_MODEL)
class TestPrefixAttention(GeoDiTConformance, unittest.TestCase):
    def make_tester(self, **options: Any) -> ModelTester:
        return ModelTester("prefix", **options)


@except_for(GENERATIVE_MODEL)
@without("test_eager_matches_sdpa_inference_")  # they ask without images, as in TestFullAttention
class TestTiles(GeoDiTConformance, unittest.TestCase):
    # All pictures of all images come out of the tower together.
    skip_test_image_features_output_shape = True

    def make_tester(self, **options: Any) -> ModelTester:
        return TiledModelTester("full", **options)


class TestTextCore(common.ModelTesterMixin, unittest.TestCase):  # type: ignore[misc, name-defined]
    all_model_classes = (GeoDiTTextModel,)

    def setUp(self) -> None:
        torch.manual_seed(0)
        self.model_tester = TextModelTester()

    def test_config(self) -> None:
        ConfigTester(self, config_class=GeoDiTTextConfig).run_common_tests()
