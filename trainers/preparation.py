# SPDX-License-Identifier: Apache-2.0
"""From the model that a Trainer is given to the model that it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from torch import nn
from transformers.trainer_utils import unwrap_peft_model

from geodit.trainers.lora import add_adapter, check_trainable_adapter, prepare_adapter
from geodit.trainers.trainable import set_trainable_parts
from geodit.trainers.training_arguments import GeoDiTTrainingArguments
from geodit.weights.model_tensors import MODEL_PARTS

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel


def prepare_model(model: nn.Module, args: GeoDiTTrainingArguments, peft_config: PeftConfig | None = None) -> nn.Module:
    """Freeze what is not trained, as `args` say; see [`prepare_parts`].

    Args:
        model: A [`GeoDiTForMaskedDiffusion`], or a [`~peft.PeftModel`] of one. It is changed in place.
        args: The training arguments.
        peft_config: The adapter to add, if any.

    Returns:
        The model, with the adapter if one was added.

    Raises:
        ValueError: If the arguments contradict each other, or see [`prepare_parts`].
    """
    model = prepare_parts(
        model, args.trainable_parts, peft_config, default_parts=MODEL_PARTS, autocast=args.bf16 or args.fp16
    )
    if args.vision_learning_rate is not None and not any(
        p.requires_grad for p in unwrap_peft_model(model).model.vision_tower.parameters()
    ):
        raise ValueError("vision_learning_rate is given, but the vision tower is not trained.")
    return model


def prepare_parts(
    model: nn.Module,
    trainable_parts: Sequence[str],
    peft_config: PeftConfig | None = None,
    *,
    default_parts: Sequence[str],
    autocast: bool,
) -> nn.Module:
    """Freeze what is not trained: by `trainable_parts`, or with an adapter as PEFT does.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`], or a [`~peft.PeftModel`] of one. It is changed in place.
        trainable_parts: Names out of `MODEL_PARTS`.
        peft_config: The adapter to add, if any.
        default_parts: What `trainable_parts` is where nobody has named any; with an adapter it must be that.
        autocast: Whether it is trained under autocast.

    Returns:
        The model, with the adapter if one was added.

    Raises:
        ValueError: If parts are named beside an adapter, the model has one that cannot be trained, or see
            [`add_adapter`] and [`set_trainable_parts`].
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(
            "The model holds an adapter that its own add_adapter() or from_pretrained() put into it, and of such a "
            "model the adapter alone would be saved: give the model without it, and peft_config or a PeftModel."
        )
    if peft_config is not None:
        model = add_adapter(model, peft_config)
    has_adapter = unwrap_peft_model(model) is not model
    if not has_adapter:
        set_trainable_parts(model, trainable_parts)
    elif set(trainable_parts) != set(default_parts):
        raise ValueError(
            "trainable_parts says what of a whole model is trained; with an adapter target_modules and "
            "modules_to_save say it. Leave trainable_parts out."
        )
    else:
        for config in cast("PeftModel", model).peft_config.values():
            check_trainable_adapter(config)
        prepare_adapter(model, autocast=autocast)
    return model
