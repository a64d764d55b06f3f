# SPDX-License-Identifier: Apache-2.0
"""Targets for the pretraining of components: what every patch of a scene shows, and the scene as a list."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from geodit.data.patches import assign_patches
from geodit.tiny.scenes.scene import Box, Scene
from geodit.tiny.scenes.vocabulary import color_names, label_names, scene_type_names

__all__ = ["PatchTargets", "color_names", "describe_objects", "label_names", "patch_targets", "scene_type_names"]


class PatchTargets(TypedDict):
    """What the cells of a grid over an image show, as arrays by row and column of the cell.

    Attributes:
        label: Class of the object, 0 for the background; shape (grid, grid).
        color: Its color, 0 for the background, negative where it is unknown; shape (grid, grid).
        box: Its box, x1, y1, x2, y2 in [0, 1] of the image's side; zeros for the background; shape (grid, grid, 4).
        center: Whether the cell holds the centre of its object; shape (grid, grid).
    """

    label: NDArray[np.int64]
    color: NDArray[np.int64]
    box: NDArray[np.float32]
    center: NDArray[np.bool_]


def describe_objects(scene: Scene) -> list[tuple[str, str, Box]]:
    """List all objects as (color, label, box), from left to right by (x1, y1): the scene without its pixels."""
    return [(obj.color, obj.label, obj.box) for obj in scene.objects]


def patch_targets(scene: Scene, grid: int) -> PatchTargets:
    """Return what each grid cell over the image shows, see [`assign_patches`][geodit.data.patches.assign_patches].

    Args:
        scene: The scene.
        grid: Cells along either side of the image.

    Returns:
        The targets: labels and colors are 1 + index into `label_names` and `color_names`.

    Raises:
        ValueError: If `grid` is not positive.
    """
    objects = scene.objects
    owner, center = assign_patches(
        [obj.outline for obj in objects], [obj.center for obj in objects], scene.image_size, grid
    )
    labels = np.array([0] + [1 + label_names.index(obj.label) for obj in objects], dtype=np.int64)
    colors = np.array([0] + [1 + color_names.index(obj.color) for obj in objects], dtype=np.int64)
    boxes = np.array([(0.0, 0.0, 0.0, 0.0)] + [obj.box for obj in objects], dtype=np.float32)
    return {
        "label": labels[owner],
        "color": colors[owner],
        "box": boxes[owner] / np.float32(scene.image_size),
        "center": center,
    }
