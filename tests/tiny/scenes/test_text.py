# SPDX-License-Identifier: Apache-2.0
"""Scenes in words: an inventory that holds what the questions about it ask."""

import itertools
import re

import pytest

from geodit.processing.boxes_geodit import get_box_codec
from geodit.tiny.scenes.text import SceneTextDataset

CODEC = get_box_codec("location_tokens", 64)


def make(**arguments) -> SceneTextDataset:
    return SceneTextDataset(20, first_scene=5, seed=0, encode_boxes=CODEC.encode, **arguments)


def test_the_boxes_that_are_asked_for_stand_in_the_inventory():
    checked, dataset = 0, make()
    for item in (dataset[index] for index in range(len(dataset))):
        for box in item["question"].boxes:
            assert CODEC.encode([box], item["image_size"]) in item["context"]
            checked += 1
    assert checked > 20


def test_objects_are_listed_row_by_row():
    dataset = make()
    for index in range(len(dataset)):
        boxes = CODEC.decode("".join(re.findall(r"<loc_\d+>", dataset[index]["context"])), (96, 96)).boxes
        rows = [int((box[1] + box[3]) / 2 // 12) for box in boxes]
        # The inventory has bins, so a centre may be off by half of one.
        assert all(below >= above - 1 for above, below in itertools.pairwise(rows))


@pytest.mark.parametrize("questions_per_row", [1, 4])
def test_every_question_is_asked_once(questions_per_row):
    grouped = make(questions_per_row=questions_per_row)
    asked = [q for i in range(len(grouped)) for q in grouped[i].get("questions", [grouped[i].get("question")])]
    single = make()
    assert asked == [single[i]["question"] for i in range(len(single))]
    assert len(grouped.lengths) == len(grouped)
