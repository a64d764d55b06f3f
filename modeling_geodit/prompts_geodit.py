# SPDX-License-Identifier: Apache-2.0
"""Prompts on their way to the denoising loop: checked, with their images encoded, embedded, and given a canvas.

Shapes: B batch, P prompt length, L canvas length, n image tokens, d hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import ModelOutput

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.cache_geodit import ImagePrefix
from geodit.modeling_geodit.compiled_layers_geodit import compiled_layers_of
from geodit.modeling_geodit.decoding_plan_geodit import DecodingPlan, first_given
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.graph_capture_geodit import capture_on
from geodit.modeling_geodit.host_copies_geodit import index_on, to_device
from geodit.modeling_geodit.loop_choice_geodit import captures_steps
from geodit.modeling_geodit.model_types_geodit import ImageFeatures, MaskedDiffusionModel
from geodit.modeling_geodit.predictors_geodit import EmbeddedPrompt, PromptBranch
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.slots_geodit import WaitingPrompts
from geodit.modeling_geodit.step_capture_geodit import Captures
from geodit.modeling_geodit.tower_runs_geodit import (
    CapturedTower,
    RunTower,
    TowerByLayer,
    is_stock_tower,
    run_tower_layer,
)

__all__ = ["ImageFeatures", "device_for", "embed_prompts", "encode_pixels", "pooled_features", "prepare_prompts"]


def pooled_features(image_features: ImageFeatures | BaseModelOutputWithPooling) -> ImageFeatures:
    """Return the features of images, given those or the output of `get_image_features` that holds them."""
    if isinstance(image_features, ModelOutput):
        return cast(ImageFeatures, image_features.pooler_output)
    return image_features


def prepare_prompts(
    model: MaskedDiffusionModel,
    plan: DecodingPlan,
    input_ids: torch.Tensor | None,
    attention_mask: torch.Tensor | None = None,
    *,
    pixel_values: torch.Tensor | None = None,
    image_features: ImageFeatures | BaseModelOutputWithPooling | None = None,
    image_sizes: torch.Tensor | None = None,
    image_prefix: ImagePrefix | None = None,
    canvas_lengths: Sequence[int] | torch.Tensor | None = None,
    seed: int | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    first: int = 0,
) -> WaitingPrompts:
    """Check and embed prompts, and make their canvases.

    `first` is the number of the first prompt among all; the other arguments are those of `generate()`.

    Raises:
        ValueError: for tensors that do not fit together, or image placeholders that do not match the images.
    """
    given = {"pixel_values": pixel_values, "image_features": image_features, "image_prefix": image_prefix}
    prompt_ids, prompt_mask = _check_inputs(model, input_ids, attention_mask, image_sizes, given)
    device = device_for(model, cast(torch.Tensor, input_ids))
    if pixel_values is not None:
        pixel_values = to_device(pixel_values, device_for(model, pixel_values))
        captured = captures_steps(model, plan, pixel_values.device)
        image_features = encode_pixels(
            model, pixel_values, image_sizes, compiled=plan.config.compile_step, captured=captured
        )
    features = None if image_features is None else pooled_features(image_features)

    config, rules = plan.config, plan.rules
    batch_size = len(prompt_ids)
    random = None
    if rules.policy.draws:
        random = RowStreams.spawn(batch_size, device, seed=seed, generator=generator)
    lengths = _check_canvas_lengths(canvas_lengths, config.max_new_tokens, batch_size)
    if rules.pattern is not None:
        rules.pattern.check_canvases(lengths.tolist(), rules.eos_token_ids)
    branches = embed_prompts(
        model, config, prompt_ids, prompt_mask.bool(), features, image_prefix, plan.mask_token_id, device
    )
    state = DenoisingState.fully_masked(
        to_device(lengths, device), config.max_new_tokens, plan.mask_token_id, plan.fill, plan.num_answers
    )
    return WaitingPrompts(first, tuple(branches), state, random)


def embed_prompts(
    model: MaskedDiffusionModel,
    config: GeoDiTGenerationConfig,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    image_features: ImageFeatures | None,
    image_prefix: ImagePrefix | None,
    mask_token_id: int,
    device: torch.device,
) -> list[PromptBranch]:
    """Embed the prompts on a device, and with guidance those that say nothing.

    Arguments are as in `generate()`, ids and mask on the CPU: what the host has to know is looked at there.
    """
    is_image = (prompt_ids == first_given(model.config.image_token_id, -1)) & prompt_mask
    image_rows = None
    if image_prefix is not None:
        rows = _match_image_rows(image_prefix, is_image, prompt_mask)
        if image_prefix.cache is None or not config.use_cache:
            image_features = tuple(image_prefix.features[row] for row in rows)
            image_prefix = None
        else:
            image_rows = index_on(device, rows)
    embed_tokens = model.get_input_embeddings()
    lengths, images = prompt_mask.sum(-1).tolist(), is_image.sum(-1).tolist()
    counts = tuple((count, length - count) for length, count in zip(lengths, images, strict=True))
    ids, valid, is_image = (to_device(grid, device) for grid in (prompt_ids, prompt_mask, is_image))
    embeds = embed_tokens(ids)
    if image_features is not None:
        embeds = model.model.place_image_features(prompt_ids, embeds, image_features)
    branches = [PromptBranch(EmbeddedPrompt(embeds, valid, is_image, counts), image_prefix, image_rows)]
    if config.guidance_scale != 1:
        # It sees [M] for every token of the prompt, image placeholders included, and therefore no image.
        nothing = embed_tokens(torch.full_like(ids, mask_token_id))
        counts = tuple((0, length) for length in lengths)
        branches.append(PromptBranch(EmbeddedPrompt(nothing, valid, torch.zeros_like(is_image), counts)))
    return branches


def encode_pixels(
    model: MaskedDiffusionModel,
    pixel_values: torch.Tensor,
    image_sizes: torch.Tensor | None,
    *,
    compiled: bool,
    captured: bool,
) -> BaseModelOutputWithPooling:
    """Return what `get_image_features` returns, by a tower that is compiled or captured where that can be.

    Args:
        model: A `GeoDiTForMaskedDiffusion`.
        pixel_values: As for `get_image_features`.
        image_sizes: Likewise.
        compiled: Whether one layer of the tower is compiled for all.
        captured: Whether the tower is captured.
    """
    tower = model.model.vision_tower
    if not ((compiled or captured) and is_stock_tower(tower)):
        return model.get_image_features(pixel_values, image_sizes, return_dict=True)
    run = compiled_layers_of(model).of(run_tower_layer) if compiled else run_tower_layer
    by_layer: RunTower = TowerByLayer(tower, run)
    if captured:
        towers: Captures[CapturedTower] = model.__dict__.setdefault("_captured_towers", Captures())
        capture = partial(CapturedTower, by_layer, capture_on(pixel_values.device))
        by_layer = towers.find(compiled, tower, capture)
    return model.model.encode_by(by_layer, pixel_values, image_sizes)


def device_for(model: MaskedDiffusionModel, given: torch.Tensor) -> torch.device:
    """Return where a given tensor belongs: with the model if it comes from the CPU, else where it is."""
    embed_tokens = model.get_input_embeddings()
    if given.device.type != "cpu" or hasattr(embed_tokens, "_hf_hook"):  # hooks move what they are given
        return given.device
    return next(embed_tokens.parameters()).device


def _check_inputs(
    model: MaskedDiffusionModel,
    input_ids: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    image_sizes: torch.Tensor | None,
    images: Mapping[str, object],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Refuse what does not fit together; return prompts and attention mask, both `(B, P)` int64 on the CPU."""
    if input_ids is None:
        raise ValueError("generate() needs input_ids (B, P): make them with the processor.")
    if input_ids.dim() != 2 or input_ids.is_floating_point() or input_ids.shape[0] == 0:
        raise ValueError(
            "input_ids must be integers of shape (B, P) with B > 0, but are "
            f"{input_ids.dtype} of shape {tuple(input_ids.shape)}."
        )
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    elif attention_mask.shape != input_ids.shape:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, but input_ids "
            f"{tuple(input_ids.shape)}: it covers the prompt alone, the canvas is added by generate()."
        )
    given = [name for name, value in images.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"Give {' or '.join(given)}, not both.")
    if image_sizes is not None and "pixel_values" not in given:
        raise ValueError("image_sizes describe pixel_values: give both or neither.")
    # If they are on a device, this is the one time that it is waited for.
    input_ids, attention_mask = torch.stack([input_ids.long(), attention_mask.to(input_ids.device).long()]).cpu()
    if not given and model.config.image_token_id is not None:
        placeholders = int((input_ids == model.config.image_token_id).sum())
        if placeholders:
            raise ValueError(f"input_ids hold {placeholders} image placeholders, but no pixel_values were given.")
    return input_ids, attention_mask


def _check_canvas_lengths(
    canvas_lengths: Sequence[int] | torch.Tensor | None, max_new_tokens: int, batch_size: int
) -> torch.Tensor:
    if canvas_lengths is None:
        return torch.full((batch_size,), max_new_tokens)
    lengths = torch.as_tensor(canvas_lengths)
    if lengths.shape != (batch_size,) or lengths.is_floating_point():
        raise ValueError(f"canvas_lengths must be {batch_size} integers, one a row, but are {canvas_lengths}.")
    if not ((lengths >= 1) & (lengths <= max_new_tokens)).all():
        raise ValueError(f"canvas_lengths must be from 1 to max_new_tokens={max_new_tokens}: {lengths.tolist()}.")
    return lengths.long()


def _match_image_rows(image_prefix: ImagePrefix, is_image: torch.Tensor, prompt_mask: torch.Tensor) -> list[int]:
    """Find the image of each row. Every prompt must begin with the placeholders of just that image."""
    batch_size, num_images = len(is_image), image_prefix.num_images
    if num_images not in (1, batch_size):
        raise ValueError(
            f"image_prefix holds {num_images} images for {batch_size} prompts: give one for all, or one for each."
        )
    rows = [row % num_images for row in range(batch_size)]
    expected = torch.tensor(image_prefix.lengths)[rows]
    order = prompt_mask.long().cumsum(-1) - 1
    begins_with_image = (prompt_mask & (order < expected.unsqueeze(-1))) == is_image
    if not begins_with_image.all():
        raise ValueError(
            "With image_prefix every prompt begins with the placeholders of its one image: "
            f"{expected.tolist()} of them in these rows, but {is_image.sum(-1).tolist()} were found or not in front."
        )
    return rows
