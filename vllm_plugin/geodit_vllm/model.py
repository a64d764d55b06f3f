# SPDX-License-Identifier: Apache-2.0
"""The network in vLLM's layers: Llama's for the text core, GeoDiT's own modules for the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers.models.siglip.modeling_siglip import SiglipVisionModel
from vllm.config import VllmConfig
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.models.interfaces import SupportsLoRA, SupportsMultiModal, SupportsQuant
from vllm.model_executor.models.llama import LlamaDecoderLayer, LlamaModel
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import AutoWeightsLoader, WeightsMapper, maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY

from geodit.configuration.anyres_geodit import anyres_max_tiles
from geodit.modeling_geodit.image_encoding_geodit import GeoDiTMultiModalProjector, ImageEncoderMixin
from geodit.modeling_geodit.prompts_geodit import pooled_features
from geodit_vllm.multimodal import GeoDiTDummyInputsBuilder, GeoDiTMultiModalProcessor, GeoDiTProcessingInfo
from geodit_vllm.padded_attention import GeoDiTAttention

__all__ = ["GeoDiTForVllm"]


@MULTIMODAL_REGISTRY.register_processor(
    GeoDiTMultiModalProcessor, info=GeoDiTProcessingInfo, dummy_inputs=GeoDiTDummyInputsBuilder
)
class GeoDiTForVllm(ImageEncoderMixin, nn.Module, SupportsMultiModal, SupportsLoRA, SupportsQuant):
    """GeoDiT for vLLM. Weights, and adapters of the text core, have the names that GeoDiT gives them."""

    hf_to_vllm_mapper = WeightsMapper(orig_to_new_prefix={"model.": ""})
    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
    embedding_modules = {"embed_tokens": "input_embeddings", "lm_head": "output_embeddings"}

    image_newline: nn.Parameter | None
    logits_rows: torch.Tensor | None = None
    """Which of the rows that [`compute_logits`] is given next are of canvases, if not all."""

    @staticmethod
    def get_model_state_cls() -> type:
        """Return what prepares the steps of this model."""
        from geodit_vllm.model_state import GeoDiTModelState

        return GeoDiTModelState

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """Return what stands for an image in the text of a prompt."""
        return "<image>" if modality == "image" else None

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config = self.config = vllm_config.model_config.hf_config
        text = config.text_config
        with self._mark_tower_model(vllm_config, {"image"}):  # type: ignore[operator]  # of vLLM, unknown here
            self.vision_tower = SiglipVisionModel(config.vision_config)
            self.multi_modal_projector = GeoDiTMultiModalProjector(config)
            self.image_newline = None
            if anyres_max_tiles(config.vision_aspect_ratio) is not None:
                self.image_newline = nn.Parameter(torch.empty(text.hidden_size))
        with self._mark_language_model(vllm_config):  # type: ignore[operator]
            self.language_model = LlamaModel(
                vllm_config=vllm_config.with_hf_config(text, architectures=["LlamaForCausalLM"]),
                prefix=maybe_prefix(prefix, "language_model"),
                layer_type=partial(LlamaDecoderLayer, attn_layer_type=GeoDiTAttention, config=text),
            )
        self.lm_head = ParallelLMHead(
            text.vocab_size,
            text.hidden_size,
            quant_config=vllm_config.quant_config,
            prefix=maybe_prefix(prefix, "lm_head"),
        )
        if config.tie_word_embeddings:
            self.lm_head = self.lm_head.tie_weights(self.language_model.embed_tokens)
        self.logits_processor = LogitsProcessor(text.vocab_size)

    def get_mm_mapping(self) -> MultiModelKeys:
        """Return which module is what, for adapters."""
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector="multi_modal_projector", tower_model="vision_tower"
        )

    def embed_multimodal(
        self,
        pixel_values: torch.Tensor | Sequence[torch.Tensor] | None = None,
        image_sizes: torch.Tensor | None = None,
        **kwargs: object,
    ) -> list[torch.Tensor]:
        """Encode images.

        Args:
            pixel_values: `(images, 3, H, W)`, or with tiles `(images, T, 3, H, W)`, or `(T_i, 3, H, W)` of each image
                where they differ in their number of tiles.
            image_sizes: `(images, 2)` on the host, with tiles: height and width in pixels.
            **kwargs: Nothing.

        Returns:
            `(n_i, d)` of each image.
        """
        if pixel_values is None:
            return []
        if not isinstance(pixel_values, torch.Tensor):
            pixel_values = pad_sequence(list(pixel_values), batch_first=True)
        outputs = self.encode_by(self.vision_tower, pixel_values, image_sizes)
        return list(pooled_features(outputs))

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: object,
    ) -> torch.Tensor:
        """Return hidden states `(T, d)` after the final norm."""
        hidden_states: torch.Tensor = self.language_model(
            input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds
        )
        return hidden_states

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """Return logits `(rows, V)`; see `logits_rows`."""
        rows, self.logits_rows = self.logits_rows, None
        if rows is not None:
            hidden_states = hidden_states[rows]
        if hidden_states.shape[0] == 0:
            # A step of prefills. Gathering no rows from several ranks divides by zero on a CPU.
            return hidden_states.new_zeros(0, self.config.text_config.vocab_size)
        logits: torch.Tensor | None = self.logits_processor(self.lm_head, hidden_states)
        return logits

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Load the weights of a checkpoint of GeoDiT."""
        loaded: set[str] = AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)
        return loaded
