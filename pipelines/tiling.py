# SPDX-License-Identifier: Apache-2.0
"""Looking at a large image tile by tile: where the tiles lie, and how detections of neighbours are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geodit.data.windows import Window, window_grid
from geodit.processing.box_ops import as_boxes, box_area

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """An object that was found.

    Args:
        box: `(x1, y1, x2, y2)` in pixels of the original image.
        label: its class name.
        score: 0 to 1, how sure the model was of the tokens of the box.
        cut: whether the box ends at the edge of a tile after which the image goes on.
    """

    box: Box
    label: str
    score: float
    cut: bool = False


def tile_windows(image_size: tuple[int, int], tile_size: int, overlap: float = 0.25) -> list[Window]:
    """Tiles of equal size, in row order, that together cover an image.

    Args:
        image_size: (height, width) of the image in pixels.
        tile_size: side of a tile in pixels. An image that is smaller is one tile of its own size.
        overlap: share of a tile's side that neighbours have in common at least, 0 to below 1. Objects up to
            that length are whole in some tile.

    Raises:
        ValueError: if a size is below 1, or the overlap out of range.
    """
    if not 0.0 <= overlap < 1.0:
        raise ValueError(f"overlap must be a share from 0 to below 1, got {overlap}")
    return window_grid(image_size, tile_size, max(1, int(tile_size * (1.0 - overlap))))


def to_image(detection: Detection, window: Window, image_size: tuple[int, int], margin: float) -> Detection:
    """Move a detection from a tile's pixels to the image's, and note whether the tile has cut it.

    Args:
        detection: with its box in pixels of the tile.
        window: the tile.
        image_size: (height, width) of the image.
        margin: how far from the tile's edge, in pixels, a box may end and still count as ending there.
    """
    x1, y1, x2, y2 = detection.box
    height, width = image_size
    cut = (
        (x1 <= margin and window.left > 0)
        or (y1 <= margin and window.top > 0)
        or (x2 >= window.width - margin and window.left + window.width < width)
        or (y2 >= window.height - margin and window.top + window.height < height)
    )
    box = (x1 + window.left, y1 + window.top, x2 + window.left, y2 + window.top)
    return Detection(box, detection.label, detection.score, cut)


def merge_detections(detections: Sequence[Detection], threshold: float = 0.5) -> list[Detection]:
    """Keep one detection of each object that several tiles have found.

    Non-maximum suppression for each label. Two boxes are of one object when their intersection is at least
    `threshold` of the smaller of them: the part of an object that a tile shows lies within the whole that its
    neighbour shows, though the two have little in common by intersection over union. For the same reason a
    box that no tile has cut goes before all that are cut; otherwise the higher score goes first.

    Args:
        detections: of all tiles, in pixels of the image.
        threshold: see above; above 0 and at most 1.

    Returns:
        The detections kept, by falling score.

    Raises:
        ValueError: if the threshold is out of range.
    """
    kept: list[Detection] = []
    for label in dict.fromkeys(detection.label for detection in detections):
        group = [detection for detection in detections if detection.label == label]
        boxes = [detection.box for detection in group]
        priority = [detection.score - 2.0 * detection.cut for detection in group]
        kept += [group[index] for index in non_maximum_suppression(boxes, priority, threshold)]
    return sorted(kept, key=lambda detection: -detection.score)


def non_maximum_suppression(boxes: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> NDArray[np.intp]:
    """Suppress boxes greedily that have too much in common with a better one.

    That is: the intersection is at least `threshold` of the smaller of the two.

    Args:
        boxes: (K, 4) `[x1, y1, x2, y2]`.
        scores: (K,); the first of equal ones is the better.
        threshold: above 0 and at most 1.

    Returns:
        Indices of the boxes kept, best first.

    Raises:
        ValueError: if boxes and scores do not fit together, or the threshold is out of range.
    """
    corners = as_boxes(boxes)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(corners),):
        raise ValueError(f"there must be one score a box: {len(corners)} boxes, scores of {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite numbers")
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
    area = box_area(corners)
    # Boxes that share anything lie in a common cell of a grid as wide as the largest box, so that scenes with
    # very many boxes take time in proportion.
    largest = float((corners[:, 2:] - corners[:, :2]).max(initial=0.0)) or 1.0
    spans = np.floor(corners / largest).astype(np.int64).tolist()
    kept: list[int] = []
    kept_in_cell: dict[tuple[int, int], list[int]] = {}
    for index in np.argsort(-values, kind="stable").tolist():
        left, top, right, bottom = spans[index]
        cells = [(column, row) for column in range(left, right + 1) for row in range(top, bottom + 1)]
        better = [other for cell in cells for other in kept_in_cell.get(cell, ())]
        low = np.maximum(corners[index, :2], corners[better, :2])
        high = np.minimum(corners[index, 2:], corners[better, 2:])
        shared = np.prod(np.maximum(high - low, 0.0), axis=1)
        smaller = np.minimum(area[index], area[better])
        if np.any((shared > 0.0) & (shared >= threshold * smaller)):
            continue
        kept.append(index)
        for cell in cells:
            kept_in_cell.setdefault(cell, []).append(index)
    return np.array(kept, dtype=np.intp)
