# SPDX-License-Identifier: Apache-2.0
"""Work of fixed shapes in CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from geodit.modeling_geodit.graph_capture_geodit import own_workspaces

__all__ = ["capture"]


def capture(parts: Sequence[Sequence[Callable[[], object]]], device: torch.device) -> list[Callable[[], None]]:
    """Capture each part in a graph.

    Args:
        parts: Calls that launch operations on tensors that stay where they are.
        device: A CUDA device, on which they run.

    Returns:
        For each part what replays it, and keeps the tensors of its calls where they are. They share the memory of
        what is computed: what one leaves there, the next one may overwrite.

    Raises:
        RuntimeError: If a part cannot be captured.
    """
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        # What libraries do when they are called first must not be captured.
        for part in parts:
            for call in part:
                call()
    torch.cuda.current_stream(device).wait_stream(stream)
    pool = torch.cuda.graph_pool_handle()
    replays: list[Callable[[], None]] = []
    for part in parts:
        graph = torch.cuda.CUDAGraph()
        with own_workspaces(), torch.cuda.graph(graph, pool=pool, stream=stream):
            for call in part:
                call()
        replays.append(_Replay(graph.replay, part))
    return replays


@dataclass(frozen=True)
class _Replay:
    """Replays a graph, and holds the calls that it was captured from: their tensors are where it reads and writes."""

    replay: Callable[[], None]
    calls: Sequence[Callable[[], object]]

    def __call__(self) -> None:
        self.replay()
