# SPDX-License-Identifier: Apache-2.0
"""From the model that a Trainer is given to the model that it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from transformers.trainer_utils import unwrap_peft_model

from geodit.trainers.lora import add_adapter, prepare_adapter
from geodit.trainers.trainable import MODEL_PARTS, set_trainable_parts
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

if TYPE_CHECKING:
    from peft import PeftConfig


def prepare_model(model: nn.Module, args: GeoDiTTrainingArguments, peft_config: PeftConfig | None = None) -> nn.Module:
    """Freeze what is not trained: by `trainable_parts`, or with an adapter as PEFT does.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`], or a [`~peft.PeftModel`] of one. It is changed in place.
        args: The training arguments.
        peft_config: The adapter to add, if any.

    Returns:
        The model, with the adapter if one was added.

    Raises:
        ValueError: If the arguments contradict each other, or see [`add_adapter`] and [`set_trainable_parts`].
    """
    if peft_config is not None:
        model = add_adapter(model, peft_config)
    base = unwrap_peft_model(model)
    if base is model:
        set_trainable_parts(model, args.trainable_parts)
    else:
        if set(args.trainable_parts) != set(MODEL_PARTS):
            raise ValueError(
                "trainable_parts says what of a whole model is trained; with an adapter target_modules and "
                "modules_to_save say it. Leave trainable_parts out."
            )
        prepare_adapter(model, autocast=args.bf16 or args.fp16)
    if args.vision_learning_rate is not None and not any(
        p.requires_grad for p in base.model.vision_tower.parameters()
    ):
        raise ValueError("vision_learning_rate is given, but the vision tower is not trained.")
    return model
