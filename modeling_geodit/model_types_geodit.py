# SPDX-License-Identifier: Apache-2.0
"""What decoding uses of a model: the modules that the model itself imports name it by these types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import nn
from transformers.generation.configuration_utils import GenerationConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.siglip.modeling_siglip import SiglipVisionModel

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.module_checks_geodit import HasModules

__all__ = [
    "ConfiguredModel",
    "ImageFeatures",
    "MaskedDiffusionModel",
    "Network",
    "TextCore",
    "TextOutput",
    "head_dim",
]

ImageFeatures = torch.Tensor | tuple[torch.Tensor, ...]
"""Encoded images: `(images, n, d)`, or one `(n_i, d)` an image where images differ in their number of features."""


class TextOutput(Protocol):
    """What is used of the output of a text core."""

    @property
    def last_hidden_state(self) -> torch.Tensor:
        """`(B, L, d)`, after the final norm."""


class TextCore(HasModules, Protocol):
    """What is used of a `GeoDiTTextModel`."""

    @property
    def layers(self) -> nn.ModuleList:
        """Its decoder layers."""

    @property
    def norm(self) -> nn.Module:
        """The norm after the last of them."""

    @property
    def rotary_emb(self) -> nn.Module:
        """Gives cosines and sines of positions."""

    def __call__(self, **inputs: object) -> TextOutput:
        """Run it."""


def head_dim(text_core: TextCore) -> int:
    """Return the width of a head of attention."""
    return int(cast(LlamaAttention, text_core.layers[0].self_attn).head_dim)


class Network(Protocol):
    """What is used of a `GeoDiTModel`."""

    @property
    def vision_tower(self) -> SiglipVisionModel:
        """The vision tower."""

    @property
    def language_model(self) -> TextCore:
        """The text core."""

    def encode_by(
        self,
        tower: Callable[..., BaseModelOutputWithPooling],
        pixel_values: torch.Tensor,
        image_sizes: torch.Tensor | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode images by something that stands for the vision tower."""

    def place_image_features(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor, image_features: ImageFeatures
    ) -> torch.Tensor:
        """Put images where their placeholders stand."""


class ConfiguredModel(Protocol):
    """What a plan of decoding needs of a model: its numbers without its weights, which a server may hold elsewhere."""

    @property
    def config(self) -> GeoDiTConfig:
        """Its configuration."""

    @property
    def generation_config(self) -> GenerationConfig:
        """How it answers where a call does not say."""


class MaskedDiffusionModel(HasModules, ConfiguredModel, Protocol):
    """What is used of a `GeoDiTForMaskedDiffusion`."""

    @property
    def model(self) -> Network:
        """The network without the output projection."""

    @property
    def get_image_features(self) -> Callable[..., BaseModelOutputWithPooling]:
        """Encodes images."""

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the token embeddings `(V, d)`."""

    def get_output_embeddings(self) -> nn.Module:
        """Return the output projection `(V, d)`."""
