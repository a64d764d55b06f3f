# SPDX-License-Identifier: Apache-2.0
"""COCO's mean average precision of scored boxes, by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.optional import import_optional

__all__ = ["LabeledBoxes", "ScoredBoxes", "mean_average_precision"]


_BY_SIZE = ("map_small", "map_medium", "map_large")


class LabeledBoxes(TypedDict):
    """Boxes of one image, [x1, y1, x2, y2] each, and the class name of each."""

    boxes: Sequence[Sequence[float]]
    labels: Sequence[str]


class ScoredBoxes(LabeledBoxes):
    """Boxes that a model found, with the score of each."""

    scores: Sequence[float]


def mean_average_precision(
    predictions: Sequence[ScoredBoxes], references: Sequence[LabeledBoxes]
) -> dict[str, float | None]:
    """Average precision (101-point interpolation), averaged over classes.

    COCO's limit of 100 boxes an image is lifted.

    Args:
        predictions: One dict per image.
        references: One dict per image.

    Returns:
        `map50` at an IoU of 0.5, and `map`, the mean over IoU 0.50, 0.55, ... 0.95; `map_small`, `map_medium` and
        `map_large` by the area of the true boxes, below and above 32 x 32 and 96 x 96 pixels. `None` without any true
        box, of that size.
    """
    if not any(reference["boxes"] for reference in references):
        return {"map50": None, "map": None, **dict.fromkeys(_BY_SIZE)}
    core = import_optional("faster_coco_eval.core.coco")
    evaluator_class = import_optional("faster_coco_eval.core.faster_eval_api").COCOeval_faster

    names = sorted({label for sample in (*predictions, *references) for label in sample["labels"]})
    category = {name: index for index, name in enumerate(names, start=1)}
    truths: list[JsonObject] = []
    detections: list[JsonObject] = []
    for image_id, (prediction, reference) in enumerate(zip(predictions, references, strict=True), start=1):
        for box, label in zip(reference["boxes"], reference["labels"], strict=True):
            area = (box[2] - box[0]) * (box[3] - box[1])
            truths.append({**_annotation(image_id, category[label], box), "area": area, "iscrowd": 0})
            truths[-1]["id"] = len(truths)
        for box, label, score in zip(prediction["boxes"], prediction["labels"], prediction["scores"], strict=True):
            detections.append({**_annotation(image_id, category[label], box), "score": score})

    coco = core.COCO(
        {
            "images": [{"id": image_id} for image_id in range(1, len(references) + 1)],
            "categories": [{"id": index, "name": name} for name, index in category.items()],
            "annotations": truths,
        }
    )
    evaluator = evaluator_class(coco, coco.loadRes(detections), iouType="bbox", print_function=_silent)
    most = max((len(prediction["boxes"]) for prediction in predictions), default=0)
    evaluator.params.maxDets = [max(100, most)]
    evaluator.evaluate()
    evaluator.accumulate()
    # Axes: IoU threshold, recall, class, area range (0 is all), limit of boxes. -1: a class without truth.
    precision = evaluator.eval["precision"][:, :, :, :, -1]
    return {
        "map50": _mean(precision[0, :, :, 0]),
        "map": _mean(precision[:, :, :, 0]),
        **{name: _mean(precision[:, :, :, size]) for size, name in enumerate(_BY_SIZE, start=1)},
    }


def _mean(precision: NDArray[np.float64]) -> float | None:
    found = precision[precision > -1]
    return float(found.mean()) if found.size else None


def _annotation(image_id: int, category_id: int, box: Sequence[float]) -> JsonObject:
    x1, y1, x2, y2 = box
    return {"image_id": image_id, "category_id": category_id, "bbox": [x1, y1, x2 - x1, y2 - y1]}


def _silent(*_: object) -> None:
    """Stand in for print, which the library would use to report its progress."""
