# SPDX-License-Identifier: Apache-2.0
"""What a Trainer is given by name: the model of a checkpoint, and the processor that lies beside it."""

from __future__ import annotations

from os import PathLike

import torch
from torch import nn
from transformers import ProcessorMixin
from transformers.trainer_utils import unwrap_peft_model

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.weights.adapters import adapter_base, adapter_of, find_adapter
from geodit.weights.bundled import resolve_checkpoint


def load_named_model(model: nn.Module | str | PathLike[str]) -> nn.Module:
    """Load a model that is given by its name, in float32; one that is given as it is stays so.

    Args:
        model: A model, or the folder or Hub id of a checkpoint, or `"geodit-tiny"`.

    Raises:
        OSError: If there is no such checkpoint.
        ValueError: If it is an adapter.
    """
    if isinstance(model, nn.Module):
        return model
    if not isinstance(model, str | PathLike):
        raise ValueError(f"model must be a GeoDiTForMaskedDiffusion or the name of one, got {type(model).__name__}.")
    if adapter_of(model) is not None:
        base = adapter_base(find_adapter(model))
        raise ValueError(
            f"{model} is an adapter of {base}: to train it further, give the model "
            f"PeftModel.from_pretrained(GeoDiTForMaskedDiffusion.from_pretrained({base!r}), {str(model)!r}, "
            "is_trainable=True)."
        )
    # Updates are small beside the weights: those of 16 bits would round many of them away.
    return GeoDiTForMaskedDiffusion.from_pretrained(resolve_checkpoint(str(model)), dtype=torch.float32)


def check_processor(processor: object) -> GeoDiTProcessor:
    """Refuse what cannot turn items into batches, such as a tokenizer alone.

    Raises:
        ValueError: If it is no GeoDiT processor. One that a checkpoint has brought the code of is.
    """
    if not isinstance(processor, GeoDiTProcessor) and not (
        isinstance(processor, ProcessorMixin) and hasattr(processor, "encode_answer")
    ):
        raise ValueError(
            f"processing_class must be a GeoDiTProcessor, got {type(processor).__name__}: load it with "
            "GeoDiTProcessor.from_pretrained(checkpoint), or give a data_collator."
        )
    return processor  # type: ignore[return-value]


def geodit_model(model: nn.Module | None) -> GeoDiTForMaskedDiffusion:
    """Return the model of a Trainer itself, below the adapter if it has one."""
    assert model is not None
    base: GeoDiTForMaskedDiffusion = unwrap_peft_model(model)
    return base


def find_processor(model: nn.Module) -> GeoDiTProcessor:
    """Load the processor of the checkpoint, and of its revision, that a model was loaded from.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`], or a [`~peft.PeftModel`] of one.

    Raises:
        ValueError: If it is not known, or has no processor.
    """
    config: object = unwrap_peft_model(model).config
    name = str(getattr(config, "_name_or_path", "") or "")
    give = "give processing_class, a GeoDiTProcessor, or a data_collator"
    if not name:
        raise ValueError(f"The model was not loaded from a checkpoint that could have its processor: {give}.")
    try:
        revision = getattr(config, "_commit_hash", None) or "main"
        processor: GeoDiTProcessor = GeoDiTProcessor.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"No processor could be loaded from {name}, where the model is from: {give} ({reason})."
        ) from error
    return processor
