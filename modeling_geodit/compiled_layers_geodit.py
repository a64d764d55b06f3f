# SPDX-License-Identifier: Apache-2.0
"""Functions that run one layer, compiled once for all layers of a model: they differ in their weights alone.

`torch.compile` keeps what it compiles with the code of a function, for eight sets of shapes, and runs the ninth
uncompiled. Here each set of shapes has code of its own, so that any number of them is compiled, each once in the life
of a model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from types import FunctionType
from typing import Any

import torch

__all__ = ["CompiledByShape", "CompiledLayers", "RunLayer", "compiled_layers_of"]

RunLayer = Callable[..., torch.Tensor]
"""From a layer and its arguments to its hidden states."""


class CompiledByShape:
    """A function of a layer, compiled for each set of shapes that it is called with.

    Args:
        function: Takes a layer, and then tensors, tuples of tensors and numbers.
        most: Of how many sets of shapes the code is kept; the one that was used longest ago makes room.
    """

    def __init__(self, function: RunLayer, most: int = 64) -> None:
        self._function = function
        self._most = most
        self._compiled: OrderedDict[Hashable, RunLayer] = OrderedDict()

    def __call__(self, layer: torch.nn.Module, *args: object) -> torch.Tensor:
        """Run a layer."""
        key = _shapes(args)
        if key not in self._compiled:
            while len(self._compiled) >= self._most:
                self._compiled.popitem(last=False)
            self._compiled[key] = torch.compile(_with_own_code(self._function), dynamic=False)
        self._compiled.move_to_end(key)
        return self._compiled[key](layer, *args)


class CompiledLayers:
    """The compiled functions of a model. A copy of the model has none, nor has a saved one."""

    def __init__(self) -> None:
        self._functions: dict[RunLayer, CompiledByShape] = {}

    def of(self, function: RunLayer) -> CompiledByShape:
        """Return the compiled form of a function, always the same.

        Args:
            function: As for [`CompiledByShape`].
        """
        return self._functions.setdefault(function, CompiledByShape(function))

    def __deepcopy__(self, memo: dict[int, object]) -> CompiledLayers:
        return CompiledLayers()

    def __reduce__(self) -> tuple[type[CompiledLayers], tuple[()]]:
        return CompiledLayers, ()


def _shapes(value: object) -> Hashable:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    return tuple(map(_shapes, value)) if isinstance(value, tuple) else value


def _with_own_code(function: Any) -> RunLayer:
    return FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def compiled_layers_of(model: object) -> CompiledLayers:
    """Return the compiled code that a model keeps for all calls."""
    layers: CompiledLayers = model.__dict__.setdefault("_kept_compiled_layers", CompiledLayers())
    return layers
