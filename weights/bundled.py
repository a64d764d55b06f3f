# SPDX-License-Identifier: Apache-2.0
"""The checkpoints that come with the package."""

from __future__ import annotations

from pathlib import Path

BUNDLED = "geodit-tiny"
_FOLDER = Path(__file__).parents[1] / "tiny" / BUNDLED


def bundled_checkpoint() -> str:
    """Return the folder of `geodit-tiny`, for `from_pretrained`.

    Raises:
        FileNotFoundError: If the installation lacks it.
    """
    if not (_FOLDER / "config.json").is_file():
        raise FileNotFoundError(f"this installation lacks the checkpoint {BUNDLED}")
    return str(_FOLDER)


def resolve_checkpoint(name: str) -> str:
    """Return the folder that a name of a bundled checkpoint stands for; other names stay as they are.

    Args:
        name: `"geodit-tiny"`, a folder, which goes first, or a Hub id.

    Raises:
        FileNotFoundError: If the installation lacks the checkpoint that is named.
    """
    return bundled_checkpoint() if name == BUNDLED and not Path(name).exists() else name


def checkpoint_name(checkpoint: str) -> str:
    """Return the name that means the same on every machine, where there is one; inverts [`resolve_checkpoint`]."""
    return BUNDLED if Path(checkpoint) == _FOLDER else checkpoint
