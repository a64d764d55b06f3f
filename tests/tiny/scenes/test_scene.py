# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest

from geodit.tiny.scenes.scene import Scene, box_iou, sample_scene
from geodit.tiny.scenes.vocabulary import (
    MAX_OBJECTS,
    MAX_PER_CLASS,
    color_names,
    label_names,
    scene_type_names,
)

SCENES = [sample_scene(seed) for seed in range(400)]


def pairs(scene: Scene) -> itertools.combinations:
    return itertools.combinations(scene.objects, 2)


def test_the_same_seed_gives_the_same_scene() -> None:
    assert sample_scene(7) == sample_scene(7)
    assert sample_scene(7) != sample_scene(8)


@pytest.mark.parametrize("scene_type", scene_type_names)
def test_a_type_can_be_asked_for(scene_type: str) -> None:
    assert sample_scene(0, scene_type=scene_type).scene_type == scene_type


def test_objects_lie_within_the_image_and_keep_to_their_sizes() -> None:
    for obj in (obj for scene in SCENES for obj in scene.objects):
        x1, y1, x2, y2 = obj.box
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= 96
        assert y2 <= 96
        assert 8 <= max(x2 - x1, y2 - y1) <= 34.01
        assert obj.label in label_names
        assert obj.color in color_names


def test_boxes_are_tight_around_the_outlines() -> None:
    for obj in (obj for scene in SCENES for obj in scene.objects):
        xs, ys = zip(*obj.outline, strict=True)
        assert obj.box == (min(xs), min(ys), max(xs), max(ys))
        assert obj.center == ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
        assert 0 < obj.area <= (max(xs) - min(xs)) * (max(ys) - min(ys)) + 0.1


def test_objects_stand_apart() -> None:
    for a, b in (pair for scene in SCENES for pair in pairs(scene)):
        assert box_iou(a.box, b.box) < 0.11
        assert math.dist(a.center, b.center) >= 9


def test_objects_are_in_reading_order_and_not_too_many() -> None:
    for scene in SCENES:
        assert list(scene.objects) == sorted(scene.objects, key=lambda obj: obj.box[:2])
        assert len(scene.objects) <= MAX_OBJECTS
        assert max(scene.count(label) for label in label_names) <= MAX_PER_CLASS


def test_types_are_equally_frequent_and_every_count_occurs_for_every_class() -> None:
    types = Counter(scene.scene_type for scene in SCENES)
    assert min(types[name] for name in scene_type_names) > 0.5 * len(SCENES) / len(scene_type_names)
    for label in label_names:
        counts = {scene.count(label) for scene in SCENES}
        assert counts >= set(range(6)), label


def test_no_class_gives_the_type_away() -> None:
    """Every class is found in several types, and every type but open water has several classes."""
    found = {(scene.scene_type, obj.label) for scene in SCENES for obj in scene.objects}
    for label in label_names:
        assert sum(name == label for _, name in found) >= 2, label
    for scene_type in scene_type_names:
        assert sum(name == scene_type for name, _ in found) >= 3, scene_type


def test_a_scene_is_the_same_at_every_size() -> None:
    small, large = sample_scene(3, image_size=96), sample_scene(3, image_size=240)
    assert len(small.objects) == len(large.objects) > 0
    for a, b in zip(small.objects, large.objects, strict=True):
        assert (a.label, a.color) == (b.label, b.color)
        assert b.box == pytest.approx([2.5 * value for value in a.box], abs=0.02)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="at least 32 pixels, got 8"):
        sample_scene(0, image_size=8)
    with pytest.raises(ValueError, match="unknown scene type 'moon'; the types are harbor"):
        sample_scene(0, scene_type="moon")


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),
        ((0, 0, 1, 1), (5, 5, 6, 6), 0.0),
    ],
)
def test_box_iou(a: tuple, b: tuple, iou: float) -> None:
    assert box_iou(a, b) == pytest.approx(iou)
    assert box_iou(b, a) == pytest.approx(iou)
