# SPDX-License-Identifier: Apache-2.0
"""Which parts of a model are trained and which are frozen."""

from collections.abc import Iterable

from torch import nn

MODEL_PARTS = ("vision_tower", "projector", "language_model")
"""The parts of a GeoDiT model: SigLIP, the projector, and the text core with its output projection.

The vector that ends the rows of an image in tiles is one more embedding of the text core, as in LLaVA's training.
"""

_PREFIXES = {
    "vision_tower": ("model.vision_tower.",),
    "projector": ("model.multi_modal_projector.",),
    "language_model": ("model.language_model.", "model.image_newline", "lm_head."),
}


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
    wanted: list[str] = []
    names = [name for name, _ in model.named_parameters()]
    for part in parts:
        if part not in _PREFIXES:
            raise ValueError(f"Unknown part {part!r}; the parts are {', '.join(MODEL_PARTS)}.")
        if not any(name.startswith(_PREFIXES[part]) for name in names):
            raise ValueError(f"The model has no parameters of the part {part!r} (under {_PREFIXES[part]}).")
        wanted.extend(_PREFIXES[part])
    count = 0
    for name, parameter in model.named_parameters():
        trainable = name.startswith(tuple(wanted))
        parameter.requires_grad_(trainable)
        count += parameter.numel() if trainable else 0
    return count
