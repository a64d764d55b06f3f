# SPDX-License-Identifier: Apache-2.0
"""Find images that look the same, by a difference hash.

The image is reduced to 9 x 8 gray pixels; each of 64 bits says whether a pixel is darker than the one to its right.
Compression, resampling and brightness hardly change that. The library that does this, imagehash, needs SciPy and
PyWavelets for hashes that are not used here.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["MAX_DISTANCE", "LookAlikes", "difference_hash"]

MAX_DISTANCE = 3
"""Bits in which the hashes of two images that look the same differ at most."""

_SIDE = 8
# Hashes that differ in no more than MAX_DISTANCE bits are the same in at least one of so many parts.
_PARTS = MAX_DISTANCE + 1
_PART_BITS = _SIDE * _SIDE // _PARTS
# An image whose reduced pixels differ by less, in gray values, is as good as flat: its hash is that of its noise.
_LEAST_CONTRAST = 8


def difference_hash(pixels: NDArray[np.uint8]) -> int | None:
    """Return the hash of an image, or `None` for one that is hardly more than one color.

    Args:
        pixels: (H, W, 3), of any size.
    """
    reduced = Image.fromarray(pixels).convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    gray = np.asarray(reduced, dtype=np.int16)
    if np.ptp(gray) < _LEAST_CONTRAST:
        return None
    return int.from_bytes(np.packbits(gray[:, :-1] < gray[:, 1:]).tobytes(), "big")


class LookAlikes:
    """The images that were seen so far."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], list[tuple[int, str]]] = defaultdict(list)

    def find(self, value: int) -> str | None:
        """Return the first image whose hash differs in no more than `MAX_DISTANCE` bits, if there is one."""
        for key in _parts(value):
            for other, name in self._seen.get(key, ()):
                if (value ^ other).bit_count() <= MAX_DISTANCE:
                    return name
        return None

    def add(self, value: int, name: str) -> None:
        """Note an image and its hash."""
        for key in _parts(value):
            self._seen[key].append((value, name))


def _parts(value: int) -> list[tuple[int, int]]:
    return [(part, value >> (part * _PART_BITS) & (1 << _PART_BITS) - 1) for part in range(_PARTS)]
