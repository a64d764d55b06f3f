# SPDX-License-Identifier: Apache-2.0
"""A model that is trained, ready to answer for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from geodit.trainers.training_arguments import GeoDiTTrainingArguments


@contextmanager
def answering_mode(model: Any, args: GeoDiTTrainingArguments) -> Iterator[None]:
    """Put a model in evaluation mode, under the precision that it is trained in.

    What is trained may be in float32 beside a base of 16 bits, so that answers need autocast, too.

    Args:
        model: The model.
        args: Of the training.
    """
    was_training = model.training
    model.eval()
    dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
    try:
        with torch.autocast(model.device.type, dtype, enabled=dtype is not None):
            yield
    finally:
        model.train(was_training)
