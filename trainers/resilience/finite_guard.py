# SPDX-License-Identifier: Apache-2.0
"""A loss that is not finite ends the run before it reaches the weights, and says which items it came from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object


class FiniteGuard:
    """Keeps the losses of an update until its gradients are known."""

    def __init__(self) -> None:
        self._losses: list[tuple[torch.Tensor, Sequence[str]]] = []

    def record(self, loss: torch.Tensor, item_ids: Sequence[str]) -> None:
        """Remember a micro-batch of the update.

        Args:
            loss: Its loss, a scalar; it is not read here, which would wait for the device.
            item_ids: The ids of its items, if they are known.
        """
        self._losses.append((loss, item_ids))

    def check(self, grad_norm: torch.Tensor | float | None, *, step: int, accelerator: Accelerator) -> None:
        """Look at an update that is about to change the weights, and forget it. Every process must call it.

        Args:
            grad_norm: Norm of the gradients of all processes, or `None` if it is not known.
            step: Number of the update, for the error.
            accelerator: Gathers the ids of all processes.

        Raises:
            FloatingPointError: if a loss or a gradient is not finite.
        """
        losses, self._losses = self._losses, []
        # A loss scaler skips updates whose gradients overflow, and is right to: then only the losses count. Otherwise
        # a loss that is not finite shows in the norm, on all processes alike.
        norm = grad_norm if accelerator.scaler is None else None
        if norm is not None:
            finite = math.isfinite(_number(norm))
        else:
            finite = not losses or bool(torch.stack([loss for loss, _ in losses]).isfinite().all())
        if finite:
            return
        culprits = [(float(loss), list(ids)) for loss, ids in losses if not bool(loss.isfinite())]
        everything = [(float(loss), list(ids)) for loss, ids in losses]
        if norm is not None:
            culprits, everything = gather_object(culprits), gather_object(everything)
        # With finite losses the gradients overflowed, and any of the micro-batches may have done it.
        what = f"loss is {culprits[0][0]}" if culprits else "loss is finite, but its gradients are not,"
        items = [name for _, ids in culprits or everything for name in ids]
        named = ", ".join(items) if items else "unknown: the data set gives no image_id"
        raise FloatingPointError(
            f"Training stopped at update {step}: the {what} for a batch of the items {named}. The weights are those "
            "before this update and nothing was saved. Look at these items; if they are fine, train with a lower "
            "learning_rate or a lower max_grad_norm."
        )


def _number(norm: torch.Tensor | float) -> float:
    """Return a norm as a number; that of sharded gradients is a `DTensor`, whose shards are added up first."""
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
