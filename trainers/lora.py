# SPDX-License-Identifier: Apache-2.0
"""Training an adapter instead of the model: what PEFT adapts by default, and what is checked."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers.utils.import_utils import is_peft_available

from geodit.weights.adapters import adapter_kind, check_adapter_kind, wrap_with_adapter
from geodit.weights.model_tensors import PROJECTOR, TEXT_CORE, VISION_TOWER

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

LANGUAGE_MODEL_LINEARS = rf".*\.{TEXT_CORE}\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"
"""The linear layers of the text core, by PEFT's rule that a string of `target_modules` matches whole names."""

NEVER_ADAPTED = rf".*\.({VISION_TOWER}|{PROJECTOR})\..*"
"""The vision tower, whose layers have the names of the text core's, and the projector, which is trained whole."""

_DOWN_PROJECTIONS = rf".*\.{TEXT_CORE}\.layers\.\d+\.mlp\.down_proj"
# What methods that are not for all linear layers adapt, where nobody has named anything.
_DEFAULT_TARGETS = {
    # Keys, values and the feed-forward's last layer, as in its paper.
    "IA3": rf".*\.{TEXT_CORE}\.layers\.\d+\.(self_attn\.[kv]_proj|mlp\.down_proj)",
    "LN_TUNING": rf".*\.{TEXT_CORE}\.(layers\.\d+\.\w+_layernorm|norm)",
    # PEFT's own default, the token embeddings.
    "TRAINABLE_TOKENS": None,
}

TASK_TYPES = (None, "CAUSAL_LM", "FEATURE_EXTRACTION")
"""PEFT's task types under which its wrapper calls a GeoDiT model as it is."""


def complete_peft_config(config: PeftConfig) -> PeftConfig:
    """Fill in what a configuration of PEFT leaves open, so that `LoraConfig(r=16)` is right for GeoDiT.

    `target_modules` become the linear layers of the text core, or the part of it that a method is for: the norms of
    LN tuning, the keys, values and down projections of IA3. Named by the caller, they are kept, but looked for outside
    vision tower and projector only, unless `exclude_modules` says otherwise. `modules_to_save`, which PEFT trains
    whole, become the projector.

    Args:
        config: As the user gave it.

    Returns:
        A copy.
    """
    completed: Any = copy.deepcopy(config)
    kind = adapter_kind(config)
    if getattr(completed, "modules_to_save", PROJECTOR) is None:
        completed.modules_to_save = [PROJECTOR]
    if not hasattr(completed, "target_modules"):
        return cast("PeftConfig", completed)
    if completed.target_modules is None:
        completed.target_modules = _DEFAULT_TARGETS.get(kind, LANGUAGE_MODEL_LINEARS)
        if kind == "IA3" and completed.feedforward_modules is None:
            completed.feedforward_modules = _DOWN_PROJECTIONS
    elif not hasattr(completed, "exclude_modules"):
        completed.target_modules = _outside_vision(completed.target_modules)
    elif completed.exclude_modules is None:
        completed.exclude_modules = NEVER_ADAPTED
    return cast("PeftConfig", completed)


def _outside_vision(target_modules: str | Iterable[str]) -> str:
    """Return the same layers but for [`NEVER_ADAPTED`], for methods of PEFT that have no `exclude_modules`."""
    if target_modules == "all-linear":
        return LANGUAGE_MODEL_LINEARS
    if not isinstance(target_modules, str):
        target_modules = rf"(.*\.)?({'|'.join(map(re.escape, sorted(target_modules)))})"
    return f"(?!{NEVER_ADAPTED})({target_modules})"


def add_adapter(model: nn.Module, config: PeftConfig) -> PeftModel:
    """Freeze a model and put a new adapter on it.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`]. It is changed in place.
        config: What [`complete_peft_config`] completes.

    Raises:
        ImportError: If PEFT is not installed.
        ValueError: If `config` is none of PEFT's, is of a kind that GeoDiT cannot be trained with, names layers that
            the model does not have, or the model has an adapter already.
    """
    if not is_peft_available():
        raise ImportError("peft_config needs PEFT: pip install 'geodit[train]'.", name="peft")
    from peft import PeftConfig, PeftModel

    if not isinstance(config, PeftConfig):
        raise ValueError(
            f"peft_config must be a configuration of PEFT such as LoraConfig, got {type(config).__name__}."
        )
    if isinstance(model, PeftModel):
        raise ValueError(
            "The model has an adapter already: train that one, without peft_config, or merge it first "
            "(model.merge_and_unload())."
        )
    check_trainable_adapter(config)
    return wrap_with_adapter(model, complete_peft_config(config))


def check_trainable_adapter(config: PeftConfig) -> None:
    """Refuse an adapter that would not be trained as its configuration says, or not be of use in `generate()`.

    Args:
        config: As the user gave it, or that of a model with an adapter.

    Raises:
        ValueError: If it is of a kind that [`check_adapter_kind`] refuses, or for another task.
    """
    check_adapter_kind(config)
    task_type = config.task_type
    if task_type not in TASK_TYPES:
        name = str(getattr(task_type, "value", task_type))
        raise ValueError(
            f"task_type={name!r} makes PEFT call the model as one for another task: write "
            'task_type="CAUSAL_LM", or leave it out.'
        )


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
