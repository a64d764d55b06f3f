# SPDX-License-Identifier: Apache-2.0
"""Models small enough to be trained within a test: configurations, networks, and models with their processors."""

import copy
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.tiny.new_model import new_model

GEOMETRY = {
    "text_config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.1,
    },
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 96,
        "patch_size": 48,
        "vision_use_head": False,
    },
}
TEXTS = ["Detect: ship.", "Describe the image.", "a harbor with two ships", "How many ships are there?", "none"]


def build_config(
    *,
    text: Mapping[str, Any] | None = None,
    vision: Mapping[str, Any] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    **fields: Any,
) -> GeoDiTConfig:
    """Return the configuration of a model that a test makes in no time.

    Args:
        text: Fields of the text core that are not as in `GEOMETRY`.
        vision: Fields of the vision tower that are not as in `GEOMETRY`. By default an image is 8 pixels wide and
            has 4 patches.
        tokenizer: Take the vocabulary size and the token ids from it; by default there are 64 tokens, of which 0
            begins a text, 1 ends and pads, 2 is `[M]` and 3 the placeholder of images.
        **fields: Other fields of [`GeoDiTConfig`].
    """
    ids: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    special = {"mask_token_id": 2, "image_token_id": 3}
    vocab_size = 64
    if tokenizer is not None:
        ids = {name: getattr(tokenizer, name) for name in ids}
        special = {
            "mask_token_id": tokenizer.mask_token_id,
            "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        }
        vocab_size = len(tokenizer)
    ids |= {name: fields.pop(name) for name in ids if name in fields}
    return GeoDiTConfig(
        text_config={**GEOMETRY["text_config"], "vocab_size": vocab_size, **ids, **(text or {})},
        vision_config={**GEOMETRY["vision_config"], "image_size": 8, "patch_size": 4, **(vision or {})},
        **ids,
        **(special | fields),
    )


def build_network(
    config: GeoDiTConfig, *, weight_scale: float | None = None, dtype: torch.dtype = torch.float32
) -> GeoDiTForMaskedDiffusion:
    """Return a network in evaluation mode with random weights: the same weights each time.

    Args:
        config: Its configuration.
        weight_scale: Standard deviation of all matrices. At 0.3 every position has clear preferences, so that no
            choice depends on rounding errors. By default weights are as the configuration says.
        dtype: Type of the weights, in which they are drawn where there is a scale.
    """
    torch.manual_seed(0)
    model = GeoDiTForMaskedDiffusion(config).eval().to(dtype)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if weight_scale is not None and parameter.dim() > 1:
            parameter.data.normal_(0, weight_scale, generator=generator)
    return model


def build_model(
    *,
    text: Mapping[str, Any] | None = None,
    vision: Mapping[str, Any] | None = None,
    texts: Sequence[str] = TEXTS,
    **fields: Any,
) -> tuple[Any, Any]:
    """Return a model and its processor: the same weights each time.

    Args:
        text: Fields of the text core that are not as in `GEOMETRY`.
        vision: Fields of the vision tower that are not as in `GEOMETRY`.
        texts: What the tokenizer is trained on.
        **fields: Other fields of the geometry.
    """
    geometry = {
        "text_config": {**GEOMETRY["text_config"], **(text or {})},
        "vision_config": {**GEOMETRY["vision_config"], **(vision or {})},
        **fields,
    }
    parts, random_state = _new_model(json.dumps(geometry), tuple(texts))
    torch.set_rng_state(random_state)
    return copy.deepcopy(parts)


@functools.cache
def _new_model(geometry: str, texts: tuple[str, ...]) -> tuple[tuple[Any, Any], torch.Tensor]:
    """Make a model and its processor to take copies of, and say how random numbers go on from there."""
    torch.manual_seed(0)
    parts = new_model(json.loads(geometry), texts, location_bins=16, vocab_size=400)
    return parts, torch.get_rng_state()
