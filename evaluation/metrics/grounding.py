# SPDX-License-Identifier: Apache-2.0
"""Visual grounding: one box for one phrase."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence

import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.evaluation.metrics.base import AnswerMetric, evaluate, parsed_flags, summarize
from geodit.processing.box_ops import box_iou

__all__ = ["GroundingMetric"]

_INPUTS = """
Args:
    predictions: One dict per phrase: `boxes` ([x1, y1, x2, y2] each) and `parsed` (bool).
    references: The true box of every phrase, [x1, y1, x2, y2], in the same unit.
    iou_threshold: IoU from which a box is right.
    groups: The image of every sample, for `bootstrap`; by default every sample has its own.
    bootstrap: Number of bootstrap resamples for 95% confidence intervals; 0 for none.
    bootstrap_seed: Seed of the resampling.
Returns:
    accuracy, mean_iou, iou_threshold, parse_rate, num_samples, and confidence_intervals when asked for.
Raises:
    ValueError: If there are no predictions, a box is malformed, or the threshold is not inside (0, 1].
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

    Only the first box of an answer counts. An answer without a box, or one that did not parse, has an IoU
    of 0.
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
        groups: Sequence[Hashable] | None = None,
        bootstrap: int = 0,
        bootstrap_seed: int = 0,
    ) -> JsonObject:
        parsed = parsed_flags(predictions)
        check_iou_threshold(iou_threshold)
        iou = np.asarray(
            [
                box_iou(prediction["boxes"][:1], [truth])[0, 0]
                if prediction["parsed"] and prediction["boxes"]
                else 0.0
                for prediction, truth in zip(predictions, references, strict=True)
            ]
        )

        def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
            drawn = iou[indices]
            return {"accuracy": float((drawn >= iou_threshold).mean()), "mean_iou": float(drawn.mean())}

        result = summarize(figures, parsed, groups=groups, bootstrap=bootstrap, bootstrap_seed=bootstrap_seed)
        return {**result, "iou_threshold": iou_threshold}


def check_iou_threshold(iou_threshold: float) -> None:
    """Raise `ValueError` unless the threshold lies inside (0, 1]."""
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be above 0 and at most 1, not {iou_threshold}")
