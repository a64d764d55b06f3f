# SPDX-License-Identifier: Apache-2.0
"""Run what is tested on the device of `pytest --device`, and compare on the CPU."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from defined_environment import DEVICE

# The methods that take and return tensors; all others are those of what is wrapped.
METHODS = {"decide", "encode_image", "generate", "get_image_features", "propose", "score", "select"}


class OnDevice:
    """Calls a function or a model with tensors that were moved to a device, and moves what it returns to the CPU.

    Args:
        wrapped: What is tested; a module is moved to the device itself. Anything else that it has is found here.
        device: By default that of `pytest --device`.
    """

    def __init__(self, wrapped: Any, device: torch.device | str = DEVICE) -> None:
        self.wrapped = wrapped.to(device) if isinstance(wrapped, torch.nn.Module) else wrapped
        self._device = device

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.wrapped(*moved(args, self._device), **moved(kwargs, self._device))
        return moved(result, "cpu")

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.wrapped, name)
        return OnDevice(attribute, self._device) if name in METHODS else attribute


def moved(value: Any, device: torch.device | str) -> Any:
    """Move a tensor, or those in a collection or a dataclass, to a device; leave everything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    # Before mappings: outputs of models are both.
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        return dataclasses.replace(value, **moved(parts, device))
    if isinstance(value, Mapping):
        return {name: moved(part, device) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(moved(part, device) for part in value)
    return value
