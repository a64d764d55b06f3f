# SPDX-License-Identifier: Apache-2.0
"""Visual grounding: one box for one phrase."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence

import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.evaluation.metrics.base import AnswerMetric, Part, Scored, evaluate, parsed_flags, summarize
from geodit.evaluation.metrics.box_sizes import RELATIVE_SIZES, SIZES, members_by_size
from geodit.evaluation.metrics.polygon_iou import OfBoxes, polygon_iou
from geodit.processing.box_ops import box_iou

__all__ = ["GroundingMetric", "check_iou_threshold", "judge_grounding"]

_INPUTS = """
Args:
    predictions: One dict per phrase: `boxes` ([x1, y1, x2, y2] each) and `parsed` (bool).
    references: The true box of every phrase, [x1, y1, x2, y2], in the same unit.
    iou_threshold: IoU from which a box is right, for `accuracy`.
    corners: For each phrase the corners of the box that was answered, four (x, y), or None for an upright box.
    true_corners: For each phrase the corners of the true box, or None. With turned boxes there are figures of the IoU
        of polygons.
    image_areas: Area of the image of each phrase, in the squared unit of the boxes, for `by_relative_size`.
    groups: The image of every sample, for `bootstrap`; by default every sample has its own.
    bootstrap: Number of bootstrap resamples for 95% confidence intervals; 0 for none.
    bootstrap_seed: Seed of the resampling.
Returns:
    accuracy, accuracy_at_least_50, accuracy_above_50, accuracy_at_least_70, accuracy_above_70, mean_iou,
    accuracy_keep_wellformed, mean_iou_keep_wellformed, accuracy_polygon and mean_iou_polygon with turned boxes,
    iou_threshold, parse_rate, num_samples, by_size (COCO's `small`, `medium` and `large`) and by_relative_size, and
    confidence_intervals when asked for.
Raises:
    ValueError: If there are no predictions, a box is malformed, there are not as many corners or areas as phrases, or
        the threshold is not inside (0, 1].
Example:
    >>> GroundingMetric().compute(
    ...     predictions=[{"boxes": [[0, 0, 10, 8]], "parsed": True}], references=[[0, 0, 10, 10]]
    ... )["mean_iou"]
    0.8
"""

_CITATION = """
@article{zhan2023rsvg, title={RSVG: Exploring data and models for visual grounding on remote sensing data},
  author={Zhan, Yang and Xiong, Zhitong and Yuan, Yuan}, journal={IEEE TGRS}, year={2023}}
"""


class GroundingMetric(AnswerMetric):
    """Share of phrases whose box has an IoU of at least 0.5 with the true one, and the mean IoU.

    `accuracy_at_least_50` and `accuracy_at_least_70` count an IoU of exactly 0.5 or 0.7 as right, as DIOR-RSVG does,
    `accuracy_above_50` and `accuracy_above_70` as wrong; papers do either. Only the first box of an answer counts. An
    answer without a box, or one that did not parse, has an IoU of 0; the figures that end in `_keep_wellformed` take
    the first well-formed box of an answer that did not parse.
    """

    def _info(self) -> object:
        box = List(Value("float64"), length=4)
        return evaluate.MetricInfo(
            description=inspect.cleandoc(self.__doc__ or ""),
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=Features({"predictions": {"boxes": List(box), "parsed": Value("bool")}, "references": box}),
        )

    def _compute(
        self,
        predictions: Sequence[Item],
        references: Sequence[Sequence[float]],
        iou_threshold: float = 0.5,
        corners: OfBoxes | None = None,
        true_corners: OfBoxes | None = None,
        image_areas: Sequence[float] | None = None,
        groups: Sequence[Hashable] | None = None,
        bootstrap: int = 0,
        bootstrap_seed: int = 0,
    ) -> JsonObject:
        scored = judge_grounding(
            predictions,
            references,
            iou_threshold=iou_threshold,
            corners=corners,
            true_corners=true_corners,
            image_areas=image_areas,
        )
        return summarize(scored, groups=groups, bootstrap=bootstrap, bootstrap_seed=bootstrap_seed)


def judge_grounding(
    predictions: Sequence[Item],
    references: Sequence[Sequence[float]],
    *,
    iou_threshold: float = 0.5,
    corners: OfBoxes | None = None,
    true_corners: OfBoxes | None = None,
    image_areas: Sequence[float] | None = None,
) -> Scored:
    """Judge answers of one box one by one; see [`GroundingMetric`] for arguments and errors."""
    parsed = parsed_flags(predictions)
    check_iou_threshold(iou_threshold)
    count = len(predictions)
    given = np.asarray(
        [
            box_iou(prediction["boxes"][:1], [truth])[0, 0] if prediction["boxes"] else 0.0
            for prediction, truth in zip(predictions, references, strict=True)
        ]
    )
    iou = np.where(parsed, given, 0.0)
    right = {
        "accuracy": iou >= iou_threshold,
        "accuracy_at_least_50": iou >= 0.5,
        "accuracy_above_50": iou > 0.5,
        "accuracy_at_least_70": iou >= 0.7,
        "accuracy_above_70": iou > 0.7,
        "accuracy_keep_wellformed": given >= iou_threshold,
    }
    means = {"mean_iou": iou, "mean_iou_keep_wellformed": given}
    turned, true_turned = _of_each(corners, count, "corners"), _of_each(true_corners, count, "true_corners")
    if any(turned) or any(true_turned):
        polygons = np.asarray(
            [
                polygon_iou(prediction["boxes"][:1], [found], [truth], [true])[0, 0]
                if is_read and prediction["boxes"]
                else 0.0
                for prediction, truth, found, true, is_read in zip(
                    predictions, references, turned, true_turned, parsed, strict=True
                )
            ]
        )
        right["accuracy_polygon"] = polygons >= iou_threshold
        means["mean_iou_polygon"] = polygons

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        return {name: float(values[indices].mean()) for name, values in (right | means).items()}

    shares = dict.fromkeys(right, np.ones(count, dtype=np.bool_))
    sizes = {"by_size": members_by_size(references, SIZES)}
    if image_areas is not None:
        sizes["by_relative_size"] = members_by_size(references, RELATIVE_SIZES, image_areas)
    return Scored(
        figures,
        parsed,
        shares=shares,
        outcomes=right,
        parts={
            by: {name: Part(members, figures, shares) for name, members in of_size.items()}
            for by, of_size in sizes.items()
        },
        constants={"iou_threshold": iou_threshold},
    )


def _of_each(corners: OfBoxes | None, count: int, name: str) -> OfBoxes:
    if corners is None:
        return [None] * count
    if len(corners) != count:
        raise ValueError(f"{name} has {len(corners)} elements for {count} phrases; give corners, or None, for each")
    return corners


def check_iou_threshold(iou_threshold: float) -> None:
    """Raise `ValueError` unless the threshold lies inside (0, 1]."""
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be above 0 and at most 1, not {iou_threshold}")
