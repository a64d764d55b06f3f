# SPDX-License-Identifier: Apache-2.0
"""How often the chunks of a job were begun. The process that counts imports this module, and nothing large."""

from __future__ import annotations

from collections import Counter

__all__ = ["ChunkTries"]


class ChunkTries:
    """Counts how often each chunk was begun, in a process of its own that outlives the workers."""

    def __init__(self) -> None:
        self._count: Counter[int] = Counter()

    def begin(self, chunk: int) -> int:
        """Return the number of this try, counted from 1."""
        self._count[chunk] += 1
        return self._count[chunk]
