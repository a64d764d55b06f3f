# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes with what every patch of them shows, for the dense pretraining of a vision tower."""

from __future__ import annotations

import json

from geodit.configuration.types_geodit import Item
from geodit.tiny.dense_images import DensePatchDataset
from geodit.tiny.scenes.scene import sample_scene
from geodit.tiny.scenes.targets import PatchTargets, patch_targets
from geodit.tiny.scenes.vocabulary import scene_type_names


class DenseSceneDataset(DensePatchDataset):
    """Images of synthetic scenes with the targets of [`patch_targets`].

    Args:
        dataset: What [`synthetic_dataset`] made. The scene of each row is made again from its seed.
        grid: Patches along either side of the image.
    """

    def _targets(self, row: Item, image_size: int, grid: int) -> tuple[PatchTargets, int]:
        meta = json.loads(row["meta"])
        scene = sample_scene(meta["seed"], image_size, meta["scene_type"])
        return patch_targets(scene, grid), scene_type_names.index(scene.scene_type)
