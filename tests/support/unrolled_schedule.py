# SPDX-License-Identifier: Apache-2.0
"""The schedule of a whole canvas, unrolled."""

import torch

from geodit.modeling_geodit.decoding_geodit import num_to_commit


def tokens_per_step(num_masked: torch.Tensor, steps: int) -> torch.Tensor:
    """How many of `(B,)` masked tokens each of N steps commits that commits no more than it must, `(B, N)` int64."""
    left = num_masked.long()
    plan = []
    for steps_left in range(steps, 0, -1):
        plan.append(num_to_commit(left, steps_left))
        left = left - plan[-1]
    return torch.stack(plan, dim=-1)
