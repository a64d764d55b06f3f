# SPDX-License-Identifier: Apache-2.0
"""Intersection over union of boxes of which some are turned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geodit.processing.box_ops import as_boxes
from geodit.processing.polygons import box_corners, polygon_area, shared_area, surrounding_box
from geodit.processing.turned_boxes_geodit import Corners, Point

__all__ = ["OfBoxes", "iou_of_polygons", "polygon_iou"]

OfBoxes = Sequence[Corners | None]
"""The four corners of each turned box, and `None` for each upright one."""


def polygon_iou(
    boxes: ArrayLike, corners: OfBoxes, true_boxes: ArrayLike, true_corners: OfBoxes
) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes, each by its corners where it has any.

    Args:
        boxes: Upright boxes, shape (N, 4).
        corners: Corners of those that are turned; an empty sequence if none is.
        true_boxes: Shape (M, 4), in the same unit.
        true_corners: Likewise.

    Returns:
        Array of shape (N, M), in [0, 1]; 0 where a box has no area.

    Raises:
        ValueError: If a box is malformed or there are not as many corners as boxes.
    """
    first, second = _polygons(boxes, corners), _polygons(true_boxes, true_corners)
    iou = np.zeros((len(first), len(second)), dtype=np.float64)
    around_second = [surrounding_box(polygon) for polygon in second]
    for row, polygon in enumerate(first):
        left, top, right, bottom = surrounding_box(polygon)
        for column, other in enumerate(second):
            x1, y1, x2, y2 = around_second[column]
            if x1 < right and left < x2 and y1 < bottom and top < y2:
                iou[row, column] = iou_of_polygons(polygon, other)
    return iou


def iou_of_polygons(first: Sequence[Point], second: Sequence[Point]) -> float:
    """Return the intersection over union of two convex polygons; 0 if one has no area.

    Args:
        first: Its corners in order, (x, y) each.
        second: Likewise, in the same unit.
    """
    areas = polygon_area(first), polygon_area(second)
    if not all(areas):
        return 0.0
    shared = shared_area(first, second)
    return min(shared / (sum(areas) - shared), 1.0)


def _polygons(boxes: ArrayLike, corners: OfBoxes) -> list[Corners]:
    upright = as_boxes(boxes)
    if corners and len(corners) != len(upright):
        raise ValueError(
            f"there are {len(upright)} boxes but corners of {len(corners)}; give corners, or None, for each"
        )
    turned = corners or [None] * len(upright)
    return [
        box_corners((box[0], box[1], box[2], box[3])) if polygon is None else polygon
        for box, polygon in zip(upright.tolist(), turned, strict=True)
    ]
