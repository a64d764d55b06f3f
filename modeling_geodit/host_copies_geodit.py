# SPDX-License-Identifier: Apache-2.0
"""Telling a device something, and hearing from it, without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["HostCopy", "index_on", "to_device"]


def index_on(device: torch.device, numbers: Sequence[int]) -> torch.Tensor:
    """Make an index `(numbers,)` int64 on a device; a plain copy would wait for all that was launched before."""
    return to_device(torch.tensor(list(numbers), dtype=torch.long), device)


def to_device(value: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move a tensor to a device. If it comes from the host, the copy is queued after what was launched before.

    Args:
        value: The tensor. On the host it may not be written to afterwards.
        device: The device.
    """
    if value.device.type != "cpu" or device.type in ("cpu", "mps"):
        return value.to(device)
    if device.type == "cuda":
        value = value.pin_memory()
    return value.to(device, non_blocking=True)


class HostCopy:
    """Tensors on their way from the device to the host.

    On a GPU the copy is queued after what was launched before; on other devices it is there at once.

    Args:
        tensors: What to copy, all of one device. They may be written to afterwards.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._event: torch.cuda.Event | None = None
        if tensors and tensors[0].is_cuda:
            self._copies = [torch.empty(value.shape, dtype=value.dtype, pin_memory=True) for value in tensors]
            for copy, value in zip(self._copies, tensors, strict=True):
                copy.copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._copies = [value.cpu().clone() for value in tensors]

    @property
    def has_come(self) -> bool:
        """Whether the tensors are there."""
        return self._event is None or bool(self._event.query())

    def wait(self) -> list[torch.Tensor]:
        """Wait for the tensors.

        Returns:
            The tensors on the host, in their order.
        """
        if self._event is not None:
            self._event.synchronize()
        return self._copies
