# SPDX-License-Identifier: Apache-2.0
"""Targets for the pretraining of components: what every patch of a scene shows, and the scene as a list."""

from __future__ import annotations

from typing import Any

import numpy as np

from geodit.data.patches import assign_patches
from geodit.tiny.scenes.scene import Box, Scene
from geodit.tiny.scenes.vocabulary import color_names, label_names, scene_type_names

__all__ = ["color_names", "describe_objects", "label_names", "patch_targets", "scene_type_names"]


def describe_objects(scene: Scene) -> list[tuple[str, str, Box]]:
    """List all objects as (color, label, box), from left to right by (x1, y1): the scene without its pixels."""
    return [(obj.color, obj.label, obj.box) for obj in scene.objects]


def patch_targets(scene: Scene, grid: int) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Return what each grid cell over the image shows, see [`assign_patches`][geodit.data.patches.assign_patches].

    Args:
        scene: The scene.
        grid: Cells along either side of the image.

    Returns:
        Arrays by row and column of the cell:

        * `label` (grid, grid) int64: 0 for the background, else 1 + index into `label_names`.
        * `color` (grid, grid) int64: 0 for the background, else 1 + index into `color_names`.
        * `box` (grid, grid, 4) float32: box of the object, x1, y1, x2, y2 in [0, 1] of the image's side;
          zeros for the background.
        * `center` (grid, grid) bool: whether the cell holds the centre of its object.

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
