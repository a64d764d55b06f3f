# SPDX-License-Identifier: Apache-2.0
"""How much memory there is to train in."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

__all__ = ["DeviceMemory", "device_memory"]

_CGROUP = Path("/sys/fs/cgroup")
# An estimate counts tensors: allocators, kernels and the libraries themselves take the rest.
_USABLE = 0.85


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of the device that trains.

    Args:
        device: What it is called in messages.
        free: Bytes that nobody uses.
        has_bf16: Whether it computes in bfloat16 fast.
    """

    device: str
    free: int
    has_bf16: bool

    @property
    def budget(self) -> int:
        """Bytes that the tensors of an update may take."""
        return int(self.free * _USABLE)


def device_memory(use_cpu: bool = False) -> DeviceMemory:
    """Look at the device that [`~transformers.Trainer`] will use.

    Args:
        use_cpu: Whether a GPU is left alone.
    """
    if not use_cpu and torch.cuda.is_available():
        free = min(torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count()))
        return DeviceMemory(torch.cuda.get_device_name(0), free, torch.cuda.is_bf16_supported())
    if not use_cpu and torch.backends.mps.is_available():
        free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return DeviceMemory("the Apple GPU", free, False)
    free = int(psutil.virtual_memory().available)
    # A container may have less than its machine.
    with suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())
        free = min(free, limit - int((_CGROUP / "memory.current").read_text()))
    return DeviceMemory("the CPU", free, False)
