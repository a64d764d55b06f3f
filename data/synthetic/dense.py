# SPDX-License-Identifier: Apache-2.0
"""Scenes with what every patch of them shows, for the dense pretraining of a vision tower."""

from __future__ import annotations

import io
import json
from typing import Any

import datasets
import numpy as np
import torch
from PIL import Image

from geodit.data.synthetic.scenes import sample_scene
from geodit.data.synthetic.targets import patch_targets
from geodit.data.synthetic.vocabulary import scene_type_names


class DenseSceneDataset(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Images of synthetic scenes with dense targets, all held in memory.

    Args:
        dataset: What [`synthetic_dataset`] made. The scene of each row is made again from its seed.
        grid: Patches along either side of the image.

    Items are dictionaries of tensors: `pixels` (H, W, 3) uint8, `scene_type` () int64, and `label`, `color` (n,)
    int64, `box` (n, 4) float32 and `center` (n,) float32 of [`patch_targets`], for n = grid * grid patches.
    """

    def __init__(self, dataset: datasets.Dataset, grid: int) -> None:
        self._grid = grid
        self._items: list[dict[str, torch.Tensor]] = []
        for row in dataset.cast_column("image", datasets.Image(decode=False)):
            pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])), dtype=np.uint8)
            targets = self._targets(json.loads(row["meta"]), image_size=pixels.shape[0])
            self._items.append({"pixels": torch.from_numpy(pixels.copy()), **targets})

    def _targets(self, meta: dict[str, Any], image_size: int) -> dict[str, torch.Tensor]:
        scene = sample_scene(meta["seed"], image_size, meta["scene_type"])
        targets = patch_targets(scene, self._grid)
        return {
            "scene_type": torch.tensor(scene_type_names.index(scene.scene_type)),
            "label": torch.from_numpy(targets["label"]).flatten(),
            "color": torch.from_numpy(targets["color"]).flatten(),
            "box": torch.from_numpy(targets["box"]).flatten(0, 1),
            "center": torch.from_numpy(targets["center"]).flatten().float(),
        }

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self._items[index]
