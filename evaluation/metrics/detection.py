# SPDX-License-Identifier: Apache-2.0
"""Detection: every object of the classes asked for."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence

import numpy as np
from datasets import Features, List, Value
from numpy.typing import ArrayLike, NDArray

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.evaluation.answer_rules import AnswerRule, get_answer_rule
from geodit.evaluation.metrics.average_precision import LabeledBoxes, ScoredBoxes, mean_average_precision
from geodit.evaluation.metrics.base import AnswerMetric, Scored, evaluate, parsed_flags, summarize
from geodit.evaluation.metrics.grounding import check_iou_threshold
from geodit.evaluation.metrics.polygon_iou import OfBoxes, polygon_iou
from geodit.evaluation.metrics.ranked_boxes import RankedBoxes, rank_boxes
from geodit.evaluation.optional import import_optional
from geodit.processing.box_ops import box_iou

__all__ = ["DetectionMetric", "count_matches", "judge_detection"]

_INPUTS = """
Args:
    predictions: One dict per image: `boxes` ([x1, y1, x2, y2] each), `labels` (one per box), `scores` (one per box, or
        an empty list for none) and `parsed` (bool).
    references: One dict per image: `boxes` and `labels`, in the same unit.
    iou_threshold: IoU from which a box matches, for precision, recall and F1.
    label_rule: When class names are the same: `strict` (case, punctuation and underscores do not matter) or another of
        [`~geodit.evaluation.answer_rules.ANSWER_RULES`].
    corners: For each image the corners of each box, four (x, y), or None for upright boxes; an empty list for none.
    true_corners: The same of the true boxes. With turned boxes there are figures of the IoU of polygons.
    groups: The image of every sample, for `bootstrap`; by default every sample has its own. Where several
        questions ask for different classes in one image, each is a sample and the image is their group.
    bootstrap: Number of bootstrap resamples for 95% confidence intervals; 0 for none.
    bootstrap_seed: Seed of the resampling.
Returns:
    precision, recall and f1, the same with _keep_wellformed, _one_wrong_box and, with turned boxes, _polygon,
    empty_accuracy, repeated_box_rate, count_error, count_exact, map50 and map when boxes have scores,
    map50_equal_scores, map_equal_scores and map_nc, num_boxes (true ones), num_predicted_boxes, iou_threshold,
    label_rule, parse_rate, num_samples, and confidence_intervals when asked for.
Raises:
    ValueError: If there are no predictions, a box is malformed, there is not one label (and score, and corners) per
        box, a rule is unknown, or the threshold is not inside (0, 1].
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
_REPEATED = 0.9  # IoU from which on a box is one that was given before


class DetectionMetric(AnswerMetric):
    """Precision, recall and F1 of boxes at an IoU of at least 0.5, counted over the whole set.

    Boxes and true boxes of the same class are matched one to one, as many as can be (maximum-cardinality
    bipartite matching): generated boxes have no scores, so there is no order in which to match them greedily.
    An image without true boxes takes part: every box there is a false positive.

    What an answer that did not parse counts for is a matter of three rules:

    * strict, of all figures without an ending: it has no boxes, so all its true boxes are missed. It lowers recall;
      precision can only rise by it.
    * `_keep_wellformed`: the boxes that are given for it, the well-formed ones in it, count like all others.
    * `_one_wrong_box`: it has one box that is wrong, so that it lowers precision, too.

    The rules agree where every answer parsed. A quotient of zero by zero is 1 when there is neither a true nor a
    predicted box in the set, otherwise 0.

    `empty_accuracy` is the share of images without true boxes whose answer parsed and has none; `None` if there are
    no such images. `repeated_box_rate` is the share of boxes that overlap an earlier box of their class in the same
    answer by an IoU of at least 0.9; `None` without boxes. `count_error` is the mean distance of the number of boxes
    in an answer from the number of true ones, `count_exact` the share of answers that parsed and have as many.

    When all boxes have scores, as is true where there are none, COCO's mean average precision is added: `map50` and
    `map` (0.50 to 0.95), with the same of well-formed boxes, and `map_small`, `map_medium` and `map_large` by COCO's
    sizes. The same with equal scores of all boxes is `map50_equal_scores` and `map_equal_scores`. `map_nc` is what
    LMMRotate and RSCoVLM call mAP_nc: all scores are 1, and the curve is MMRotate's at an IoU of 0.5, Pascal VOC's of
    2007 with 11 points. With equal scores the order of the images decides; it is that of the samples.
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
        label_rule: str = "strict",
        corners: Sequence[OfBoxes] | None = None,
        true_corners: Sequence[OfBoxes] | None = None,
        groups: Sequence[Hashable] | None = None,
        bootstrap: int = 0,
        bootstrap_seed: int = 0,
    ) -> JsonObject:
        scored = judge_detection(
            predictions,
            references,
            iou_threshold=iou_threshold,
            label_rule=label_rule,
            corners=corners,
            true_corners=true_corners,
        )
        return summarize(scored, groups=groups, bootstrap=bootstrap, bootstrap_seed=bootstrap_seed)


def judge_detection(
    predictions: Sequence[Item],
    references: Sequence[Item],
    *,
    iou_threshold: float = 0.5,
    label_rule: str = "strict",
    corners: Sequence[OfBoxes] | None = None,
    true_corners: Sequence[OfBoxes] | None = None,
) -> Scored:
    """Judge answers of boxes one by one; see [`DetectionMetric`] for arguments and errors."""
    parsed = parsed_flags(predictions)
    check_iou_threshold(iou_threshold)
    rule = get_answer_rule(label_rule)
    wellformed = [_detections("prediction", index, sample, rule) for index, sample in enumerate(predictions)]
    truths = [_detections("reference", index, sample, rule) for index, sample in enumerate(references)]
    pairs = list(zip(wellformed, truths, strict=True))
    overlaps = [box_iou(answer["boxes"], truth["boxes"]) for answer, truth in pairs]
    kept = _count(wellformed, truths, overlaps, iou_threshold)
    # Without the boxes of answers that did not parse.
    counts = np.where(parsed[:, None], kept, kept * _TRUE_BOXES)
    punished = counts + np.where(parsed[:, None], 0, np.asarray([0, 1, 0]))
    by_rule = {"": counts, "_keep_wellformed": kept, "_one_wrong_box": punished}
    found = [answer if is_read else _NOTHING for answer, is_read in zip(wellformed, parsed, strict=True)]
    rankings = _Rankings(wellformed, found, truths, overlaps, parsed)
    if corners is not None or true_corners is not None:
        turned, true_turned = _turned("corners", corners, wellformed), _turned("true_corners", true_corners, truths)
        if any(any(of_sample) for of_sample in (*turned, *true_turned)):
            overlaps = [
                polygon_iou(answer["boxes"], mine, truth["boxes"], true)
                for (answer, truth), mine, true in zip(pairs, turned, true_turned, strict=True)
            ]
            by_polygon = _count(wellformed, truths, overlaps, iou_threshold)
            by_rule["_polygon"] = np.where(parsed[:, None], by_polygon, by_polygon * _TRUE_BOXES)
            rankings.add(overlaps, "_polygon")

    repeated = np.asarray([_count_repeated(answer) for answer in wellformed], dtype=np.int64) * parsed
    count_errors = np.abs(counts[:, 1] - counts[:, 2])
    predicted, true = counts[:, 1] > 0, counts[:, 2] > 0
    right_when_empty = parsed & ~predicted
    exact = parsed & (count_errors == 0)

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        empty = ~true[indices]
        quotients: dict[str, float | None] = {}
        for ending, of_rule in by_rule.items():
            quotients |= {f"{name}{ending}": value for name, value in _quotients(of_rule[indices]).items()}
        boxes = int(counts[indices, 1].sum())
        return {
            **quotients,
            "empty_accuracy": float(right_when_empty[indices][empty].mean()) if empty.any() else None,
            "repeated_box_rate": int(repeated[indices].sum()) / boxes if boxes else None,
            "count_error": float(count_errors[indices].mean()),
            "count_exact": float(exact[indices].mean()),
            **rankings.figures(indices),
        }

    shares = {"empty_accuracy": ~true, "repeated_box_rate": predicted, "count_exact": np.ones(len(parsed), np.bool_)}
    for ending, of_rule in by_rule.items():
        boxes = of_rule[:, 1] > 0
        shares |= {f"precision{ending}": boxes, f"recall{ending}": true, f"f1{ending}": boxes | true}
    constants: JsonObject = {
        "num_predicted_boxes": int(counts[:, 1].sum()),
        "num_boxes": int(counts[:, 2].sum()),
        "iou_threshold": iou_threshold,
        "label_rule": label_rule,
    }
    if rankings.has_scores:
        # The figures of the whole set are the library's own.
        constants |= mean_average_precision(found, truths)
    return Scored(
        figures,
        parsed,
        shares={**shares, **dict.fromkeys(rankings.names, true)},
        outcomes={"count_exact": exact},
        constants=constants,
    )


class _Rankings:
    """Mean average precision by several rules, of any choice of samples."""

    def __init__(
        self,
        wellformed: Sequence[ScoredBoxes],
        strict: Sequence[ScoredBoxes],
        truths: Sequence[LabeledBoxes],
        overlaps: Sequence[NDArray[np.float64]],
        parsed: NDArray[np.bool_],
    ) -> None:
        self._strict = strict
        self._truths = truths
        self._parsed = parsed
        self.has_scores = _all_scored(strict, wellformed)
        # By what follows "map50" and "map" in the names.
        self._coco: dict[str, RankedBoxes] = {}
        self._nc: dict[str, RankedBoxes] = {}
        self.add(overlaps, "")
        if self.has_scores and all(len(answer["scores"]) == len(answer["boxes"]) for answer in wellformed):
            self._coco["_keep_wellformed"] = (
                self._coco[""] if parsed.all() else self._rank(wellformed, overlaps, with_scores=True)
            )

    def add(self, overlaps: Sequence[NDArray[np.float64]], ending: str) -> None:
        """Rank the boxes of the answers that parsed by some IoU."""
        of_strict = [iou if is_read else iou[:0] for iou, is_read in zip(overlaps, self._parsed, strict=True)]
        if self.has_scores:
            self._coco[ending] = self._rank(self._strict, of_strict, with_scores=True)
        self._coco[f"_equal_scores{ending}"] = self._rank(self._strict, of_strict)
        self._nc[ending] = self._rank(self._strict, of_strict, voc2007=True)

    @property
    def names(self) -> list[str]:
        """The names of the figures."""
        names = [f"{name}{ending}" for ending in self._coco for name in ("map50", "map")]
        return names + [f"map_nc{ending}" for ending in self._nc]

    def figures(self, indices: NDArray[np.intp]) -> dict[str, float | None]:
        """Compute the figures of some samples; `None` without a true box."""
        found: dict[str, float | None] = {}
        for ending, ranked in self._coco.items():
            areas = ranked.mean_average_precision(indices)
            found[f"map50{ending}"] = None if areas is None else float(areas[0])
            found[f"map{ending}"] = None if areas is None else float(areas.mean())
        for ending, ranked in self._nc.items():
            areas = ranked.mean_average_precision(indices)
            found[f"map_nc{ending}"] = None if areas is None else float(areas[0])
        return found

    def _rank(
        self,
        found: Sequence[ScoredBoxes],
        overlaps: Sequence[NDArray[np.float64]],
        *,
        with_scores: bool = False,
        voc2007: bool = False,
    ) -> RankedBoxes:
        return rank_boxes(
            overlaps,
            [answer["labels"] for answer in found],
            [truth["labels"] for truth in self._truths],
            [answer["scores"] for answer in found] if with_scores else None,
            voc2007=voc2007,
        )


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
    return _most_pairs(box_iou(boxes, true_boxes), labels, true_labels, iou_threshold)


def _most_pairs(
    iou: NDArray[np.float64], labels: Sequence[str], true_labels: Sequence[str], iou_threshold: float
) -> int:
    same_class = np.asarray(labels, dtype=object)[:, None] == np.asarray(true_labels, dtype=object)[None, :]
    possible = (iou >= iou_threshold) & same_class
    if not possible.any():
        return 0
    graph = import_optional("scipy.sparse").csr_array(possible)
    matching = import_optional("scipy.sparse.csgraph").maximum_bipartite_matching(graph, perm_type="column")
    return int((matching >= 0).sum())


def _count(
    found: Sequence[ScoredBoxes],
    truths: Sequence[LabeledBoxes],
    overlaps: Sequence[NDArray[np.float64]],
    iou_threshold: float,
) -> NDArray[np.int64]:
    """Count matched, predicted and true boxes of each sample, shape (samples, 3)."""
    return np.asarray(
        [
            (
                _most_pairs(iou, answer["labels"], truth["labels"], iou_threshold),
                len(answer["boxes"]),
                len(truth["boxes"]),
            )
            for answer, truth, iou in zip(found, truths, overlaps, strict=True)
        ],
        dtype=np.int64,
    )


def _count_repeated(answer: ScoredBoxes) -> int:
    """Count the boxes that overlap an earlier one of their class by an IoU of at least 0.9."""
    labels = np.asarray(answer["labels"], dtype=object)
    same = (box_iou(answer["boxes"], answer["boxes"]) >= _REPEATED) & (labels[:, None] == labels[None, :])
    return int(np.tril(same, k=-1).any(axis=1).sum())


def _quotients(counts: NDArray[np.int64]) -> dict[str, float]:
    """Compute precision, recall and F1 of counts as `_count` gives them, over all samples."""
    matched, predicted, true = (int(total) for total in counts.sum(axis=0))
    neither = 1.0 if predicted == true == 0 else 0.0
    return {
        "precision": matched / predicted if predicted else neither,
        "recall": matched / true if true else neither,
        "f1": 2 * matched / (predicted + true) if predicted + true else neither,
    }


def _turned(name: str, corners: Sequence[OfBoxes] | None, samples: Sequence[LabeledBoxes]) -> Sequence[OfBoxes]:
    if corners is None:
        return [()] * len(samples)
    if len(corners) != len(samples):
        raise ValueError(f"{name} has {len(corners)} elements for {len(samples)} images; give a list for each")
    return corners


def _detections(role: str, index: int, sample: Item, rule: AnswerRule) -> ScoredBoxes:
    """Check one sample; return its boxes, normalised labels and scores."""
    boxes, scores = sample["boxes"], sample.get("scores", [])
    # A name of nothing but punctuation has no form by which to compare it.
    labels = [rule(label) or label.strip().casefold() for label in sample["labels"]]
    if len(labels) != len(boxes):
        raise ValueError(f"{role} {index} has {len(boxes)} boxes but {len(labels)} labels; give one per box")
    if scores and len(scores) != len(boxes):
        raise ValueError(
            f"{role} {index} has {len(boxes)} boxes but {len(scores)} scores; give one per box or none at all"
        )
    return {"boxes": boxes, "labels": labels, "scores": scores}


def _all_scored(found: Sequence[ScoredBoxes], wellformed: Sequence[ScoredBoxes]) -> bool:
    """Return whether the boxes that count have scores; some with and some without is an error.

    Where none counts, those of answers that did not parse tell whether the model gives scores. Without any box there
    is none without a score.
    """
    with_boxes = [sample for sample in found if sample["boxes"]]
    scored = sum(bool(sample["scores"]) for sample in with_boxes)
    if 0 < scored < len(with_boxes):
        raise ValueError(f"only {scored} of {len(with_boxes)} predictions with boxes have scores; score all or none")
    if with_boxes:
        return scored > 0
    left = [sample for sample in wellformed if sample["boxes"]]
    return not left or any(sample["scores"] for sample in left)
