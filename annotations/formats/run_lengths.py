# SPDX-License-Identifier: Apache-2.0
"""Boxes of masks in COCO's run-length encoding.

pycocotools reads the same, in C that trusts its input: the text of a mask that is cut off is read beyond its end. The
runs are so little that they are decoded here, and checked. No mask is drawn for its box.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geodit.data.readers.fields import brief, numbers
from geodit.data.schema import Box

__all__ = ["box_of_mask"]

_MAX_RUNS = 2**22
_MAX_SIDE = 2**20  # pixels
_MAX_BITS = 40  # of a run


def box_of_mask(mask: Mapping[str, object]) -> Box:
    """Return the box around a mask.

    Args:
        mask: `{"size": [height, width], "counts": ...}` with the runs of zeros and ones in turn, column by column, as
            a list of lengths or as COCO's text.

    Returns:
        `(x1, y1, x2, y2)` in pixels; the right and bottom ends are exclusive.

    Raises:
        ValueError: If it is not such a mask, or nothing is in it.
    """
    height, width = (int(side) for side in numbers(mask.get("size"), 2))
    counts = mask.get("counts")
    if isinstance(counts, str):
        runs = _decode(counts)
    elif isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts):
        runs = counts
    else:
        raise ValueError(f"its mask has {brief(counts)} for lengths of runs")
    if not (0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE):
        raise ValueError(f"its mask is {width} x {height} pixels")
    if sum(runs) != height * width:
        raise ValueError(f"the runs of its mask make {sum(runs):,} pixels, not {width} x {height}")
    if not any(runs[1::2]):
        raise ValueError("its mask is empty")
    ends = np.cumsum(np.asarray(runs, dtype=np.int64))
    starts, stops = ends[0::2][: len(runs) // 2], ends[1::2]
    filled = stops > starts
    first, last = starts[filled], stops[filled] - 1
    # A run that goes on in the next column has the whole height.
    across = bool((first // height != last // height).any())
    top = 0 if across else int((first % height).min())
    bottom = height - 1 if across else int((last % height).max())
    return float(first[0] // height), float(top), float(last[-1] // height + 1), float(bottom + 1)


def _decode(text: str) -> list[int]:
    """Decode COCO's text: numbers of 5 bits per character, the lowest first, from the fourth as differences."""
    runs: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > _MAX_BITS or len(runs) > _MAX_RUNS:
            raise ValueError(f"its mask has the text {brief(text)} for lengths of runs")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        run = value + (runs[-2] if len(runs) > 2 else 0)
        if run < 0:
            raise ValueError("a run of its mask is shorter than nothing")
        runs.append(run)
        value = bits = 0
    if bits:
        raise ValueError("the text of its mask is cut off")
    return runs
