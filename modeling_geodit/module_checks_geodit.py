# SPDX-License-Identifier: Apache-2.0
"""Whether modules can be run one by one, past the modules that hold them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

import torch

__all__ = ["HasModules", "modules_in", "weights_of", "why_not_as_they_are"]


class HasModules(Protocol):
    """What modules are of those that list them."""

    @property
    def _modules(self) -> dict[str, torch.nn.Module | None]: ...


def modules_in(*roots: HasModules) -> list[torch.nn.Module]:
    """List modules and all that is in them.

    `Module.modules()` looks for those that are there twice, which takes several milliseconds with a thousand of them:
    as long as a denoising step. Here they are listed twice.
    """
    found: list[torch.nn.Module] = []
    waiting = cast(list[torch.nn.Module | None], list(roots))
    while waiting:
        module = waiting.pop()
        if module is not None:
            found.append(module)
            waiting.extend(module._modules.values())
    return found


def weights_of(modules: Iterable[torch.nn.Module]) -> list[torch.nn.Parameter]:
    """List the weights that modules hold themselves."""
    return [weight for module in modules for weight in module._parameters.values() if weight is not None]


def why_not_as_they_are(weights: Iterable[torch.nn.Parameter], modules: Iterable[torch.nn.Module]) -> str | None:
    """Say what was added to modules, or done to their weights, that only a run of the whole model respects.

    Args:
        weights: Those that must be on one device, and whole.
        modules: The modules that are run.

    Returns:
        `None` if there is nothing.
    """
    devices = set()
    for weight in weights:
        devices.add(weight.device)
        if hasattr(weight, "device_mesh"):
            return "the weights are sharded"
    if len(devices) > 1:
        return "the model is spread over several devices"
    for module in modules:
        if module._forward_hooks or module._forward_pre_hooks or "_hf_hook" in module.__dict__:
            return f"a hook is set on a {type(module).__name__}"
        if "base_layer" in module._modules:
            return "the model has an adapter that is not merged"
    return None
