# SPDX-License-Identifier: Apache-2.0
"""Names of repositories of the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

__all__ = ["hub_id_problem", "is_hub_id"]


def hub_id_problem(name: object) -> str | None:
    """Return why a name cannot be that of a repository; `None` if it can."""
    if not isinstance(name, str):
        return "it is no text"
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        return str(error)
    return None


def is_hub_id(name: str) -> bool:
    """Return whether a name is `owner/name` and not that of a folder that is there."""
    return hub_id_problem(name) is None and "/" in name and not Path(name).exists()
