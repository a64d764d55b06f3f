# SPDX-License-Identifier: Apache-2.0
"""The networks that are compared: a GeoDiT with random weights, and an autoregressive model with the same weights."""

from __future__ import annotations

import os
from typing import cast

import torch
from transformers import AutoModelForImageTextToText, LlavaConfig, LlavaForConditionalGeneration
from transformers.initialization import no_init_weights

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion

__all__ = ["autoregressive_peer", "build_model", "count_parameters"]

# Named, so that no contestant runs on another implementation of attention than the others.
_ATTENTION = "sdpa"


def build_model(
    config: GeoDiTConfig, dtype: torch.dtype, device: torch.device, seed: int = 0
) -> GeoDiTForMaskedDiffusion:
    """Make a GeoDiT with random weights, in evaluation mode.

    Args:
        config: Its configuration.
        dtype: Of the weights. Rotary frequencies stay float32, as `from_pretrained` leaves them.
        device: Where it shall be.
        seed: Of the weights, which are others on another sort of device; the global random numbers are left as they
            are.

    Raises:
        ValueError: If the weights alone are more than the machine's memory.
    """
    needed = count_parameters(config)["total"] * dtype.itemsize
    if device.type == "cpu" and (available := _physical_memory()) is not None and needed > available:
        raise ValueError(
            f"the weights take {needed / 1e9:.1f} GB in {str(dtype).removeprefix('torch.')}, but this machine has "
            f"{available / 1e9:.1f} GB of memory: choose a smaller shape or bfloat16"
        )
    # Made where they shall be: a processor takes minutes for what a GPU draws in a second.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation=_ATTENTION)
    return cast(GeoDiTForMaskedDiffusion, model.eval())


def autoregressive_peer(model: GeoDiTForMaskedDiffusion) -> LlavaForConditionalGeneration:
    """Make the autoregressive model of the same layers: Llava with a SigLIP tower and a Llama core, both stock.

    Its parameters are those of `model`, not copies. Two things differ: attention in the text core is causal, and
    Llava takes the features of the tower's last layer before the final layer norm, which it computes all the same.
    The work of a pass over given tokens is therefore the same.

    Args:
        model: A GeoDiT with `vision_aspect_ratio="square"` and the projector's default width, as this package builds
            them.
    """
    config = model.config
    peer_config = LlavaConfig(
        text_config={**config.text_config.to_dict(), "model_type": "llama", "use_cache": True},
        vision_config=config.vision_config.to_dict(),
        image_token_index=cast(int, config.image_token_id),
        image_seq_length=config.num_image_tokens,
        projector_hidden_act=config.projector_hidden_act,
        # All patches of the last layer: SigLIP has no class token that "default" would drop.
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=config.tie_word_embeddings,
    )
    with no_init_weights(), model.device:
        peer = AutoModelForImageTextToText.from_config(peer_config, dtype=model.dtype, attn_implementation=_ATTENTION)
    # Strict: that all names match is the proof that the layers are the same.
    peer.load_state_dict(model.state_dict(), assign=True)
    return cast(LlavaForConditionalGeneration, peer.eval())


def count_parameters(config: GeoDiTConfig) -> dict[str, int]:
    """Count the parameters of a model without making it: `total`, `text` (with embeddings), `vision`, `projector`."""
    with torch.device("meta"):
        model = GeoDiTForMaskedDiffusion(config)
    parts = {"vision": model.model.vision_tower, "projector": model.model.multi_modal_projector}
    counts = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}
    total = sum(parameter.numel() for parameter in model.parameters())
    return {"total": total, "text": total - sum(counts.values()), **counts}


def _physical_memory() -> int | None:
    """Return the bytes of physical memory, or `None` where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
