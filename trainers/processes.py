# SPDX-License-Identifier: Apache-2.0
"""What the processes of a run tell each other."""

from collections.abc import Sequence
from typing import cast

import torch
from accelerate import Accelerator


def gather_integers(accelerator: Accelerator, values: Sequence[int]) -> list[list[int]]:
    """Give every process the integers of each process. All must call it with as many.

    Returns:
        One list for each process, in their order.
    """
    if accelerator.num_processes == 1:
        return [list(values)]
    own = torch.tensor([list(values)], device=accelerator.device)
    return cast(list[list[int]], accelerator.gather(own).tolist())
