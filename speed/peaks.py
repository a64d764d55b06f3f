# SPDX-License-Identifier: Apache-2.0
"""What a device does at its best: products of large matrices, and copies."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

from geodit.speed.clocks import clock_of

__all__ = ["Peaks", "measure_peaks"]

_WARMUP, _ROUNDS = 2, 5


@dataclass(frozen=True)
class Peaks:
    """Medians of some rounds.

    Args:
        flops_per_second: Of the product of two square matrices in bfloat16, two a multiplication with its addition.
        bytes_per_second: Read and written by a copy.
    """

    flops_per_second: float
    bytes_per_second: float


def measure_peaks(device: torch.device) -> Peaks:
    """Take the time of a product and of a copy, which on a GPU are too large for its caches."""
    side, num_bytes = (256, 2**20) if device.type == "cpu" else (8192, 2**31)
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    source = torch.zeros(num_bytes, dtype=torch.uint8, device=device)
    sink = torch.empty_like(source)
    return Peaks(
        2 * side**3 / _seconds(lambda: left @ right, device),
        2 * num_bytes / _seconds(lambda: sink.copy_(source), device),
    )


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    clock = clock_of(device)
    for _ in range(_WARMUP):
        work()
    rounds = []
    for _ in range(_ROUNDS):
        start = clock.start()
        work()
        rounds.append(clock.seconds(start, clock.now()))
    return statistics.median(rounds)
