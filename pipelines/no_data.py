# SPDX-License-Identifier: Apache-2.0
"""Boxes where an image has no data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geodit.pipelines.tiling import Detection

__all__ = ["clip_to_data"]

# A box that has data in a smaller share of its area is not of anything that can be seen.
_LEAST_SHARE = 0.5


def clip_to_data(detections: Iterable[Detection], valid: NDArray[np.bool_] | None) -> tuple[Detection, ...]:
    """Leave out boxes of which more than half has no data, and clip the others to the pixels that have.

    Args:
        detections: With boxes in pixels of the image.
        valid: `(H, W)`, where the image has data; `None` if everywhere.
    """
    if valid is None:
        return tuple(detections)
    clipped = (_clip(detection, valid) for detection in detections)
    return tuple(detection for detection in clipped if detection is not None)


def _clip(detection: Detection, valid: NDArray[np.bool_]) -> Detection | None:
    x1, y1, x2, y2 = detection.box
    left, top, right, bottom = math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)
    seen = valid[top:bottom, left:right]
    if not seen.size or seen.mean() < _LEAST_SHARE:
        return None
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    box = (
        max(x1, float(left + columns[0])),
        max(y1, float(top + rows[0])),
        min(x2, float(left + columns[-1] + 1)),
        min(y2, float(top + rows[-1] + 1)),
    )
    return replace(detection, box=box)
