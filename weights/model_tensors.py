# SPDX-License-Identifier: Apache-2.0
"""Names and shapes of the tensors of a GeoDiT model, and the part of the model that each belongs to."""

from __future__ import annotations

import torch

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion

__all__ = [
    "EMBEDDINGS_WEIGHT",
    "FINAL_NORM_WEIGHT",
    "IMAGE_NEWLINE",
    "IMAGE_NEWLINE_VECTOR",
    "MODEL_PARTS",
    "OUTPUT_PROJECTION",
    "OUTPUT_PROJECTION_WEIGHT",
    "PROJECTOR",
    "PROJECTOR_PREFIX",
    "TEXT_CORE",
    "TEXT_LAYERS_PREFIX",
    "VISION_TOWER",
    "VISION_TOWER_PREFIX",
    "part_of",
    "tensor_shapes",
]

# Names of modules, and of one parameter, as they stand between the dots of a tensor's name.
VISION_TOWER = "vision_tower"
PROJECTOR = "multi_modal_projector"
TEXT_CORE = "language_model"
IMAGE_NEWLINE = "image_newline"
OUTPUT_PROJECTION = "lm_head"

# Names in `GeoDiTForMaskedDiffusion.state_dict()`, or how they begin.
VISION_TOWER_PREFIX = f"model.{VISION_TOWER}."
PROJECTOR_PREFIX = f"model.{PROJECTOR}."
TEXT_LAYERS_PREFIX = f"model.{TEXT_CORE}.layers."
EMBEDDINGS_WEIGHT = f"model.{TEXT_CORE}.embed_tokens.weight"
FINAL_NORM_WEIGHT = f"model.{TEXT_CORE}.norm.weight"
IMAGE_NEWLINE_VECTOR = f"model.{IMAGE_NEWLINE}"
OUTPUT_PROJECTION_WEIGHT = f"{OUTPUT_PROJECTION}.weight"

MODEL_PARTS = ("vision_tower", "projector", "language_model")
"""The parts of a GeoDiT model: SigLIP, the projector, and the text core with its output projection.

The vector that ends the rows of an image in tiles is one more embedding of the text core, as in LLaVA's training.
"""

_PART_OF_MODULE = {
    VISION_TOWER: "vision_tower",
    PROJECTOR: "projector",
    TEXT_CORE: "language_model",
    IMAGE_NEWLINE: "language_model",
    OUTPUT_PROJECTION: "language_model",
}


def part_of(name: str) -> str | None:
    """Return the part of the model that a tensor belongs to, one of `MODEL_PARTS`.

    Args:
        name: Name of the tensor, with or without the prefixes that wrappers such as PEFT put before it.

    Returns:
        The part, or `None` for a tensor of no part.
    """
    return next((_PART_OF_MODULE[module] for module in name.split(".") if module in _PART_OF_MODULE), None)


def tensor_shapes(config: GeoDiTConfig) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors in a checkpoint of a model, without allocating the model.

    A tied output projection is not in the checkpoint, and not in the result.
    """
    with torch.device("meta"):
        model = GeoDiTForMaskedDiffusion(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        del shapes[OUTPUT_PROJECTION_WEIGHT]
    return shapes
