# SPDX-License-Identifier: Apache-2.0
"""The answer about one image as a layer of a map, or as a COCO data set."""

from __future__ import annotations

from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.prediction import Prediction
from geodit.pipelines.scenes.coco import CocoImage, to_coco
from geodit.pipelines.scenes.geojson import to_geojson
from geodit.pipelines.scenes.layers import Layer
from geodit.pipelines.scenes.objects import ModelName, SceneObject, found_layer

__all__ = ["prediction_coco", "prediction_geojson", "prediction_layer"]


def prediction_layer(prediction: Prediction, image: str, model: ModelName, *, has_boxes: bool) -> Layer:
    """Return an answer as the layer `objects`, or `answers`: the text with the outline of the image.

    Args:
        prediction: The answer.
        image: What the layer says of where it comes from.
        model: The model.
        has_boxes: Whether the task is answered by boxes.
    """
    objects = [
        SceneObject(box, label, score, prediction.query, prediction.text, 0, prediction.parsed, corners=corners)
        for box, label, score, corners in zip(
            prediction.boxes,
            prediction.labels,
            prediction.scores,
            prediction.corners or (None,) * len(prediction.boxes),
            strict=True,
        )
    ]
    probabilities = prediction.choice_probabilities
    if not has_boxes:
        height, width = prediction.image_size
        whole = (0.0, 0.0, float(width), float(height))
        score = (probabilities or {}).get(prediction.text, 1.0)
        text = prediction.text
        objects = [SceneObject(whole, text, score, prediction.query, text, 0, prediction.parsed, probabilities)]
    name = "objects" if has_boxes else "answers"
    return found_layer(name, objects, image, prediction.georeference, model, list(probabilities or {}))


def prediction_geojson(prediction: Prediction, image: str, model: ModelName, *, has_boxes: bool) -> JsonObject:
    """Return an answer as GeoJSON (RFC 7946); arguments as for [`prediction_layer`].

    Raises:
        ValueError: If it is not known where the image is on Earth, or its map has no longitude and latitude.
    """
    return to_geojson(prediction_layer(prediction, image, model, has_boxes=has_boxes))


def prediction_coco(prediction: Prediction, image: str) -> JsonObject:
    """Return the boxes of an answer as a COCO data set whose annotations have scores.

    Args:
        prediction: The answer.
        image: Name of the image.
    """
    of_image = CocoImage(
        image, prediction.image_size, prediction.boxes, prediction.labels, prediction.scores, prediction.corners
    )
    return to_coco([of_image], [prediction.query] if prediction.query in prediction.labels else [])
