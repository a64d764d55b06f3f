# SPDX-License-Identifier: Apache-2.0
"""LLaVA-1.5 in the layout of its own code, run by the classes of Transformers.

GeoChat and VHM are trained with that code and published in its layout, which Transformers does not read: the vision
tower may be another checkpoint, the projector is a list of layers, and no token stands for the image.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoTokenizer, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llama import LlamaConfig
from transformers.models.llava.processing_llava import LlavaProcessor

from geodit.configuration.types_geodit import JsonObject
from geodit.weights.checkpoint_reader import CheckpointReader
from geodit.weights.checkpoint_sources import find_checkpoint

__all__ = ["is_original_llava", "load_original_llava"]

_TOWER = "model.vision_tower."
_PROJECTOR = "model.multi_modal_projector."
# The first that fits counts.
_RENAMED = (
    ("model.vision_tower.vision_tower.vision_model.", _TOWER),
    ("vision_model.", _TOWER),
    ("model.mm_projector.0.", _PROJECTOR + "linear_1."),
    ("model.mm_projector.2.", _PROJECTOR + "linear_2."),
    ("lm_head.", "lm_head."),
    ("model.", "model.language_model."),
)
_POSITIONS = _TOWER + "embeddings.position_embedding.weight"
_PROJECTOR_TYPE = "mlp2x_gelu"
_GEOCHAT_SIDE = 504


def is_original_llava(config: JsonObject) -> bool:
    """Return whether a `config.json` is in the layout of LLaVA's own code, of version 1.5."""
    return config.get("mm_projector_type") == _PROJECTOR_TYPE and "vision_config" not in config


def load_original_llava(
    model: str,
    config: JsonObject,
    *,
    revision: str = "main",
    dtype: str = "auto",
    use_safetensors: bool = True,
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Load a checkpoint of LLaVA-1.5, GeoChat or VHM.

    The vision tower is in the checkpoint, or is the CLIP that `mm_vision_tower` names. GeoChat's sees images of 504
    pixels, for which its code interpolates the positions of CLIP; so does this. The image stands in the prompt as the
    unknown token, which LLaMA's tokenizer never writes.

    Args:
        model: Directory or Hub id.
        config: What is in its `config.json`.
        revision: Branch, tag or commit.
        dtype: Type of the weights; `auto` for that of the checkpoint.
        use_safetensors: Always true: nothing is unpickled.

    Returns:
        The model on the CPU, and its processor.

    Raises:
        ValueError: If the checkpoint or its tower is missing, damaged or pickled, or tensors are missing.
    """
    if not use_safetensors:
        raise ValueError("weights are read from safetensors only")
    folder = find_checkpoint(model, revision=revision)
    reader = CheckpointReader(folder)
    tensors = {_renamed(name): reader.read(name) for name in reader.records if not name.endswith(".inv_freq")}
    tower = find_checkpoint(str(config.get("mm_vision_tower")), weights=_POSITIONS not in tensors)
    vision_config: Any = CLIPVisionConfig.from_pretrained(str(tower))
    if _POSITIONS not in tensors:
        of_tower = CheckpointReader(tower)
        tensors.update(
            (_renamed(name), of_tower.read(name)) for name in of_tower.records if name.startswith("vision_model.")
        )
    if _POSITIONS not in tensors:
        raise ValueError(f"neither {model} nor its tower {tower} has the weights of a CLIP vision model")
    if config.get("model_type") == "geochat":
        tensors[_POSITIONS] = interpolate_positions(tensors[_POSITIONS], _GEOCHAT_SIDE // vision_config.patch_size)
    vision_config.image_size = math.isqrt(len(tensors[_POSITIONS]) - 1) * vision_config.patch_size

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    llava_config = _llava_config(config, vision_config, tokenizer.unk_token_id)
    chosen = next(iter(tensors.values())).dtype if dtype == "auto" else getattr(torch, dtype)
    loaded: Any = LlavaForConditionalGeneration.from_pretrained(
        None, config=llava_config, state_dict=tensors, dtype=chosen, output_loading_info=True
    )
    network, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{model} lacks {len(missing)} tensors of a LLaVA-1.5, such as {missing[0]}")
    side = vision_config.image_size
    images = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    return network, LlavaProcessor(
        images,
        tokenizer,
        patch_size=vision_config.patch_size,
        vision_feature_select_strategy=llava_config.vision_feature_select_strategy,
        image_token=tokenizer.unk_token,
        num_additional_image_tokens=1,
    )


def interpolate_positions(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Interpolate the positions of patches, as GeoChat does it: bicubic, from corner to corner.

    Args:
        positions: One for the class token, then those of patches, row by row: (1 + n * n, d).
        side: How many patches a row is to have.

    Returns:
        Shape (1 + side * side, d).
    """
    known = math.isqrt(len(positions) - 1)
    if known == side:
        return positions
    grid = positions[1:].reshape(1, known, known, -1).permute(0, 3, 1, 2).float()
    larger = functional.interpolate(grid, size=side, mode="bicubic", align_corners=True)
    rows = larger.permute(0, 2, 3, 1).reshape(side * side, -1).to(positions.dtype)
    return torch.cat([positions[:1], rows])


def _renamed(name: str) -> str:
    """Return the name that Transformers has for a tensor."""
    for old, new in _RENAMED:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _llava_config(config: JsonObject, vision_config: CLIPVisionConfig, image_token_id: int) -> LlavaConfig:
    known = LlamaConfig().to_dict()
    text = {name: value for name, value in config.items() if name in known and name != "model_type"}
    return LlavaConfig(
        vision_config=vision_config.to_dict(),
        text_config=LlamaConfig(**text).to_dict(),
        image_token_index=image_token_id,
        vision_feature_layer=int(config.get("mm_vision_select_layer", -2)),
        vision_feature_select_strategy="full" if config.get("mm_vision_select_feature") == "cls_patch" else "default",
    )
