# SPDX-License-Identifier: Apache-2.0
"""How much arithmetic a contestant does, counted while it does it."""

from __future__ import annotations

import warnings

import torch
from torch.utils.flop_counter import FlopCounterMode

from geodit.speed.contestants import Contestant

__all__ = ["count_flops"]


def count_flops(contestant: Contestant) -> tuple[int, torch.Tensor | None]:
    """Run a contestant once and count.

    Args:
        contestant: Who runs.

    Returns:
        The floating point operations of its matrix products, convolutions and attention, two a multiplication with
        its addition, where attention counts in full even if it is causal; and what the run returned.
    """
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    # PyTorch's counter knows the kernels of attention for GPUs alone.
    counter = FlopCounterMode(display=False, custom_mapping={attention: _attention_flops})
    # It sees operators one by one, so what is compiled or captured runs as neither, and does the same.
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings(), counter:
        # Of the hooks that the counter sets on all modules; they count no operator twice.
        warnings.filterwarnings("ignore", message=r"Using `torch\.compile\(module\)` when there are global hooks")
        output = contestant.run_uncaptured()
    return int(counter.get_total_flops()), output


def _attention_flops(query: torch.Size, key: torch.Size, *args: object, **kwargs: object) -> int:
    """Count the operations of attention for shapes `(B, H, Q, D)` and `(B, H', K, D)`."""
    rows, heads, queries, width = query
    return 4 * rows * heads * queries * key[2] * width
