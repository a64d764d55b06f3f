# SPDX-License-Identifier: Apache-2.0
"""Weights are read from safetensors files only: a pickle can run any code when it is read."""

import os
from pathlib import Path

_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
_HOW_TO_CONVERT = (
    'Convert them where you trust them: python -c "import torch, safetensors.torch as s; '
    "s.save_file({k: v.contiguous() for k, v in torch.load('pytorch_model.bin', weights_only=True).items()}, "
    "'model.safetensors', {'format': 'pt'})\""
)


def refuse_pickles(directory: str | os.PathLike[str]) -> None:
    """Say how to go on where weights are there, but as pickles alone.

    Raises:
        ValueError: If the folder has files of pickled weights and no safetensors file.
    """
    folder = Path(directory)
    pickles = sorted({path.name for pattern in _PICKLES for path in folder.glob(pattern)})
    if pickles and not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"{folder} holds its weights as pickles ({', '.join(pickles)}), which may run code when read; only "
            f"safetensors files are read. {_HOW_TO_CONVERT}"
        )


__all__ = ["refuse_pickles"]
