# SPDX-License-Identifier: Apache-2.0
"""A new small model from a geometry file: tokenizer, processor and random weights that fit each other."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.foreign_files_geodit import refusing_broken_files
from geodit.configuration.text_files import read_json_object
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.image_processors import build_image_processor
from geodit.processing.processing_geodit import COMPACT_CHAT_TEMPLATE, GeoDiTProcessor, location_token
from geodit.processing.tokenization import build_tokenizer
from geodit.weights import vision_towers


def read_geometry(path: str | Path) -> dict[str, Any]:
    """Read a geometry file: a JSON object of [`GeoDiTConfig`] fields without token ids.

    Raises:
        ValueError: when the file cannot be read or is no JSON object.
    """
    return read_json_object(path)


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
    location_ids = cast(list[int], tokenizer.convert_tokens_to_ids([location_token(i) for i in range(location_bins)]))
    for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
        init_location_embeddings(cast(torch.Tensor, embeddings.weight), location_ids)
    if vision_tower is not None:
        load_vision_tower(model, vision_tower)
    processor = GeoDiTProcessor(
        build_image_processor(config),
        tokenizer,
        chat_template=COMPACT_CHAT_TEMPLATE,
        num_image_tokens=config.num_image_tokens,
        vision_aspect_ratio=config.vision_aspect_ratio,
    )
    return model, processor


def load_vision_tower(model: GeoDiTForMaskedDiffusion, folder: str | Path) -> None:
    """Give a model, in place, the weights of a [`~transformers.SiglipVisionModel`] of its own tower's shape.

    Raises:
        ValueError: when the tower is damaged or of other shapes.
    """
    tower = vision_towers.load_vision_tower(folder)
    with refusing_broken_files(folder):
        model.model.vision_tower.load_state_dict(tower.state_dict())


@torch.no_grad()
def init_location_embeddings(weight: torch.Tensor, location_ids: list[int], length_scale: float = 3.0) -> None:
    """Place the location tokens on a smooth curve, in place, so that what one learns carries over to its neighbours.

    Rows are random Fourier features of the bin's index: their inner product falls off as a Gaussian of the distance
    between two bins (Rahimi and Recht, 2007).

    Args:
        weight: `(V, d)`; the rows keep the standard deviation that the others have.
        location_ids: The rows of the location tokens, in the order of their bins.
        length_scale: Distance, in bins, over which tokens are alike.
    """
    if not location_ids:
        return
    frequency = torch.randn(weight.shape[1]) / length_scale
    phase = 2 * math.pi * torch.rand(weight.shape[1])
    bins = torch.arange(len(location_ids))[:, None]
    weight[location_ids] = (weight.std() * math.sqrt(2) * torch.cos(frequency * bins + phase)).to(weight.dtype)
