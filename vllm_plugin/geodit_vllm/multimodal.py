# SPDX-License-Identifier: Apache-2.0
"""The image of a request, as vLLM's multi-modal processing asks for it: one at most, square or in tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from transformers import BatchFeature
from vllm.exceptions import VLLMValidationError
from vllm.inputs import MultiModalInput
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import ImageProcessorItems, ImageSize
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    ProcessorInputs,
    PromptReplacement,
    TimingContext,
)

__all__ = ["GeoDiTDummyInputsBuilder", "GeoDiTMultiModalProcessor", "GeoDiTProcessingInfo"]


class GeoDiTProcessingInfo(BaseProcessingInfo):
    """What is known of images before there is one."""

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """One image."""
        return {"image": 1}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        """Tokens of the largest image."""
        return {"image": self.count_image_tokens(self.largest_image())}

    def count_image_tokens(self, size: ImageSize) -> int:
        """Return how many tokens an image takes."""
        return int(self.get_hf_processor().count_image_tokens((size.height, size.width)))

    def largest_image(self) -> ImageSize:
        """Return the size of an image that takes as many tokens as any."""
        config = self.get_hf_config()
        if config.image_grid_pinpoints is None:
            return ImageSize(config.vision_config.image_size, config.vision_config.image_size)
        # An image as large as its grid fills it without a border.
        sizes = [ImageSize(width, height) for height, width in config.image_grid_pinpoints]
        return max(sizes, key=self.count_image_tokens)


class GeoDiTDummyInputsBuilder(BaseDummyInputsBuilder[GeoDiTProcessingInfo]):
    """The largest input, by which vLLM measures memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """Return a text with the placeholder of each image."""
        return str(self.info.get_hf_processor().image_token) * mm_counts.get("image", 0)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]) -> Any:
        """Return the largest images."""
        size = self.info.largest_image()
        return {
            "image": self._get_dummy_images(
                width=size.width,
                height=size.height,
                num_images=mm_counts.get("image", 0),
                overrides=mm_options.get("image"),
            )
        }


class GeoDiTMultiModalProcessor(BaseMultiModalProcessor[GeoDiTProcessingInfo]):
    """Puts the tokens of an image where its placeholder stands."""

    def _call_hf_processor(self, hf_data: Mapping[str, object], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        processed: BatchFeature = super()._call_hf_processor(hf_data, hf_kwargs)
        # The pixels have other sizes by now, and answers are given in pixels of the original.
        images = ImageProcessorItems(cast(Any, hf_data)["images"])
        sizes = [images.get_image_size(index) for index in range(images.get_count())]
        processed["original_sizes"] = torch.tensor([(size.height, size.width) for size in sizes])
        return processed

    def _get_mm_fields_config(
        self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {
            "pixel_values": MultiModalFieldConfig.batched("image"),
            # The grid of tiles follows from it on the host.
            "image_sizes": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
            "original_sizes": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
        }

    def apply(self, inputs: ProcessorInputs, timing_ctx: TimingContext) -> MultiModalInput:
        """Refuse what vLLM would answer with HTTP 500: prompts that lack the placeholder of their image.

        And images that are prepared in another way than the model was made for, which it may be unable to take.
        """
        if inputs.hf_processor_mm_kwargs:
            raise VLLMValidationError(
                "mm_processor_kwargs are not served: the model sees images as it was made for, leave them out"
            )
        given = inputs.mm_data_items.get_all_counts().get("image", 0)
        token = self.info.get_hf_config().image_token_id
        if given and token not in inputs.prompt:
            raise VLLMValidationError(
                "the prompt has no placeholder for its image: write one in front of the text, and do not cut it off "
                "by truncate_prompt_tokens"
            )
        return super().apply(inputs, timing_ctx)

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[PromptReplacement]:
        token = self.info.get_hf_config().image_token_id

        def tokens_of(index: int) -> list[int]:
            # An image that vLLM has processed before is not among the items, and is not asked for.
            images = mm_items.get_items("image", ImageProcessorItems)
            return [token] * self.info.count_image_tokens(images.get_image_size(index))

        return [PromptReplacement(modality="image", target=[token], replacement=tokens_of)]
