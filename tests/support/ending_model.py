# SPDX-License-Identifier: Apache-2.0
"""A tiny model with random weights and clear preferences, for which EOS is not unlikely."""

from functools import cache

from on_device import OnDevice
from tiny_models import build_config, build_network

V, MASK, IMAGE, EOS, OTHER_EOS, PAD = 32, 27, 28, 29, 30, 31


@cache
def build_ending_model(
    attention_mode: str, num_layers: int, num_key_value_heads: int, attn_implementation: str = "sdpa"
) -> OnDevice:
    """Make the model, once for each set of arguments."""
    config = build_config(
        text={
            "hidden_size": 16,
            "intermediate_size": 32,
            "vocab_size": V,
            "num_hidden_layers": num_layers,
            "num_key_value_heads": num_key_value_heads,
        },
        mask_token_id=MASK,
        image_token_id=IMAGE,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
        attention_mode=attention_mode,
    )
    config._attn_implementation = attn_implementation
    model = build_network(config, weight_scale=0.3)
    model.model.language_model.norm.weight.data[0] = 3.0
    model.lm_head.weight.data[EOS, 0] += 1.5
    return OnDevice(model)
