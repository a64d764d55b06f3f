# SPDX-License-Identifier: Apache-2.0
"""Which parts of a model are trained and which are frozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch import nn
from transformers.trainer_utils import unwrap_peft_model

from geodit.weights.model_tensors import MODEL_PARTS, part_of

if TYPE_CHECKING:
    from peft import PeftModel


def check_trainable_parts(parts: Sequence[str]) -> None:
    """Refuse what `trainable_parts` of training arguments cannot be.

    Raises:
        ValueError: for an unknown part, or none.
    """
    unknown = [part for part in parts if part not in MODEL_PARTS]
    if unknown or not parts:
        raise ValueError(f"trainable_parts must name at least one of {', '.join(MODEL_PARTS)}, got {parts}.")


def set_trainable_parts(model: nn.Module, parts: Iterable[str]) -> int:
    """Freeze everything but the given parts.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`].
        parts: Names out of `MODEL_PARTS`.

    Returns:
        The number of parameters that will be trained.

    Raises:
        ValueError: for an unknown part, or a model in which a part has no parameters.
    """
    wanted = set(parts)
    present = {part_of(name) for name, _ in model.named_parameters()}
    for part in sorted(wanted):
        if part not in MODEL_PARTS:
            raise ValueError(f"Unknown part {part!r}; the parts are {', '.join(MODEL_PARTS)}.")
        if part not in present:
            raise ValueError(f"The model has no parameters of the part {part!r}.")
    count = 0
    for name, parameter in model.named_parameters():
        trainable = part_of(name) in wanted
        parameter.requires_grad_(trainable)
        count += parameter.numel() if trainable else 0
    return count


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a part of a model: how many there are, and how many of them are trained."""

    total: int = 0
    trainable: int = 0


def count_parameters(model: nn.Module) -> dict[str, ParameterCount]:
    """Count the parameters of each part.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`], on any device, or a [`~peft.PeftModel`] of one. Quantized weights are
            counted as they are stored.

    Returns:
        Counts by the names of `MODEL_PARTS`, with `"adapter"` after them if there is one. The copy of the projector
        that PEFT trains and the one that it keeps both count to the projector.
    """
    prefix: str | None = None
    if unwrap_peft_model(model) is not model:
        prefix = str(cast("PeftModel", model).base_model.prefix)
    counts = dict.fromkeys(MODEL_PARTS if prefix is None else (*MODEL_PARTS, "adapter"), ParameterCount())
    for name, parameter in model.named_parameters():
        part = "adapter" if prefix is not None and prefix in name else cast(str, part_of(name))
        count, trained = counts[part], parameter.numel() if parameter.requires_grad else 0
        counts[part] = ParameterCount(count.total + parameter.numel(), count.trainable + trained)
    return counts
