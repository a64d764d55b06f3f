# SPDX-License-Identifier: Apache-2.0
"""A new small model from a geometry file: tokenizer, processor and random weights that fit each other."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import SiglipImageProcessorPil, SiglipVisionModel

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import COMPACT_CHAT_TEMPLATE, GeoDiTProcessor
from geodit.processing.tokenization import build_tokenizer


def read_geometry(path: str | Path) -> dict[str, Any]:
    """Read a geometry file: a JSON object of [`GeoDiTConfig`] fields without token ids.

    Raises:
        ValueError: when the file is no JSON object.
    """
    try:
        geometry = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(geometry, dict):
        raise ValueError(f"{path} must hold a JSON object of GeoDiTConfig fields.")
    return geometry


def new_model(
    geometry: dict[str, Any],
    texts: Iterable[str],
    *,
    location_bins: int,
    vocab_size: int = 2048,
    vision_tower: str | Path | None = None,
) -> tuple[GeoDiTForMaskedDiffusion, GeoDiTProcessor]:
    """Make a model with random weights, and the processor for it.

    Args:
        geometry: Fields of [`GeoDiTConfig`]; token ids and vocabulary size come from the tokenizer.
        texts: What the tokenizer is trained on.
        location_bins: Number of location tokens.
        vocab_size: Size of the vocabulary at most.
        vision_tower: A folder with a [`~transformers.SiglipVisionModel`] to start the tower from.

    Returns:
        The model and its processor.
    """
    tokenizer = build_tokenizer(texts, vocab_size=vocab_size, location_bins=location_bins)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text_config = {**geometry.get("text_config", {}), "vocab_size": len(tokenizer), **ids}
    config = GeoDiTConfig(
        **{
            **geometry,
            "text_config": text_config,
            "mask_token_id": tokenizer.mask_token_id,
            "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
            **ids,
        }
    )
    model = GeoDiTForMaskedDiffusion(config)
    if vision_tower is not None:
        pretrained = SiglipVisionModel.from_pretrained(vision_tower)
        model.model.vision_tower.load_state_dict(pretrained.state_dict())
    side = config.vision_config.image_size
    processor = GeoDiTProcessor(
        SiglipImageProcessorPil(size={"height": side, "width": side}),
        tokenizer,
        chat_template=COMPACT_CHAT_TEMPLATE,
        num_image_tokens=config.num_image_tokens,
    )
    return model, processor
