# SPDX-License-Identifier: Apache-2.0
"""World files: six numbers next to an image that say where its pixels are."""

from __future__ import annotations

from pathlib import Path

__all__ = ["has_world_file", "world_file_names"]


def world_file_names(path: Path) -> list[Path]:
    """Return the names that the world file of an image may have: of `a.jpg` `a.jgw`, `a.jpgw` and `a.wld`."""
    suffix = path.suffix.removeprefix(".")
    kinds = [f".{suffix[0]}{suffix[-1]}w", f".{suffix}w"] if suffix else []
    return [path.with_suffix(form) for kind in (*kinds, ".wld") for form in (kind.lower(), kind.upper())]


def has_world_file(path: Path) -> bool:
    """Return whether an image has one."""
    return any(file.is_file() for file in world_file_names(path))
