# SPDX-License-Identifier: Apache-2.0
"""The processor under the tests that Transformers has for its own processors, whole images and tiles alike."""

from __future__ import annotations

import unittest
from typing import Any

import pytest
from transformers import (
    LlavaOnevisionImageProcessorPil,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    SiglipImageProcessorPil,
)

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.processing.image_processors import build_image_processor
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.tokenization import build_tokenizer
from transformers_suite import TILING_PROCESSOR, except_for, load_suite_module

ProcessorTesterMixin = load_suite_module("test_processing_common").ProcessorTesterMixin


class GeoDiTProcessorTester(ProcessorTesterMixin):
    """How the suite makes a processor: 32 pixels on the side of a picture, 4 patches on it."""

    processor_class = GeoDiTProcessor
    vision_aspect_ratio = "square"

    @classmethod
    def config(cls) -> GeoDiTConfig:
        return GeoDiTConfig(
            vision_config={"image_size": 32, "patch_size": 8}, vision_aspect_ratio=cls.vision_aspect_ratio
        )

    @classmethod
    def _setup_tokenizer(cls) -> PreTrainedTokenizerFast:
        return build_tokenizer(["lower newer", " upper older longer string"], vocab_size=512, location_bins=16)

    @classmethod
    def _setup_image_processor(cls) -> SiglipImageProcessorPil | LlavaOnevisionImageProcessorPil:
        return build_image_processor(cls.config())

    @classmethod
    def prepare_processor_dict(cls) -> dict[str, Any]:
        return {"num_image_tokens": cls.config().num_image_tokens, "vision_aspect_ratio": cls.vision_aspect_ratio}

    @staticmethod
    def does_processor_return_mm_offsets(processor_class: type[ProcessorMixin], method_name: str) -> bool:
        # The suite compares with the first base class, which is a mixin of ours.
        return getattr(processor_class, method_name) is not getattr(ProcessorMixin, method_name)


class TestSquareProcessor(GeoDiTProcessorTester, unittest.TestCase):
    def test_sees_one_picture_of_an_image(self) -> None:
        inputs = self.get_processor()(images=self.prepare_images_inputs(), return_tensors="pt")
        assert inputs["pixel_values"].shape == (1, 3, 32, 32)


@except_for(TILING_PROCESSOR)
class TestTilingProcessor(GeoDiTProcessorTester, unittest.TestCase):
    vision_aspect_ratio = "anyres_max_4"

    def test_sees_several_pictures_of_an_image(self) -> None:
        inputs = self.get_processor()(images=self.prepare_images_inputs(), return_tensors="pt")
        assert inputs["pixel_values"].shape[1] > 1
        assert inputs["image_sizes"].tolist() == [[30, 400]]


def test_what_is_excluded_exists() -> None:
    with pytest.raises(ValueError, match=r"no tests test_gone: take them off"):
        except_for({"test_gone": "", "test_model_input_names": ""})(type("Suite", (ProcessorTesterMixin,), {}))
