# SPDX-License-Identifier: Apache-2.0
"""What a process that was killed while it wrote a result has left next to it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

__all__ = ["remove_leftovers", "staging_prefix"]


def staging_prefix(target: Path) -> str:
    """Return how the name of a folder begins in which a file is written before it moves to its place."""
    return f".{target.name}-"


def remove_leftovers(out: Path) -> None:
    """Delete what was to become a result, and was not moved to its place.

    Only the process that writes the result may call this: it cannot tell what was left from what is being written.

    Args:
        out: The file of the result.
    """
    target = out.resolve()
    # A file of `write_atomically`, or a folder of `tempfile`.
    named = re.compile(re.escape(staging_prefix(target)) + r"([0-9a-f]{32}|[a-z0-9_]{8})")
    for path in target.parent.iterdir():
        if not named.fullmatch(path.name) or path.is_symlink():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
