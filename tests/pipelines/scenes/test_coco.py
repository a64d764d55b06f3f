# SPDX-License-Identifier: Apache-2.0
"""Detections as other tools take them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from geodit.pipelines.scenes.coco import CocoImage, to_coco, to_supervision

HARBOR = CocoImage("harbor.tif", (96, 128), [(10, 20, 30, 50), (0, 0, 5.5, 4)], ["ship", "car"], [0.75, 0.5])
FIELD = CocoImage("field.tif", (64, 64), [], [], [])
COAST = CocoImage("coast.tif", (96, 96), [(1, 2, 3, 4)], ["ship"], [1.0])


class TestCoco:
    def test_boxes_are_corner_and_size_in_pixels(self):
        document = json.loads(json.dumps(to_coco([HARBOR, FIELD, COAST])))
        assert document["images"] == [
            {"id": 1, "file_name": "harbor.tif", "width": 128, "height": 96},
            {"id": 2, "file_name": "field.tif", "width": 64, "height": 64},
            {"id": 3, "file_name": "coast.tif", "width": 96, "height": 96},
        ]
        assert document["categories"] == [{"id": 1, "name": "car"}, {"id": 2, "name": "ship"}]
        first, second, third = document["annotations"]
        assert first == {
            "id": 1,
            "image_id": 1,
            "category_id": 2,
            "bbox": [10, 20, 20, 30],
            "area": 600,
            "iscrowd": 0,
            "score": 0.75,
        }
        assert (second["category_id"], second["bbox"], second["score"]) == (1, [0, 0, 5.5, 4], 0.5)
        assert (third["id"], third["image_id"]) == (3, 3)

    def test_categories_have_the_given_order_also_without_boxes(self):
        document = to_coco([HARBOR], ["storage tank", "ship", "ship"])
        assert [category["name"] for category in document["categories"]] == ["storage tank", "ship", "car"]
        assert [category["id"] for category in document["categories"]] == [1, 2, 3]
        assert [annotation["category_id"] for annotation in document["annotations"]] == [2, 3]

    def test_the_evaluation_of_coco_reads_it_as_truth_and_as_results(self):
        document = to_coco([HARBOR, FIELD, COAST])
        truth = COCO(document)
        evaluation = COCOeval_faster(truth, truth.loadRes(document["annotations"]), iouType="bbox")
        evaluation.run()
        assert evaluation.stats[0] == pytest.approx(1.0)

    def test_each_box_has_a_label_and_a_score(self):
        with pytest.raises(ValueError, match="there are 1 boxes, 2 labels and 1 scores"):
            CocoImage("harbor.tif", (96, 128), [(0, 0, 1, 1)], ["ship", "car"], [0.5])


@dataclass
class Detections:
    """The arguments that `supervision.Detections` was called with."""

    xyxy: np.ndarray[Any, Any]
    confidence: np.ndarray[Any, Any]
    class_id: np.ndarray[Any, Any]
    data: dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def supervision(monkeypatch):
    """A stand-in for the library, which the tests do not need."""
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=Detections))


class TestSupervision:
    def test_has_boxes_scores_and_classes(self, supervision):
        found = to_supervision(HARBOR.boxes, HARBOR.labels, HARBOR.scores)
        assert found.xyxy.tolist() == [[10, 20, 30, 50], [0, 0, 5.5, 4]]
        assert found.confidence.tolist() == [0.75, 0.5]
        assert found.class_id.tolist() == [1, 0]
        assert found.data["class_name"].tolist() == ["ship", "car"]
        assert to_supervision(HARBOR.boxes, HARBOR.labels, HARBOR.scores, ["ship"]).class_id.tolist() == [0, 1]

    def test_nothing_found_has_the_shape_of_no_boxes(self, supervision):
        found = to_supervision([], [], [])
        assert found.xyxy.shape == (0, 4)
        assert [len(array) for array in (found.confidence, found.class_id, found.data["class_name"])] == [0, 0, 0]

    def test_a_missing_library_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "supervision", None)
        with pytest.raises(ModuleNotFoundError, match="this needs the package supervision: pip install supervision"):
            to_supervision([], [], [])
