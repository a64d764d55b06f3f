# SPDX-License-Identifier: Apache-2.0
"""What one tile has found, looked up in the tile that sees the place best.

Tiles overlap, so that the same place is seen several times, and each look may find something that is not there. Near
its edges a tile shows objects in part, which are easily taken for others. Of the tiles that show the whole box of a
detection one shows it farthest from its edges: where that one has found nothing like it, the detection is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geodit.data.windows import Window
from geodit.pipelines.merging import MergeOptions, areas_of, overlapping_detections, overlapping_pairs
from geodit.pipelines.tiling import Detection
from geodit.processing.box_ops import as_boxes

__all__ = ["leave_out_unconfirmed"]


def leave_out_unconfirmed(
    detections: Sequence[Detection],
    windows: Mapping[int, Window],
    image_size: tuple[int, int],
    options: MergeOptions,
) -> list[Detection]:
    """Leave out detections that the tile which sees their place best has not found.

    Args:
        detections: Of all tiles, in pixels of the image. A detection that does not say its tile is kept.
        windows: The tiles that were answered, by their numbers.
        image_size: `(height, width)` of the image.
        options: Which match makes two boxes one object.

    Returns:
        The others, in their order.
    """
    if not detections or not windows:
        return list(detections)
    boxes = as_boxes([detection.box for detection in detections])
    numbers = np.array(list(windows), dtype=np.int64)
    tiles = np.array([[left, top, left + width, top + height] for top, left, height, width in windows.values()], float)
    own = np.array([-1 if detection.tile is None else detection.tile for detection in detections], dtype=np.int64)
    best = _seen_best(boxes, own, numbers, tiles, image_size)
    confirmed = (own == -1) | (own == best)
    area = areas_of(detections)
    labels = np.unique([detection.label for detection in detections], return_inverse=True)[1]
    for first, second, shared in overlapping_detections(detections):
        smaller = np.minimum(area[first], area[second])
        whole = smaller if options.match == "ios" else area[first] + area[second] - shared
        same = (labels[first] == labels[second]) & (shared >= options.threshold * whole)
        for one, other in ((first, second), (second, first)):
            confirmed[one[same & (own[other] == best[one])]] = True
    return [detection for detection, is_confirmed in zip(detections, confirmed.tolist(), strict=True) if is_confirmed]


def _seen_best(
    boxes: NDArray[np.float64],
    own: NDArray[np.int64],
    numbers: NDArray[np.int64],
    tiles: NDArray[np.float64],
    image_size: tuple[int, int],
) -> NDArray[np.int64]:
    """Return the number of the tile in which each box lies farthest from the edges.

    A tile that shows less than the whole box is none; without any, and where no other is better, it is the box's own.
    """
    height, width = image_size
    # An edge of the image is none of a tile: there is nothing beyond it.
    reach = tiles.copy()
    reach[tiles[:, 0] <= 0, 0] = -np.inf
    reach[tiles[:, 1] <= 0, 1] = -np.inf
    reach[tiles[:, 2] >= width, 2] = np.inf
    reach[tiles[:, 3] >= height, 3] = np.inf
    order = np.argsort(numbers)
    place = order[np.minimum(np.searchsorted(numbers[order], own), len(order) - 1)]
    # What was found by none of the tiles, such as by a look at the whole image, is as deep in its own as nothing.
    least = np.where(numbers[place] == own, np.maximum(_depth(boxes, reach[place]), 0.0), 0.0)
    best, depth = own.copy(), least.copy()
    count = len(boxes)
    for first, second, _ in overlapping_pairs(np.concatenate([boxes, tiles])):
        low, high = np.minimum(first, second), np.maximum(first, second)
        mixed = (low < count) & (high >= count)
        box, tile = low[mixed], high[mixed] - count
        depths = _depth(boxes[box], reach[tile])
        deeper = depths > least[box]
        box, tile, depths = box[deeper], tile[deeper], depths[deeper]
        # The deepest of each box first; of equals the one with the least number.
        order = np.lexsort((numbers[tile], -depths, box))
        box, first_of_box = np.unique(box[order], return_index=True)
        chosen = order[first_of_box]
        found, depths = numbers[tile[chosen]], depths[chosen]
        better = (depths > depth[box]) | ((depths == depth[box]) & (depths > least[box]) & (found < best[box]))
        best[box[better]], depth[box[better]] = found[better], depths[better]
    return best


def _depth(boxes: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far boxes lie from the edges of tiles, in pixels; below 0 if they leave them."""
    inside = np.concatenate([boxes[:, :2] - reach[:, :2], reach[:, 2:] - boxes[:, 2:]], axis=1)
    smallest: NDArray[np.float64] = inside.min(axis=1)
    return smallest
