# SPDX-License-Identifier: Apache-2.0
"""Where the time of a contestant goes, operator by operator."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from geodit.speed.contestants import Contestant

__all__ = ["profile_run"]


def profile_run(contestant: Contestant, device: torch.device, row_limit: int = 30) -> str:
    """Run a contestant once under PyTorch's profiler, which itself takes time: the shares count, not the sum.

    Args:
        contestant: Who runs. It should have run before.
        device: Where it runs.
        row_limit: Operators to list, those that take longest first.

    Returns:
        A table of operators by the time spent in them and not in what they call.
    """
    activities, order = [ProfilerActivity.CPU], "self_cpu_time_total"
    if device.type == "cuda":
        activities, order = [*activities, ProfilerActivity.CUDA], "self_cuda_time_total"
    with profile(activities=activities) as profiler:
        contestant.run(None)
    table: str = profiler.key_averages().table(sort_by=order, row_limit=row_limit)
    return f"{contestant.name}: {contestant.work}\n\n{table}"
