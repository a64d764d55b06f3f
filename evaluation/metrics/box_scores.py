# SPDX-License-Identifier: Apache-2.0
"""What the scores of boxes are worth: how well they order right and wrong boxes, and how well they are calibrated."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geodit.processing.box_ops import box_iou, match_boxes

__all__ = ["average_precision", "expected_calibration_error", "judge_boxes"]


def judge_boxes(
    boxes: ArrayLike, scores: ArrayLike, true_boxes: ArrayLike, iou_threshold: float = 0.5
) -> NDArray[np.bool_]:
    """Tell the right boxes of one answer from the wrong ones, as COCO does.

    In order of falling score each box takes the true box of the greatest IoU that is not taken yet.

    Args:
        boxes: Predicted boxes of one class, shape (N, 4).
        scores: Their scores, shape (N,); of equal scores the first box comes first.
        true_boxes: True boxes of that class, shape (M, 4).
        iou_threshold: A box is right if the IoU is at least this.

    Returns:
        Array of shape (N,): whether each box is right.

    Raises:
        ValueError: If a box is malformed or there is not one score per box.
    """
    overlaps = box_iou(boxes, true_boxes)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != overlaps.shape[:1]:
        raise ValueError(f"scores have shape {values.shape}, but there are {len(overlaps)} boxes; give one per box")
    correct = np.zeros(len(overlaps), dtype=np.bool_)
    for index, _ in match_boxes(overlaps, iou_threshold, order=np.argsort(-values, kind="stable").tolist()):
        correct[index] = True
    return correct


def average_precision(scores: ArrayLike, correct: ArrayLike, num_true: int) -> float:
    """Compute the area under the precision-recall curve of all boxes in one pool.

    Precision at a recall is the greatest at that recall or a higher one (Pascal VOC, from 2010 on), and every point
    of the curve counts. Boxes of equal scores come in at once, so that their order does not matter.

    Args:
        scores: Scores of the N boxes of all answers, shape (N,).
        correct: Whether each is right, shape (N,).
        num_true: Number of true boxes.

    Returns:
        The area, from 0 to 1; 0 without boxes.

    Raises:
        ValueError: If the shapes differ, a score is not finite, or there are no true boxes or fewer than right ones.
    """
    values, right = _scored(scores, correct)
    if num_true < max(1, int(right.sum())):
        raise ValueError(f"num_true is {num_true}, but must be at least 1 and the {int(right.sum())} right boxes")
    if not len(values):
        return 0.0
    order = np.argsort(-values, kind="stable")
    last_of_score = np.append(np.diff(values[order]) != 0, True)
    hits = right[order].cumsum()[last_of_score]
    taken = np.arange(1, len(values) + 1)[last_of_score]
    precision = np.maximum.accumulate((hits / taken)[::-1])[::-1]
    recall = hits / num_true
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def expected_calibration_error(scores: ArrayLike, correct: ArrayLike, num_bins: int = 10) -> float:
    """Compute the mean distance of score and precision over bins of equal width, weighted by their number of boxes.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.

    Args:
        scores: Scores of N boxes in [0, 1], shape (N,).
        correct: Whether each is right, shape (N,).
        num_bins: Number of bins of [0, 1]; a score of 1 is in the last one.

    Returns:
        The error, from 0 to 1; 0 without boxes.

    Raises:
        ValueError: If the shapes differ, a score is not in [0, 1], or there is no bin.
    """
    values, right = _scored(scores, correct)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    if ((values < 0) | (values > 1)).any():
        raise ValueError("scores must be between 0 and 1: calibration compares them with shares")
    if not len(values):
        return 0.0
    bins = np.minimum((values * num_bins).astype(np.int64), num_bins - 1)
    # Of a bin of n boxes, n times the distance of the means is the distance of the sums.
    gaps = np.bincount(bins, weights=values - right, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(values))


def _scored(scores: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.bool_)
    if values.ndim != 1 or values.shape != right.shape:
        raise ValueError(f"scores and correct must both have shape (N,), got {values.shape} and {right.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite numbers")
    return values, right
