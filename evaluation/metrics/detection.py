# SPDX-License-Identifier: Apache-2.0
"""Detection: every object of the classes asked for."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence

import numpy as np
from datasets import Features, List, Value
from numpy.typing import ArrayLike, NDArray

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.evaluation.metrics.average_precision import LabeledBoxes, ScoredBoxes, mean_average_precision
from geodit.evaluation.metrics.base import AnswerMetric, evaluate, parsed_flags, summarize
from geodit.evaluation.metrics.grounding import check_iou_threshold
from geodit.evaluation.optional import import_optional
from geodit.processing.box_ops import box_iou

__all__ = ["DetectionMetric", "count_matches"]

_INPUTS = """
Args:
    predictions: One dict per image: `boxes` ([x1, y1, x2, y2] each), `labels` (one per box; case does not
        matter), `scores` (one per box, or an empty list for none) and `parsed` (bool).
    references: One dict per image: `boxes` and `labels`, in the same unit.
    iou_threshold: IoU from which a box matches.
    groups: The image of every sample, for `bootstrap`; by default every sample has its own. Where several
        questions ask for different classes in one image, each is a sample and the image is their group.
    bootstrap: Number of bootstrap resamples for 95% confidence intervals; 0 for none.
    bootstrap_seed: Seed of the resampling.
Returns:
    precision, recall and f1, the same as precision_keep_wellformed, recall_keep_wellformed and
    f1_keep_wellformed, empty_accuracy, num_boxes (true ones), num_predicted_boxes, iou_threshold, parse_rate,
    num_samples, map50 and map when boxes have scores, and confidence_intervals when asked for.
Raises:
    ValueError: If there are no predictions, a box is malformed, there is not one label (and score) per box,
        or the threshold is not inside (0, 1].
Example:
    >>> DetectionMetric().compute(
    ...     predictions=[{"boxes": [[0, 0, 10, 8]], "labels": ["ship"], "scores": [], "parsed": True}],
    ...     references=[{"boxes": [[0, 0, 10, 10], [20, 20, 30, 30]], "labels": ["ship", "ship"]}],
    ... )["recall"]
    0.5
"""

_CITATION = """
@article{everingham2010pascal, title={The PASCAL Visual Object Classes (VOC) challenge},
  author={Everingham, Mark and Van Gool, Luc and Williams, Christopher K. I. and Winn, John and Zisserman,
  Andrew}, journal={IJCV}, year={2010}}
"""

_NOTHING: ScoredBoxes = {"boxes": [], "labels": [], "scores": []}
_TRUE_BOXES = np.asarray([0, 0, 1], dtype=np.int64)  # of the three counts


class DetectionMetric(AnswerMetric):
    """Precision, recall and F1 of boxes at an IoU of at least 0.5, counted over the whole set.

    Boxes and true boxes of the same class are matched one to one, as many as can be (maximum-cardinality
    bipartite matching): generated boxes have no scores, so there is no order in which to match them greedily.
    An image without true boxes takes part: every box there is a false positive. An answer that did not parse
    has no boxes, so all its true boxes are missed. That is the strict rule, of all figures but
    `precision_keep_wellformed`, `recall_keep_wellformed` and `f1_keep_wellformed`: these count the boxes that are
    given for an answer that did not parse, the well-formed ones in it, like all others. The two rules agree where
    every answer parsed.

    A quotient of zero by zero is 1 when there is neither a true nor a predicted box in the set, otherwise 0.
    `empty_accuracy` is the share of images without true boxes whose answer parsed and has none; `None` if
    there are no such images.

    When all boxes have scores, COCO's mean average precision is added: `map50` and `map` (0.50 to 0.95).
    """

    def _info(self) -> object:
        boxes = List(List(Value("float64"), length=4))
        return evaluate.MetricInfo(
            description=inspect.cleandoc(self.__doc__ or ""),
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=Features(
                {
                    "predictions": {
                        "boxes": boxes,
                        "labels": List(Value("string")),
                        "scores": List(Value("float64")),
                        "parsed": Value("bool"),
                    },
                    "references": {"boxes": boxes, "labels": List(Value("string"))},
                }
            ),
        )

    def _compute(
        self,
        predictions: Sequence[Item],
        references: Sequence[Item],
        iou_threshold: float = 0.5,
        groups: Sequence[Hashable] | None = None,
        bootstrap: int = 0,
        bootstrap_seed: int = 0,
    ) -> JsonObject:
        parsed = parsed_flags(predictions)
        check_iou_threshold(iou_threshold)
        wellformed = [_detections("prediction", index, sample) for index, sample in enumerate(predictions)]
        truths = [_detections("reference", index, sample) for index, sample in enumerate(references)]
        found = [answer if is_read else _NOTHING for answer, is_read in zip(wellformed, parsed, strict=True)]
        kept = _count(wellformed, truths, iou_threshold)
        # Without the boxes of answers that did not parse.
        counts = np.where(parsed[:, None], kept, kept * _TRUE_BOXES)
        right_when_empty = parsed & (counts[:, 1] == 0)

        def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
            empty = counts[indices, 2] == 0
            return {
                **_quotients(counts[indices]),
                **{f"{name}_keep_wellformed": value for name, value in _quotients(kept[indices]).items()},
                "empty_accuracy": float(right_when_empty[indices][empty].mean()) if empty.any() else None,
            }

        result = summarize(figures, parsed, groups=groups, bootstrap=bootstrap, bootstrap_seed=bootstrap_seed)
        result["num_predicted_boxes"] = int(counts[:, 1].sum())
        result["num_boxes"] = int(counts[:, 2].sum())
        result["iou_threshold"] = iou_threshold
        if _all_scored(found):
            result |= mean_average_precision(found, truths)
        return result


def count_matches(
    boxes: ArrayLike,
    labels: Sequence[str],
    true_boxes: ArrayLike,
    true_labels: Sequence[str],
    iou_threshold: float = 0.5,
) -> int:
    """Count the most boxes that can be matched with true ones, one to one.

    Args:
        boxes: Predicted boxes, shape (N, 4).
        labels: Their N class names.
        true_boxes: True boxes, shape (M, 4).
        true_labels: Their M class names.
        iou_threshold: A pair can match if its IoU is at least this and its class names are equal.

    Returns:
        The size of a maximum-cardinality matching (Hopcroft and Karp, 1973).
    """
    same_class = np.asarray(labels, dtype=object)[:, None] == np.asarray(true_labels, dtype=object)[None, :]
    possible = (box_iou(boxes, true_boxes) >= iou_threshold) & same_class
    if not possible.any():
        return 0
    graph = import_optional("scipy.sparse").csr_array(possible)
    matching = import_optional("scipy.sparse.csgraph").maximum_bipartite_matching(graph, perm_type="column")
    return int((matching >= 0).sum())


def _count(found: Sequence[ScoredBoxes], truths: Sequence[LabeledBoxes], iou_threshold: float) -> NDArray[np.int64]:
    """Count matched, predicted and true boxes of each sample, shape (samples, 3)."""
    return np.asarray(
        [
            (
                count_matches(answer["boxes"], answer["labels"], truth["boxes"], truth["labels"], iou_threshold),
                len(answer["boxes"]),
                len(truth["boxes"]),
            )
            for answer, truth in zip(found, truths, strict=True)
        ],
        dtype=np.int64,
    )


def _quotients(counts: NDArray[np.int64]) -> dict[str, float]:
    """Compute precision, recall and F1 of counts as `_count` gives them, over all samples."""
    matched, predicted, true = (int(total) for total in counts.sum(axis=0))
    neither = 1.0 if predicted == true == 0 else 0.0
    return {
        "precision": matched / predicted if predicted else neither,
        "recall": matched / true if true else neither,
        "f1": 2 * matched / (predicted + true) if predicted + true else neither,
    }


def _detections(role: str, index: int, sample: Item) -> ScoredBoxes:
    """Check one sample; return its boxes, folded labels and scores."""
    boxes, scores = sample["boxes"], sample.get("scores", [])
    labels = [label.strip().casefold() for label in sample["labels"]]
    if len(labels) != len(boxes):
        raise ValueError(f"{role} {index} has {len(boxes)} boxes but {len(labels)} labels; give one per box")
    if scores and len(scores) != len(boxes):
        raise ValueError(
            f"{role} {index} has {len(boxes)} boxes but {len(scores)} scores; give one per box or none at all"
        )
    return {"boxes": boxes, "labels": labels, "scores": scores}


def _all_scored(found: Sequence[ScoredBoxes]) -> bool:
    """Return whether the boxes have scores; some with and some without is an error."""
    with_boxes = [sample for sample in found if sample["boxes"]]
    scored = sum(bool(sample["scores"]) for sample in with_boxes)
    if 0 < scored < len(with_boxes):
        raise ValueError(f"only {scored} of {len(with_boxes)} predictions with boxes have scores; score all or none")
    return scored > 0
