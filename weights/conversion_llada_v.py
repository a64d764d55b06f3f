# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in the layout of LLaDA-V: LLaDA under Llama's names, a SigLIP tower and a projector, as in LLaVA.

The layout is that of https://huggingface.co/GSAI-ML/LLaDA-V, which is trained with the code of LLaVA-NeXT. Its text
core alone, under the same names, is a checkpoint of its own, which is read as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from transformers import SiglipVisionConfig

from geodit.configuration.configuration_geodit import GeoDiTTextConfig
from geodit.configuration.types_geodit import Arguments, JsonObject
from geodit.weights.conversion_siglip import siglip_to_geodit_name
from geodit.weights.model_tensors import (
    EMBEDDINGS_WEIGHT,
    FINAL_NORM_WEIGHT,
    IMAGE_NEWLINE_VECTOR,
    OUTPUT_PROJECTION_WEIGHT,
    PROJECTOR_PREFIX,
    TEXT_LAYERS_PREFIX,
    VISION_TOWER_PREFIX,
)

__all__ = [
    "LLADA_V_MODEL_TYPES",
    "LLADA_V_TOWER",
    "LLaDAVConfiguration",
    "convert_llada_v_config",
    "geodit_to_llada_v_name",
    "llada_v_to_geodit_name",
    "num_tower_layers",
    "vision_fields",
]

LLADA_V_MODEL_TYPES = ("llada", "llava_llada")

LLADA_V_TOWER = f"{VISION_TOWER_PREFIX}vision_tower."
"""Where LLaVA's wrapper of the tower puts SigLIP's own names."""
_PROJECTOR_NAMES = {
    "model.mm_projector.0.": f"{PROJECTOR_PREFIX}linear_1.",
    "model.mm_projector.2.": f"{PROJECTOR_PREFIX}linear_2.",
}
_TOP_LEVEL_NAMES = {
    "model.embed_tokens.weight": EMBEDDINGS_WEIGHT,
    "model.norm.weight": FINAL_NORM_WEIGHT,
    OUTPUT_PROJECTION_WEIGHT: OUTPUT_PROJECTION_WEIGHT,
    IMAGE_NEWLINE_VECTOR: IMAGE_NEWLINE_VECTOR,
}
_LAYER = re.compile(r"model\.layers\.(\d+\..+)")
_OUR_LAYER = re.compile(re.escape(TEXT_LAYERS_PREFIX) + r"(\d+\..+)")
# Older code saved the angles of the rotary embedding, which follow from the configuration.
_TOWER_LAYER = re.compile(re.escape(LLADA_V_TOWER) + r"vision_model\.encoder\.layers\.(\d+)\..+")
_ROTARY_BUFFER = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")

# Fields of the configuration at the one value that GeoDiT's text core implements; absent ones have that value.
_SUPPORTED: dict[str, object] = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "rope_scaling": None,
}
_SUPPORTED_VISION: dict[str, object] = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_feature": "patch",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
}


@dataclass(frozen=True)
class LLaDAVConfiguration:
    """What LLaDA-V's `config.json` says, in GeoDiT's terms.

    Args:
        text_config: Geometry of the text core.
        token_ids: The special token ids that it names: `mask_token_id`, `bos_token_id`, `eos_token_id`,
            `pad_token_id`. They may be wrong: the published file has Llama's `bos_token_id`, beyond its vocabulary.
        vision_select_layer: Which hidden state of the tower feeds the projector, as LLaVA counts: -2 is the last
            layer but one.
        vision_tower: Folder or Hub id of the vision tower that it was trained with.
        image_aspect_ratio: How pictures are cut, such as `anyres_max_4`.
        image_grid_pinpoints: The sizes `[width, height]` in pixels that a picture may be fitted into before it is cut,
            or a range of grids as LLaVA writes it, `(1x1),...,(6x6)`.
        patch_merge_type: How the features of the tiles are joined, such as `spatial_unpad`.
    """

    text_config: GeoDiTTextConfig
    token_ids: dict[str, int | None]
    vision_select_layer: int
    vision_tower: str | None
    image_aspect_ratio: str
    image_grid_pinpoints: str | list[list[int]] | None
    patch_merge_type: str


def llada_v_to_geodit_name(name: str) -> str | None:
    """Return the name in `GeoDiTForMaskedDiffusion` of a tensor of LLaDA-V; `None` for one that GeoDiT does not use.

    Raises:
        ValueError: for a name that LLaDA-V does not have.
    """
    if name in _TOP_LEVEL_NAMES:
        return _TOP_LEVEL_NAMES[name]
    if name.startswith(LLADA_V_TOWER):
        return siglip_to_geodit_name(name.removeprefix(LLADA_V_TOWER))
    for theirs, ours in _PROJECTOR_NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    if _ROTARY_BUFFER.fullmatch(name):
        return None
    if match := _LAYER.fullmatch(name):
        return TEXT_LAYERS_PREFIX + match[1]
    raise ValueError(f"{name!r} is not a tensor of LLaDA-V.")


def geodit_to_llada_v_name(name: str) -> str:
    """Return the name in LLaDA-V of a tensor of `GeoDiTForMaskedDiffusion`."""
    for theirs, ours in _TOP_LEVEL_NAMES.items():
        if name == ours:
            return theirs
    for theirs, ours in _PROJECTOR_NAMES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    if match := _OUR_LAYER.fullmatch(name):
        return f"model.layers.{match[1]}"
    return f"{LLADA_V_TOWER}vision_model.{name.removeprefix(VISION_TOWER_PREFIX)}"


def num_tower_layers(names: Iterable[str]) -> int | None:
    """Count the layers of the vision tower among the tensors of LLaDA-V; return `None` if they have no tower.

    LLaVA's code drops the last layer of the tower it loads, since it uses the output of the last but one.
    """
    layers = {int(match[1]) for name in names if (match := _TOWER_LAYER.fullmatch(name))}
    return len(layers) or None


def vision_fields(source: LLaDAVConfiguration, vision_config: SiglipVisionConfig, num_layers: int | None) -> Arguments:
    """Return the fields of [`GeoDiTConfig`] that say how LLaDA-V sees an image.

    Args:
        source: LLaDA-V's configuration.
        vision_config: Geometry of the tower as SigLIP publishes it.
        num_layers: Layers of the tower in the checkpoint, as of [`num_tower_layers`].

    Raises:
        ValueError: for a way of seeing that GeoDiT does not have, or a tower that is not the one described.
    """
    layers, feature_layer = vision_config.num_hidden_layers, source.vision_select_layer
    if num_layers is not None and num_layers == layers - 1 and feature_layer == -2:
        layers, feature_layer = num_layers, -1
    elif num_layers not in (None, layers):
        raise ValueError(
            f"The checkpoint has {num_layers} layers of a vision tower, but the one described has {layers}, and "
            f"hidden state {feature_layer} of it feeds the projector: name the right SigLIP model with --vision."
        )
    tiled = source.image_aspect_ratio.startswith("anyres_max_")
    if not tiled and source.image_aspect_ratio != "square":
        raise ValueError(
            f"image_aspect_ratio={source.image_aspect_ratio!r} is not supported: only square and anyres_max_<k> are."
        )
    if tiled and source.patch_merge_type != "spatial_unpad":
        raise ValueError(
            f"mm_patch_merge_type={source.patch_merge_type!r} is not supported with {source.image_aspect_ratio}: "
            "only spatial_unpad is."
        )
    return {
        "vision_config": {**vision_config.to_dict(), "num_hidden_layers": layers},
        "vision_feature_layer": feature_layer,
        "vision_post_layernorm": False,
        "vision_aspect_ratio": source.image_aspect_ratio,
        "image_grid_pinpoints": _grid_pinpoints(source.image_grid_pinpoints, cast(int, vision_config.image_size))
        if tiled
        else None,
    }


def _grid_pinpoints(pinpoints: str | list[list[int]] | None, image_size: int) -> list[list[int]] | None:
    """LLaVA's `[[width, height], ...]` in pixels, or a range of grids `(1x1),...,(6x6)`, as `[height, width]`."""
    if pinpoints is None:
        return None
    if isinstance(pinpoints, str) and pinpoints.lstrip().startswith("("):
        grids = [(int(w), int(h)) for w, h in re.findall(r"\((\d+)x(\d+)\)", pinpoints)]
        if not grids:
            raise ValueError(f"image_grid_pinpoints={pinpoints!r} holds no grid such as (2x3).")
        (first_w, first_h), (last_w, last_h) = grids[0], grids[-1]
        return [
            [h * image_size, w * image_size] for w in range(first_w, last_w + 1) for h in range(first_h, last_h + 1)
        ]
    try:
        values = json.loads(pinpoints) if isinstance(pinpoints, str) else pinpoints
        return [[int(height), int(width)] for width, height in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"image_grid_pinpoints={pinpoints!r} is no list of [width, height].") from error


def convert_llada_v_config(config: JsonObject) -> LLaDAVConfiguration:
    """Translate LLaDA-V's configuration, or that of its text core alone.

    Args:
        config: The content of `config.json`.

    Raises:
        ValueError: listing every field that is missing, invalid, or asks for something that GeoDiT does not do.
    """
    model_type = config.get("model_type")
    if model_type not in LLADA_V_MODEL_TYPES:
        raise ValueError(f"This is a model of type {model_type!r}; LLaDA-V is {' or '.join(LLADA_V_MODEL_TYPES)}.")
    problems = [
        f"{name}={config[name]!r} is not supported (only {supported!r})"
        for name, supported in {**_SUPPORTED, **_SUPPORTED_VISION}.items()
        if name in config and config[name] != supported
    ]
    sizes = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
    )
    problems += [
        f"{name}={config.get(name)!r} must be a positive integer"
        for name in sizes
        if type(config.get(name)) is not int or config[name] < 1
    ]
    problems += [
        f"{name}={config.get(name)!r} must be a positive number"
        for name in ("rope_theta", "rms_norm_eps")
        if type(config.get(name)) not in (int, float) or config[name] <= 0
    ]
    select_layer = config.get("mm_vision_select_layer", -2)
    if type(select_layer) is not int:
        problems.append(f"mm_vision_select_layer={select_layer!r} must be an integer")
    if problems:
        raise ValueError("This LLaDA-V configuration cannot be converted: " + "; ".join(problems) + ".")

    token_ids = {name: config.get(name) for name in ("mask_token_id", "bos_token_id", "eos_token_id", "pad_token_id")}
    text_config = GeoDiTTextConfig(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        num_key_value_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        max_position_embeddings=config["max_position_embeddings"],
        rms_norm_eps=float(config["rms_norm_eps"]),
        rope_parameters={"rope_type": "default", "rope_theta": float(config["rope_theta"])},
        attention_dropout=float(config.get("attention_dropout") or 0.0),
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return LLaDAVConfiguration(
        text_config=text_config,
        token_ids=token_ids,
        vision_select_layer=select_layer,
        vision_tower=config.get("mm_vision_tower"),
        image_aspect_ratio=config.get("image_aspect_ratio") or "square",
        image_grid_pinpoints=config.get("image_grid_pinpoints"),
        patch_merge_type=config.get("mm_patch_merge_type") or "flat",
    )
