# SPDX-License-Identifier: Apache-2.0
"""Geometry of axis-aligned boxes, in NumPy; `boxes_geodit` reads them from text.

Boxes are ``[x1, y1, x2, y2]`` in any one unit. Areas are continuous: a box from 0 to 10 is 10 wide, as in
COCO and torchvision, where Pascal VOC's development kit counted pixels and added one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["as_boxes", "box_area", "box_iou", "match_boxes"]


def as_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return boxes as one float array.

    Args:
        boxes: N boxes `[x1, y1, x2, y2]`; an empty sequence is no boxes.

    Returns:
        Array of shape (N, 4), float64.

    Raises:
        ValueError: If the shape is not (N, 4), a coordinate is not finite, or a box has x2 < x1 or y2 < y1.
    """
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 4), dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes must have shape (N, 4), [x1, y1, x2, y2] each, but have shape {array.shape}")
    wrong = ~np.isfinite(array).all(axis=1) | (array[:, 2] < array[:, 0]) | (array[:, 3] < array[:, 1])
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"box {index} is {array[index].tolist()}: coordinates must be finite with x1 <= x2 and y1 <= y2"
        )
    return array


def box_area(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return the area of every box.

    Args:
        boxes: Shape (N, 4).

    Returns:
        Array of shape (N,), in squared units of the boxes.

    Raises:
        ValueError: If the boxes are malformed, see [`as_boxes`].
    """
    array = as_boxes(boxes)
    area: NDArray[np.float64] = (array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1])
    return area


def box_iou(boxes1: ArrayLike, boxes2: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes.

    A box without area has an IoU of 0 with every box, itself included.

    Args:
        boxes1: Shape (N, 4).
        boxes2: Shape (M, 4), in the same unit.

    Returns:
        Array of shape (N, M), in [0, 1].

    Raises:
        ValueError: If the boxes are malformed, see [`as_boxes`].
    """
    first, second = as_boxes(boxes1), as_boxes(boxes2)
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = np.clip(bottom_right - top_left, 0.0, None).prod(axis=2)
    union = box_area(first)[:, None] + box_area(second)[None, :] - intersection
    iou: NDArray[np.float64] = np.zeros_like(intersection)
    np.divide(intersection, union, out=iou, where=union > 0)
    return iou


def match_boxes(
    iou: NDArray[np.float64], min_iou: float = 0.0, order: Iterable[int] | None = None
) -> list[tuple[int, int]]:
    """Match boxes with true boxes, one to one and greedily.

    Without an order, the pair of the greatest IoU among all boxes that are left is matched next. With an order, the
    boxes have their turn in it, and each is matched with the true box of the greatest IoU among those that are left.

    Args:
        iou: IoU of N boxes with M true boxes, as [`box_iou`] returns it, shape (N, M).
        min_iou: Match pairs of at least this IoU.
        order: Indices of boxes, each at most once.

    Returns:
        Pairs (index of the box, index of the true box) in the order in which they were matched.
    """
    left = iou.copy()
    pairs: list[tuple[int, int]] = []
    if not left.size:
        return pairs
    for turn in range(min(left.shape)) if order is None else order:
        box = int(left.max(axis=1).argmax()) if order is None else turn
        true_box = int(left[box].argmax())
        if left[box, true_box] >= min_iou:
            pairs.append((box, true_box))
            left[box, :] = left[:, true_box] = -1.0
    return pairs
