# SPDX-License-Identifier: Apache-2.0
"""Detections in the forms of COCO and of the library supervision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.tiling import Box
from geodit.processing.polygons import box_corners, polygon_area
from geodit.processing.turned_boxes_geodit import Corners

if TYPE_CHECKING:
    from supervision import Detections

__all__ = ["CocoImage", "to_coco", "to_supervision"]


@dataclass(frozen=True)
class CocoImage:
    """An image and its detections.

    Args:
        file_name: Name of the image file.
        image_size: (height, width) in pixels.
        boxes: `(x1, y1, x2, y2)` in pixels of the image.
        labels: Class name of each box.
        scores: Score of each box, 0 to 1.
        corners: Corners of each box that is turned, and `None` for each upright one; empty if all are.

    Raises:
        ValueError: If there is not one label and one score per box.
    """

    file_name: str
    image_size: tuple[int, int]
    boxes: Sequence[Box]
    labels: Sequence[str]
    scores: Sequence[float]
    corners: Sequence[Corners | None] = ()

    def __post_init__(self) -> None:
        """Check the numbers of labels and scores."""
        _check_lengths(self.boxes, self.labels, self.scores, self.corners)


def to_coco(images: Sequence[CocoImage], categories: Sequence[str] = ()) -> JsonObject:
    """Return detections as a COCO data set whose annotations have a `score`, ready for `json.dump`.

    Its `annotations` alone are a list of COCO results, as `loadRes` of pycocotools takes it. Identifiers count from
    1 in the order of images, categories and boxes. A turned box has the rectangle as its `segmentation`, with the area
    of that, and in `bbox` the upright box around what of it lies in the image.

    Args:
        images: The images, with or without detections.
        categories: Class names to list first, in this order, such as the queries. Other labels follow in alphabetical
            order.
    """
    names = _class_names({label for image in images for label in image.labels}, categories)
    numbers = {name: number for number, name in enumerate(names, start=1)}
    annotations: list[JsonObject] = []
    for image_id, image in enumerate(images, start=1):
        corners = image.corners or [None] * len(image.boxes)
        found = zip(image.boxes, image.labels, image.scores, corners, strict=True)
        for (x1, y1, x2, y2), label, score, turned in found:
            annotation: JsonObject = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": numbers[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": score,
            }
            if turned is not None:
                annotation["area"] = polygon_area(turned)
                annotation["segmentation"] = [[value for point in turned for value in point]]
            annotations.append(annotation)
    return {
        "images": [
            {"id": number, "file_name": image.file_name, "width": image.image_size[1], "height": image.image_size[0]}
            for number, image in enumerate(images, start=1)
        ],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "annotations": annotations,
    }


def to_supervision(
    boxes: Sequence[Box],
    labels: Sequence[str],
    scores: Sequence[float],
    categories: Sequence[str] = (),
    corners: Sequence[Corners | None] = (),
) -> Detections:
    """Return detections as `supervision.Detections`, with the labels as `data["class_name"]`.

    Where a box is turned, the corners of all are `data["xyxyxyxy"]` (K, 4, 2), as its `OrientedBoxAnnotator` reads
    them.

    Args:
        boxes: `(x1, y1, x2, y2)` in pixels.
        labels: Class name of each box.
        scores: Score of each box, 0 to 1.
        categories: Class names to number first, from 0, such as the queries. Other labels follow in alphabetical
            order.
        corners: Corners of each box that is turned, and `None` for each upright one; empty if all are.

    Raises:
        ModuleNotFoundError: If the package supervision is not installed.
        ValueError: If there is not one label and one score per box.
    """
    _check_lengths(boxes, labels, scores, corners)
    try:
        from supervision import Detections
    except ModuleNotFoundError as error:
        if error.name != "supervision":
            raise
        raise ModuleNotFoundError(
            "this needs the package supervision: pip install supervision", name="supervision"
        ) from error

    numbers = {name: number for number, name in enumerate(_class_names(set(labels), categories))}
    data = {"class_name": np.array(labels, dtype=np.str_)}
    if any(corners):
        outlines = [one or box_corners(box) for box, one in zip(boxes, corners, strict=True)]
        data["xyxyxyxy"] = np.array(outlines, dtype=np.float32)
    return Detections(
        xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        confidence=np.array(scores, dtype=np.float32),
        class_id=np.array([numbers[label] for label in labels], dtype=np.int64),
        data=data,
    )


def _class_names(labels: set[str], first: Sequence[str]) -> list[str]:
    """Return the class names in `first`, then the other labels in alphabetical order, each once."""
    return [*dict.fromkeys(first), *sorted(labels - set(first))]


def _check_lengths(
    boxes: Sequence[Box], labels: Sequence[str], scores: Sequence[float], corners: Sequence[Corners | None]
) -> None:
    if len(corners) not in (0, len(boxes)):
        raise ValueError(
            f"there are {len(boxes)} boxes, but corners of {len(corners)}: give corners, or None, per box"
        )
    if not len(boxes) == len(labels) == len(scores):
        raise ValueError(
            f"there are {len(boxes)} boxes, {len(labels)} labels and {len(scores)} scores: give one of each per box"
        )
