# SPDX-License-Identifier: Apache-2.0
"""How an image becomes features as wide as the text core: vision tower, projector and, with tiles, their packing.

The network is one user of it. Another is an engine that runs the text core by layers of its own and encodes images as
the network does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava_onevision.modeling_llava_onevision import (
    LlavaOnevisionModel,
    image_size_to_num_patches,
)
from transformers.models.siglip.modeling_siglip import SiglipVisionModel

from geodit.configuration.anyres_geodit import anyres_max_tiles
from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.older_transformers_geodit import selected_hidden_states

__all__ = ["TOWER_FLAGS", "GeoDiTMultiModalProjector", "ImageEncoderMixin"]

TOWER_FLAGS = ("output_attentions", "output_hidden_states")
"""What the vision tower can be asked for beside its last hidden state."""


class GeoDiTMultiModalProjector(nn.Module):
    """Two linear maps with an activation between them: patch features `(.., d_v)` to text width `(.., d)`."""

    def __init__(self, config: GeoDiTConfig):
        super().__init__()
        text_size = config.text_config.hidden_size
        hidden_size = config.projector_hidden_size or text_size
        self.linear_1 = nn.Linear(config.vision_config.hidden_size, hidden_size)
        self.act = ACT2FN[config.projector_hidden_act]
        self.linear_2 = nn.Linear(hidden_size, text_size)

    def forward(self, image_features: torch.Tensor) -> torch.Tensor:
        """Project features."""
        hidden_states: torch.Tensor = self.linear_2(self.act(self.linear_1(image_features)))
        return hidden_states


class ImageEncoderMixin:
    """Encodes images by the parts of the module that it is mixed into."""

    config: GeoDiTConfig
    vision_tower: SiglipVisionModel
    multi_modal_projector: GeoDiTMultiModalProjector
    image_newline: nn.Parameter | None

    # Of its model it reads the configuration alone, whose fields have the same names here.
    pack_image_features: Any = LlavaOnevisionModel.pack_image_features

    def encode_by(
        self,
        tower: Callable[..., BaseModelOutputWithPooling],
        pixel_values: torch.Tensor,
        image_sizes: torch.Tensor | None = None,
        **kwargs: object,
    ) -> BaseModelOutputWithPooling:
        """Encode images by the vision tower, or by something that stands for it.

        Args:
            tower: The tower, or what gives its outputs.
            pixel_values: As for [`GeoDiTModel.get_image_features`].
            image_sizes: Likewise.
            **kwargs: Likewise.

        Raises:
            ValueError: when the tensors are not those of the configuration's `vision_aspect_ratio`.
        """
        mode = self.config.vision_aspect_ratio
        tiled = anyres_max_tiles(mode) is not None
        expected = (len(pixel_values), 2) if tiled else None
        given = None if image_sizes is None else tuple(image_sizes.shape)
        if pixel_values.dim() != (5 if tiled else 4) or given != expected:
            takes = "(images, tiles, 3, H, W) and image_sizes (images, 2)" if tiled else "(images, 3, H, W) alone"
            raise ValueError(
                f"With vision_aspect_ratio={mode!r} the model takes pixel_values {takes}, got shapes "
                f"{tuple(pixel_values.shape)} and {given}. Give the processor the vision_aspect_ratio of the model."
            )
        if image_sizes is None:
            outputs, features = self._encode(tower, pixel_values, kwargs)
            outputs.pooler_output = features
            return outputs
        sizes = image_sizes.tolist()
        num_tiles = self._count_tiles(sizes, pixel_values.shape[1])
        tiles = torch.cat([image[:count] for image, count in zip(pixel_values, num_tiles, strict=True)])
        outputs, features = self._encode(tower, tiles, kwargs)
        packed, _ = self.pack_image_features(
            features.split(num_tiles), sizes, image_newline=self.image_newline, vision_aspect_ratio=mode
        )
        outputs.pooler_output = tuple(packed)  # type: ignore[assignment]
        return outputs

    def _count_tiles(self, sizes: list[list[int]], available: int) -> list[int]:
        """Return how many pictures each image of (height, width) `sizes` is, of `available` ones in the tensor."""
        config = self.config
        num_tiles = [
            image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size)
            for size in sizes
        ]
        if max(num_tiles) > available:
            raise ValueError(
                f"Images of (height, width) {sizes} are seen in {num_tiles} tiles, but pixel_values hold "
                f"{available}: the image_grid_pinpoints of processor and model differ."
            )
        return num_tiles

    def _encode(
        self,
        tower: Callable[..., BaseModelOutputWithPooling],
        pixel_values: torch.Tensor,
        kwargs: Mapping[str, object],
    ) -> tuple[BaseModelOutputWithPooling, torch.Tensor]:
        """Return the tower's output for pictures `(pictures, 3, H, W)`, and projected patches `(pictures, n, d)`."""
        layer = self.config.vision_feature_layer
        last = layer in (-1, self.config.vision_config.num_hidden_layers)
        flags = {name: kwargs[name] for name in TOWER_FLAGS if kwargs.get(name) is not None}
        use_last_hidden_state = last and self.config.vision_post_layernorm
        if not use_last_hidden_state and not flags.get("output_hidden_states"):
            # Only this one is kept. What stands for the tower runs its layers itself.
            flags["output_hidden_states"] = selected_hidden_states(layer) if tower is self.vision_tower else [layer]
        outputs = tower(pixel_values.to(self.vision_tower.dtype), return_dict=True, **flags)
        if use_last_hidden_state:
            features = outputs.last_hidden_state
        else:
            features = cast(tuple[torch.Tensor, ...], outputs.hidden_states)[layer]
            if self.config.vision_post_layernorm:
                features = self.vision_tower.post_layernorm(features)
        return outputs, self.multi_modal_projector(features)
