# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geodit.tiny.scenes.rendering import render_scene
from geodit.tiny.scenes.scene import Scene, sample_scene
from geodit.tiny.scenes.vocabulary import label_names, scene_type_names


def on_a_clear_day(scene: Scene) -> Scene:
    air = replace(scene.atmosphere, shadow=0.0, haze=0.0, blur=0.0, noise=0.0)
    return replace(scene, atmosphere=air)


def test_the_same_scene_gives_the_same_pixels() -> None:
    image = render_scene(sample_scene(5))
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, render_scene(sample_scene(5)))


@pytest.mark.parametrize("scene_type", scene_type_names)
@pytest.mark.parametrize("image_size", [64, 150])
def test_every_type_renders_at_any_size(scene_type: str, image_size: int) -> None:
    image = render_scene(sample_scene(1, image_size, scene_type))
    assert image.shape == (image_size, image_size, 3)
    assert image.std() > 5


@pytest.mark.parametrize("label", label_names)
def test_boxes_are_tight_around_what_is_drawn(label: str) -> None:
    """What differs between the image with an object and without it is its box, to within a pixel."""
    checked = 0
    for seed in range(120):
        scene = on_a_clear_day(sample_scene(seed))
        objects = [obj for obj in scene.objects if obj.label == label]
        if not objects:
            continue
        obj = objects[0]
        without = replace(scene, objects=tuple(other for other in scene.objects if other is not obj))
        changed = np.abs(render_scene(scene).astype(int) - render_scene(without).astype(int)).max(axis=2) > 2
        rows, columns = np.nonzero(changed.any(axis=1))[0], np.nonzero(changed.any(axis=0))[0]
        drawn = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert drawn == pytest.approx(obj.box, abs=1.5), (seed, obj)
        checked += 1
        if checked == 4:
            break
    assert checked == 4


def test_shadows_fall_outside_the_boxes_on_the_side_away_from_the_sun() -> None:
    scene = on_a_clear_day(sample_scene(0, scene_type="industrial area"))
    tank = next(obj for obj in scene.objects if obj.label == "tank")
    scene = replace(scene, objects=(replace(tank, height=20.0),))
    sunny = replace(scene, atmosphere=replace(scene.atmosphere, shadow=1.0, sun=0.0))
    difference = render_scene(sunny).astype(int).sum(axis=2) - render_scene(scene).astype(int).sum(axis=2)
    y = int(tank.center[1])
    right, left = int(tank.box[2]) + 3, int(tank.box[0]) - 3
    assert difference[y, min(right, 95)] < -30
    assert difference[y, max(left, 0)] == 0


def test_air_and_camera_change_the_pixels_and_not_the_truth() -> None:
    scene = on_a_clear_day(sample_scene(11))
    clear = render_scene(scene).astype(float)
    air = scene.atmosphere
    hazy = render_scene(replace(scene, atmosphere=replace(air, haze=0.5))).astype(float)
    blurred = render_scene(replace(scene, atmosphere=replace(air, blur=1.5))).astype(float)
    noisy = render_scene(replace(scene, atmosphere=replace(air, noise=8.0))).astype(float)
    assert hazy.mean() > clear.mean()
    assert hazy.std() < clear.std()
    assert np.abs(np.diff(blurred, axis=0)).mean() < np.abs(np.diff(clear, axis=0)).mean()
    assert (noisy - clear).std() == pytest.approx(8.0, abs=1.0)
