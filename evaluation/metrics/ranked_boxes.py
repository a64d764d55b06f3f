# SPDX-License-Identifier: Apache-2.0
"""Mean average precision of any choice of images, from boxes that were judged once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "COCO_RECALLS",
    "COCO_THRESHOLDS",
    "VOC2007_RECALLS",
    "RankedBoxes",
    "coco_hits",
    "mean_precision",
    "rank_boxes",
    "voc_hits",
]

COCO_THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
COCO_RECALLS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
VOC2007_RECALLS: NDArray[np.float64] = np.arange(0, 1 + 1e-3, 0.1)


class _OfClass(NamedTuple):
    samples: NDArray[np.intp]  # of each box, in the order of falling scores, equal ones in that of the samples
    levels: NDArray[np.intp] | None  # number of each box's score, if two boxes of a sample have the same
    hits: NDArray[np.bool_]  # (thresholds, boxes)
    num_true: NDArray[np.int64]  # of each sample


class RankedBoxes:
    """Boxes of each class in the order of their scores, each known to be right or wrong.

    Args:
        classes: The classes that have a box or a true one.
        num_samples: Number of samples.
        recalls: At which recalls precision is read off; their mean is the average precision.
    """

    def __init__(self, classes: Sequence[_OfClass], num_samples: int, recalls: NDArray[np.float64]) -> None:
        self._classes = [one for one in classes if one.num_true.any()]
        self._num_samples = num_samples
        self._recalls = recalls

    def mean_average_precision(self, indices: NDArray[np.intp]) -> NDArray[np.float64] | None:
        """Compute the mean over classes of the average precision of some samples.

        Precision at a recall is the greatest at that recall or a higher one. A sample that is drawn twice counts
        twice, as two images with the same boxes would.

        Args:
            indices: Indices of samples, repetitions included.

        Returns:
            Array of shape (thresholds,); `None` where the samples have no true box.
        """
        drawn = np.bincount(indices, minlength=self._num_samples)
        found = [
            self._average_precision(one, drawn, total)
            for one in self._classes
            if (total := int(one.num_true @ drawn)) > 0
        ]
        return np.mean(found, axis=0) if found else None

    def _average_precision(self, one: _OfClass, drawn: NDArray[np.int64], num_true: int) -> NDArray[np.float64]:
        order, weights = self._in_order(one, drawn)
        return mean_precision(one.hits[:, order], num_true, self._recalls, weights)

    def _in_order(self, one: _OfClass, drawn: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Return the boxes of the samples that were drawn, in their order, and how often each comes there."""
        times = drawn[one.samples]
        if one.levels is None or times.max(initial=0) <= 1:
            # Precision is the greatest at a recall or a higher one, so copies of a box can come in at once.
            order = np.flatnonzero(times)
            return order, times[order]
        boxes = np.repeat(np.arange(len(times)), times)
        copies = np.arange(len(boxes)) - np.repeat(np.cumsum(times) - times, times)
        # Boxes of equal scores come in sample by sample, so copies of a sample come one after the other.
        order = boxes[np.lexsort((boxes, copies, one.samples[boxes], one.levels[boxes]))]
        return order, np.ones(len(order), dtype=np.int64)


def mean_precision(
    hits: ArrayLike, num_true: int, recalls: NDArray[np.float64], weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Compute the mean over recalls of the precision of boxes in a given order.

    Precision at a recall is the greatest at that recall or a higher one, and 0 at recalls that are not reached.

    Args:
        hits: Whether each box is right, shape (thresholds, N).
        num_true: Number of true boxes, at least 1.
        recalls: At which recalls precision is read off: [`COCO_RECALLS`] or [`VOC2007_RECALLS`].
        weights: How often each box comes in at its place, shape (N,); by default once.

    Returns:
        Array of shape (thresholds,).
    """
    judged = np.asarray(hits, dtype=np.int64)
    times = np.ones(judged.shape[1], dtype=np.int64) if weights is None else np.asarray(weights, dtype=np.int64)
    right = np.cumsum(judged * times, axis=1)
    precision = right / np.cumsum(times)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # One more column: recalls that are not reached.
    precision = np.concatenate([precision, np.zeros((len(precision), 1))], axis=1)
    reached = [np.searchsorted(of_threshold, recalls) for of_threshold in right / num_true]
    areas: NDArray[np.float64] = np.take_along_axis(precision, np.asarray(reached), axis=1).mean(axis=1)
    return areas


def rank_boxes(
    overlaps: Sequence[NDArray[np.float64]],
    labels: Sequence[Sequence[str]],
    true_labels: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]] | None,
    *,
    voc2007: bool = False,
) -> RankedBoxes:
    """Judge boxes in the order of their scores.

    Args:
        overlaps: For each sample the IoU of its boxes with its true boxes, shape (boxes, true boxes).
        labels: For each sample the class of each box.
        true_labels: For each sample the class of each true box.
        scores: For each sample the score of each box; of equal scores the first box of the first sample comes first.
            `None` for scores that are all equal.
        voc2007: Judge as Pascal VOC did in 2007 and MMRotate does, at an IoU of 0.5, and take the mean of 11 points of
            the curve; by default as COCO at its 10 thresholds and 101 points.
    """
    recalls = VOC2007_RECALLS if voc2007 else COCO_RECALLS
    classes = sorted({label for of_sample in (*labels, *true_labels) for label in of_sample})
    by_class: dict[str, list[tuple[NDArray[np.float64], NDArray[np.bool_]]]] = {label: [] for label in classes}
    owners: dict[str, list[int]] = {label: [] for label in classes}
    num_true = {label: np.zeros(len(overlaps), dtype=np.int64) for label in classes}
    for index, (overlap, mine, true) in enumerate(zip(overlaps, labels, true_labels, strict=True)):
        values = np.ones(len(mine)) if scores is None else np.asarray(scores[index], dtype=np.float64)
        of_box, of_truth = np.asarray(mine, dtype=object), np.asarray(true, dtype=object)
        for label in {*mine, *true}:
            boxes, truths = np.flatnonzero(of_box == label), np.flatnonzero(of_truth == label)
            num_true[label][index] = len(truths)
            if len(boxes):
                boxes = boxes[np.argsort(-values[boxes], kind="stable")]
                iou = overlap[np.ix_(boxes, truths)]
                by_class[label].append((values[boxes], voc_hits(iou) if voc2007 else coco_hits(iou)))
                owners[label] += [index] * len(boxes)
    ranked = []
    for label in classes:
        judged = by_class[label]
        samples = np.asarray(owners[label], dtype=np.intp)
        if not judged:
            thresholds = 1 if voc2007 else len(COCO_THRESHOLDS)
            ranked.append(_OfClass(samples, None, np.zeros((thresholds, 0), dtype=np.bool_), num_true[label]))
            continue
        values = np.concatenate([of_sample for of_sample, _ in judged])
        order = np.argsort(-values, kind="stable")
        samples, values = samples[order], values[order]
        levels = np.concatenate([[0], np.cumsum(np.diff(values) != 0)]).astype(np.intp)
        tied = (np.diff(samples) == 0) & (np.diff(levels) == 0)
        hits = np.concatenate([of_sample for _, of_sample in judged], axis=1)[:, order]
        ranked.append(_OfClass(samples, levels if tied.any() else None, hits, num_true[label]))
    return RankedBoxes(ranked, len(overlaps), recalls)


def coco_hits(iou: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell right boxes from wrong ones as COCO does, at each of its thresholds.

    In their order boxes take, of the true boxes that are left, the one of the greatest IoU, if that is at least the
    threshold; of equal ones the last, as in `cocoeval.py`.

    Args:
        iou: Of the boxes of one class in one image, in the order of their scores, with the true ones, shape (N, M).

    Returns:
        Array of shape (10, N).
    """
    hits = np.zeros((len(COCO_THRESHOLDS), len(iou)), dtype=np.bool_)
    if not iou.size:
        return hits
    greatest = iou.max(axis=1)
    for row, threshold in enumerate(COCO_THRESHOLDS):
        left = iou.copy()
        for box in np.flatnonzero(greatest >= threshold):
            truth = left.shape[1] - 1 - int(left[box, ::-1].argmax())
            if left[box, truth] >= threshold:
                hits[row, box] = True
                left[:, truth] = -1.0
    return hits


def voc_hits(iou: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell right boxes from wrong ones as Pascal VOC does, at an IoU of at least 0.5.

    A box stands for the true box that it overlaps most, even if another box has taken that one: then it is wrong.

    Args:
        iou: As for [`coco_hits`].

    Returns:
        Array of shape (1, N).

    Source: `tpfp_default` in `mmrotate/core/evaluation/eval_map.py` of github.com/open-mmlab/mmrotate.
    """
    hits = np.zeros((1, len(iou)), dtype=np.bool_)
    taken = set()
    for box, of_box in enumerate(iou):
        truth = int(of_box.argmax()) if len(of_box) else -1
        if truth >= 0 and of_box[truth] >= 0.5 and truth not in taken:
            hits[0, box] = True
            taken.add(truth)
    return hits
