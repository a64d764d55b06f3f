# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geodit.tiny.scenes.scene import SceneObject, sample_scene
from geodit.tiny.scenes.targets import color_names, describe_objects, label_names, patch_targets

SCENES = [sample_scene(seed) for seed in range(60)]


def rectangle(x1: float, y1: float, x2: float, y2: float, label: str = "building") -> SceneObject:
    """An object that covers exactly its box."""
    some = next(obj for scene in SCENES for obj in scene.objects)
    return replace(
        some,
        label=label,
        color="red",
        box=(x1, y1, x2, y2),
        center=((x1 + x2) / 2, (y1 + y2) / 2),
        outline=((x1, y1), (x2, y1), (x2, y2), (x1, y2)),
    )


def test_a_cell_belongs_to_an_object_that_covers_a_quarter_of_it() -> None:
    # Cells are 12 pixels wide: the object covers all of column 2, 75% of column 3 and 1/6 of column 4.
    wide = rectangle(24, 0, 50, 12)
    targets = patch_targets(replace(SCENES[0], objects=(wide,)), grid=8)
    expected = [0, 0, 1 + label_names.index("building"), 1 + label_names.index("building"), 0, 0, 0, 0]
    assert targets["label"][0].tolist() == expected
    assert not targets["label"][1:].any()
    assert targets["color"][0, 2] == 1 + color_names.index("red")
    np.testing.assert_allclose(targets["box"][0, 3], np.array([24, 0, 50, 12]) / 96)
    np.testing.assert_array_equal(targets["box"][0, 4], 0)
    assert np.argwhere(targets["center"]).tolist() == [[0, 3]]


def test_a_small_object_owns_the_cell_of_its_centre() -> None:
    small = rectangle(40, 40, 43, 43, "tree")
    targets = patch_targets(replace(SCENES[0], objects=(small,)), grid=8)
    assert np.argwhere(targets["label"]).tolist() == [[3, 3]]
    assert targets["center"][3, 3]


def test_the_centre_of_an_object_outweighs_another_that_covers_more() -> None:
    large, small = rectangle(0, 0, 22, 12), rectangle(20, 2, 23.9, 10, "tree")
    targets = patch_targets(replace(SCENES[0], objects=(large, small)), grid=8)
    assert targets["label"][0, 1] == 1 + label_names.index("tree")


@pytest.mark.parametrize("grid", [1, 6, 8, 12])
def test_every_object_is_found_in_the_cell_of_its_centre(grid: int) -> None:
    for scene in SCENES:
        targets = patch_targets(scene, grid)
        assert targets["label"].shape == targets["color"].shape == targets["center"].shape == (grid, grid)
        assert targets["box"].shape == (grid, grid, 4)
        boxes = {tuple(np.float32(obj.box) / np.float32(96)) for obj in scene.objects}
        shown = {tuple(box) for box in targets["box"][targets["label"] > 0]}
        assert shown <= boxes
        cells = {(int(obj.center[1] * grid / 96), int(obj.center[0] * grid / 96)) for obj in scene.objects}
        assert {tuple(cell) for cell in np.argwhere(targets["center"])} == cells
        assert not targets["box"][targets["label"] == 0].any()
        assert not targets["center"][targets["label"] == 0].any()


def test_labels_and_colors_are_those_of_the_object_whose_box_is_given() -> None:
    for scene in SCENES:
        targets = patch_targets(scene, 12)
        names = {tuple(np.float32(obj.box) / np.float32(96)): (obj.label, obj.color) for obj in scene.objects}
        for row, column in np.argwhere(targets["label"]):
            label = label_names[targets["label"][row, column] - 1]
            color = color_names[targets["color"][row, column] - 1]
            assert names[tuple(targets["box"][row, column])] == (label, color)


def test_an_empty_scene_is_all_background() -> None:
    targets = patch_targets(replace(SCENES[0], objects=()), grid=4)
    assert not any(array.any() for array in targets.values())


def test_a_grid_needs_cells() -> None:
    with pytest.raises(ValueError, match="grid must be positive, got 0"):
        patch_targets(SCENES[0], 0)


def test_objects_are_described_from_left_to_right() -> None:
    scene = next(scene for scene in SCENES if len(scene.objects) > 3)
    described = describe_objects(scene)
    assert described == [(obj.color, obj.label, obj.box) for obj in scene.objects]
    assert [box[0] for _, _, box in described] == sorted(box[0] for _, _, box in described)
