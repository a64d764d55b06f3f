# SPDX-License-Identifier: Apache-2.0
"""By what answers of one model are told from those of another of the same name."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

__all__ = ["model_fingerprint"]

_SAMPLES = 64


def model_fingerprint(model: nn.Module) -> str:
    """Return a hash of a model's weights: names, shapes, types, and 64 values from all over each tensor.

    Training changes all of a tensor, so a few values tell two models apart, without a read of gigabytes. Adapters and
    the type that weights were loaded in are part of it, the device is not.

    Args:
        model: The model.
    """
    digest = hashlib.sha256()
    with torch.no_grad():
        for name, tensor in sorted(model.state_dict().items()):
            if not isinstance(tensor, torch.Tensor):
                continue
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            values = tensor.detach().flatten()
            sample = values[:: max(1, len(values) // _SAMPLES)][:_SAMPLES]
            digest.update(sample.to("cpu").contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
