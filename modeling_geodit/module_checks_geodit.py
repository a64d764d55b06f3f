# SPDX-License-Identifier: Apache-2.0
"""Whether modules can be run one by one, past the modules that hold them."""

from __future__ import annotations

from collections.abc import Iterable

import torch

__all__ = ["why_not_as_they_are"]


def why_not_as_they_are(parameters: Iterable[torch.nn.Parameter], modules: Iterable[torch.nn.Module]) -> str | None:
    """Say what was added to modules, or done to their weights, that only a run of the whole model respects.

    Args:
        parameters: The weights that must be on one device, and whole.
        modules: The modules that are run.

    Returns:
        `None` if there is nothing.
    """
    weights = list(parameters)
    if len({weight.device for weight in weights}) > 1:
        return "the model is spread over several devices"
    if any(hasattr(weight, "device_mesh") for weight in weights):
        return "the weights are sharded"
    for module in modules:
        if module._forward_hooks or module._forward_pre_hooks or hasattr(module, "_hf_hook"):
            return f"a hook is set on a {type(module).__name__}"
        if hasattr(module, "base_layer"):
            return "the model has an adapter that is not merged"
    return None
