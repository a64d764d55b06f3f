# SPDX-License-Identifier: Apache-2.0
"""The checkpoints that come with the package."""

from pathlib import Path

BUNDLED = "geodit-tiny"


def bundled_checkpoint() -> str:
    """Return the folder of `geodit-tiny`, for `from_pretrained`.

    Raises:
        FileNotFoundError: If the installation lacks it.
    """
    folder = Path(__file__).parent / BUNDLED
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"this installation lacks the checkpoint {BUNDLED}")
    return str(folder)
