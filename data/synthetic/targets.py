# SPDX-License-Identifier: Apache-2.0
"""Targets for the pretraining of components: what every patch of a scene shows, and the scene as a list."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from geodit.data.synthetic.scenes import Box, Scene
from geodit.data.synthetic.vocabulary import color_names, label_names, scene_type_names

__all__ = ["color_names", "describe_objects", "label_names", "patch_targets", "scene_type_names"]

# Points at which a cell is probed along either side.
_PROBES = 8
_LEAST_COVER = 0.25


def describe_objects(scene: Scene) -> list[tuple[str, str, Box]]:
    """All objects as (color, label, box), from left to right by (x1, y1): the scene without its pixels."""
    return [(obj.color, obj.label, obj.box) for obj in scene.objects]


def patch_targets(scene: Scene, grid: int) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """What each cell of a grid over the image shows.

    A cell belongs to the object whose centre it holds; else to the one that covers most of it, if it covers
    a quarter; else to the background. Of several centres in a cell the object that covers most of it counts.

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
    if grid < 1:
        raise ValueError(f"grid must be positive, got {grid}")
    side = grid * _PROBES
    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    scale = side / scene.image_size
    for number, obj in enumerate(scene.objects, start=1):
        draw.polygon([(x * scale - 0.5, y * scale - 0.5) for x, y in obj.outline], fill=number)
    probes = np.asarray(canvas).reshape(grid, _PROBES, grid, _PROBES).transpose(0, 2, 1, 3).reshape(grid, grid, -1)
    cover = (probes[..., None] == np.arange(1, len(scene.objects) + 1)).mean(axis=2)

    owner = np.zeros((grid, grid), dtype=np.int64)
    if scene.objects:
        most = cover.argmax(axis=-1)
        owner = np.where(cover.max(axis=-1) >= _LEAST_COVER, most + 1, 0)
    center = np.zeros((grid, grid), dtype=bool)
    held: dict[tuple[int, int], float] = {}
    for number, obj in enumerate(scene.objects, start=1):
        column, row = (min(grid - 1, int(value / scene.image_size * grid)) for value in obj.center)
        covered = float(cover[row, column, number - 1])
        if covered >= held.get((row, column), 0.0):
            held[row, column] = covered
            owner[row, column] = number
            center[row, column] = True

    labels = np.array([0] + [1 + label_names.index(obj.label) for obj in scene.objects], dtype=np.int64)
    colors = np.array([0] + [1 + color_names.index(obj.color) for obj in scene.objects], dtype=np.int64)
    boxes = np.array([(0.0, 0.0, 0.0, 0.0)] + [obj.box for obj in scene.objects], dtype=np.float32)
    return {
        "label": labels[owner],
        "color": colors[owner],
        "box": boxes[owner] / np.float32(scene.image_size),
        "center": center,
    }
