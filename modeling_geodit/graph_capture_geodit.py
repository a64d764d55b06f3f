# SPDX-License-Identifier: Apache-2.0
"""Functions of tensors that are captured in a CUDA graph and replayed.

On a GPU a pass through 32 layers launches a thousand kernels, each of which takes the host longer than the GPU. A CUDA
graph launches them all at once. It is bound to shapes and to places in memory: what a captured function reads and
writes must stay where it is, and must stay alive.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from transformers.utils import logging

__all__ = [
    "Capture",
    "CapturedCalls",
    "CapturedStep",
    "Replay",
    "capture_cuda_graph",
    "capture_on",
    "own_workspaces",
    "run_again",
]

logger = logging.get_logger(__name__)

Result = TypeVar("Result")

Replay = Callable[[], None]
Capture = Callable[[Callable[[], None]], Replay]
"""Captures what a function does, and returns what does it again. The function is not run."""


def capture_cuda_graph(function: Callable[[], None]) -> Replay:
    """Capture a function of tensors as a CUDA graph.

    Args:
        function: What to capture. It has run before, so that nothing is set up in it.

    Returns:
        Launches the graph.
    """
    graph = torch.cuda.CUDAGraph()
    # Other threads, which read images, may ask the device for memory meanwhile.
    with own_workspaces(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
        function()
    return graph.replay


@contextmanager
def own_workspaces() -> Iterator[None]:
    """Have a graph that is captured meanwhile use memory of its own for products of matrices.

    PyTorch keeps one workspace of cuBLAS for each stream, and lets go of it when any graph that was captured on the
    stream is given up, or when `torch.compile` captures one: the others would go on to read and write there. One that
    is made during capture and given up after it stays in the memory of the graph, which nobody else is given.
    """
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


def run_again(function: Callable[[], None]) -> Replay:
    """Capture nothing: what is replayed is the function itself. For devices without graphs."""
    return function


def capture_on(device: torch.device) -> Capture:
    """Return what captures on a device."""
    return capture_cuda_graph if device.type == "cuda" else run_again


class CapturedStep:
    """Captures a step in its second run, and replays it from then on.

    The first run is the step itself, as what is captured must have run before. A step that cannot be captured goes on
    uncaptured, and a warning says so.

    Args:
        step: A function of tensors that stay where they are.
        capture: Captures it.
    """

    def __init__(self, step: Callable[[], None], capture: Capture = capture_cuda_graph) -> None:
        self._step = step
        self._capture = capture
        self._has_run = False
        self._replay: Replay | None = None

    def __call__(self) -> None:
        """Run the step once."""
        if not self._has_run:
            self._step()
            self._has_run = True
            return
        if self._replay is None:
            try:
                self._replay = self._capture(self._step)
            except RuntimeError as error:
                logger.warning_once(f"Generation goes on uncaptured, as capturing failed: {error}")
                self._replay = self._step
        self._replay()


class CapturedCalls(Generic[Result]):
    """A function of tensors, captured for each set of shapes that it is called with more than once.

    Args:
        function: The function.
        capture: Captures it.
        most: For how many sets of shapes memory is kept; the one that was used longest ago makes room.
    """

    def __init__(self, function: Callable[..., Result], capture: Capture = capture_cuda_graph, most: int = 4) -> None:
        self._function = function
        self._capture = capture
        self._most = most
        self._calls: OrderedDict[Hashable, _CapturedCall[Result]] = OrderedDict()

    def __call__(self, *tensors: torch.Tensor) -> Result:
        """Call the function.

        Returns:
            What it returned for tensors of these shapes. The next call with such tensors may overwrite it.
        """
        key = tuple((*tensor.shape, tensor.dtype) for tensor in tensors)
        if key not in self._calls:
            while len(self._calls) >= self._most:
                self._calls.popitem(last=False)
            self._calls[key] = _CapturedCall(self._function, tensors, self._capture)
        self._calls.move_to_end(key)
        return self._calls[key](tensors)


class _CapturedCall(Generic[Result]):
    """The calls with tensors of one set of shapes, which are copied to where the graph reads them."""

    def __init__(self, function: Callable[..., Result], tensors: tuple[torch.Tensor, ...], capture: Capture) -> None:
        self._function = function
        self._tensors = tuple(torch.empty_like(tensor) for tensor in tensors)
        self._step = CapturedStep(self._run, capture)

    def _run(self) -> None:
        self._result = self._function(*self._tensors)

    def __call__(self, tensors: tuple[torch.Tensor, ...]) -> Result:
        for kept, given in zip(self._tensors, tensors, strict=True):
            kept.copy_(given)
        self._step()
        return self._result
