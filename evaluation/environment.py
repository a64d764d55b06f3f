# SPDX-License-Identifier: Apache-2.0
"""What a result was computed with."""

from __future__ import annotations

import platform
from importlib import metadata

__all__ = ["describe_environment"]

_PACKAGES = (
    "geodit",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "pillow",
    "datasets",
    "evaluate",
    "scipy",
    "pycocoevalcap",
    "faster-coco-eval",
)


def describe_environment() -> dict[str, str | None]:
    """Return the versions of Python and of the libraries that results depend on; `None` for what is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions
