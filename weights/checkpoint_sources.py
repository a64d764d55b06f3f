# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that others published: folders as they are, Hub ids downloaded, without any code or pickle."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

__all__ = ["find_checkpoint"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
_WEIGHTS = ("*.safetensors",)


def find_checkpoint(
    name: str, *, revision: str | None = None, weights: bool = True, local_files_only: bool = False
) -> Path:
    """Return the folder of a checkpoint or of an adapter.

    Args:
        name: A folder, or a Hub id, which is downloaded to the cache of huggingface_hub.
        revision: Branch, tag or commit of a Hub id.
        weights: Whether its weights are needed, or configuration and tokenizer alone.
        local_files_only: Whether a Hub id is looked for in the cache alone.

    Raises:
        ValueError: If there is no such folder, and no such repository or no access to it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(f"{name} is a file; give the folder of a checkpoint, or a Hub id.")
    if not _HUB_ID.fullmatch(name):
        raise ValueError(f"There is no folder {name}, and a Hub id has the form organization/name.")
    patterns = [*_FILES, *_WEIGHTS] if weights else list(_FILES)
    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=local_files_only)
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"There is no folder {name}, and it could not be had from the Hub: {reason}") from error
