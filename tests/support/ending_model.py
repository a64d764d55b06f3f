# SPDX-License-Identifier: Apache-2.0
"""A tiny model with random weights and clear preferences, for which EOS is not unlikely."""

from functools import cache

import torch

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from on_device import OnDevice

V, MASK, IMAGE, EOS, OTHER_EOS, PAD = 32, 27, 28, 29, 30, 31


@cache
def build_ending_model(
    attention_mode: str, num_layers: int, num_key_value_heads: int, attn_implementation: str = "sdpa"
) -> OnDevice:
    """Make the model, once for each set of arguments."""
    part = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = GeoDiTConfig(
        text_config={
            **part, "vocab_size": V, "num_hidden_layers": num_layers, "num_key_value_heads": num_key_value_heads,
            "bos_token_id": None, "eos_token_id": EOS, "pad_token_id": PAD,
        },
        vision_config={**part, "num_hidden_layers": 1, "image_size": 8, "patch_size": 4, "vision_use_head": False},
        mask_token_id=MASK, image_token_id=IMAGE, bos_token_id=None, eos_token_id=EOS, pad_token_id=PAD,
        attention_mode=attention_mode,
    )  # fmt: skip
    config._attn_implementation = attn_implementation
    model = GeoDiTForMaskedDiffusion(config).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.3, generator=generator)
    model.model.language_model.norm.weight.data[0] = 3.0
    model.lm_head.weight.data[EOS, 0] += 1.5
    return OnDevice(model)
