# SPDX-License-Identifier: Apache-2.0
"""Training an adapter instead of the model: what PEFT adapts by default, and what is checked."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers.utils.import_utils import is_peft_available

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

LANGUAGE_MODEL_LINEARS = r".*\.language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"
"""The linear layers of the text core, by PEFT's rule that a string of `target_modules` matches whole names."""

NEVER_ADAPTED = r".*\.(vision_tower|multi_modal_projector)\..*"
"""The vision tower, whose layers have the names of the text core's, and the projector, which is trained whole."""

PROJECTOR = "multi_modal_projector"


def complete_peft_config(config: PeftConfig) -> PeftConfig:
    """Fill in what a configuration of PEFT leaves open, so that `LoraConfig(r=16)` is right for GeoDiT.

    `target_modules` become the linear layers of the text core. Named by the caller, they are kept, but
    `exclude_modules` keep them out of vision tower and projector. `modules_to_save`, which PEFT trains whole, become
    the projector.

    Args:
        config: As the user gave it.

    Returns:
        A copy.
    """
    completed: Any = copy.deepcopy(config)
    if hasattr(completed, "target_modules"):
        if completed.target_modules is None:
            completed.target_modules = LANGUAGE_MODEL_LINEARS
        elif completed.exclude_modules is None:
            completed.exclude_modules = NEVER_ADAPTED
    if getattr(completed, "modules_to_save", PROJECTOR) is None:
        completed.modules_to_save = [PROJECTOR]
    return cast("PeftConfig", completed)


def add_adapter(model: nn.Module, config: PeftConfig) -> PeftModel:
    """Freeze a model and put a new adapter on it.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`]. It is changed in place.
        config: What [`complete_peft_config`] completes.

    Raises:
        ImportError: If PEFT is not installed.
        ValueError: If `config` is none of PEFT's, names layers that the model does not have, or the model has an
            adapter already.
    """
    if not is_peft_available():
        raise ImportError("peft_config needs PEFT: pip install 'geodit[train]'.", name="peft")
    from peft import PeftConfig, PeftModel, get_peft_model

    if not isinstance(config, PeftConfig):
        raise ValueError(
            f"peft_config must be a configuration of PEFT such as LoraConfig, got {type(config).__name__}."
        )
    if isinstance(model, PeftModel):
        raise ValueError(
            "The model has an adapter already: train that one, without peft_config, or merge it first "
            "(model.merge_and_unload())."
        )
    adapted: PeftModel = get_peft_model(model, complete_peft_config(config))
    return adapted


def prepare_adapter(model: nn.Module, *, autocast: bool) -> None:
    """Make a model with an adapter fit to be trained and to answer questions in between, in place.

    Args:
        model: The model with its adapter.
        autocast: Whether it is trained under autocast.
    """
    _keep_differentiable(model)
    if autocast:
        _cast_trained_to_float32(model)


def _keep_differentiable(model: nn.Module) -> None:
    """Let a base of 4 bits be trained on after it was evaluated on a CPU, in place.

    On CPUs with AVX512-BF16 the 4-bit layers of bitsandbytes repack their weights for inference when they first run
    without gradients, and no gradient ever passes them again. This switches that off.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def _cast_trained_to_float32(model: nn.Module) -> None:
    """Keep what is trained in float32 beside a frozen base of 16 bits, in place; for training under autocast.

    PEFT does so with the matrices of LoRA but not with `modules_to_save`, whose updates bfloat16 would round away.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.float()
