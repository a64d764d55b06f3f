# SPDX-License-Identifier: Apache-2.0
"""Images with what every patch of them shows, for the dense pretraining of a vision tower."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Sequence

import datasets
import numpy as np
import torch
from PIL import Image

from geodit.configuration.types_geodit import Item
from geodit.data.patches import assign_patches
from geodit.data.schema import Box, row_questions
from geodit.tiny.scenes.targets import PatchTargets

UNKNOWN = -100
"""Target of what nobody has annotated: the index that PyTorch's cross-entropy ignores."""


class DensePatchDataset(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Images and dense targets, all held in memory.

    Items are dictionaries of tensors, for n = grid * grid patches:

    * `pixels` (H, W, 3) uint8;
    * `label` (n,) int64: the class of the object that the patch shows, 0 for the background;
    * `color` (n,) int64: its color, 0 for the background or `UNKNOWN`;
    * `box` (n, 4) float32: its box, x1, y1, x2, y2 in [0, 1] of the image's side; zeros for the background;
    * `center` (n,) float32: 1 where the patch holds the centre of its object;
    * `scene_type` () int64, or `UNKNOWN`.

    Args:
        dataset: Rows of `geodit.data.schema` with square images.
        grid: Patches along either side of the image.
    """

    def __init__(self, dataset: datasets.Dataset, grid: int) -> None:
        self._items: list[dict[str, torch.Tensor]] = []
        for row in dataset.cast_column("image", datasets.Image(decode=False)):
            pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB"), dtype=np.uint8)
            patches, scene_type = self._targets(row, pixels.shape[0], grid)
            self._items.append(
                {
                    "pixels": torch.from_numpy(pixels.copy()),
                    "scene_type": torch.tensor(scene_type),
                    "label": torch.from_numpy(patches["label"]).flatten(),
                    "color": torch.from_numpy(patches["color"]).flatten(),
                    "box": torch.from_numpy(patches["box"]).flatten(0, 1),
                    "center": torch.from_numpy(patches["center"]).flatten().float(),
                }
            )

    @abstractmethod
    def _targets(self, row: Item, image_size: int, grid: int) -> tuple[PatchTargets, int]:
        """Return `label`, `color`, `box` and `center` by row and column of patch, and the scene type, of one row."""

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self._items[index]


class DenseBoxDataset(DensePatchDataset):
    """Images whose boxes are known and nothing else: color and scene type are `UNKNOWN`.

    Args:
        dataset: Rows of `geodit.data.schema`; all `detect` questions of an image together name its objects.
        grid: Patches along either side of the image.
        label_names: The classes; their targets count from 1.

    Raises:
        ValueError: If a box has a label that is not among them.
    """

    def __init__(self, dataset: datasets.Dataset, grid: int, label_names: Sequence[str]) -> None:
        self._label_names = tuple(label_names)
        super().__init__(dataset, grid)

    def _targets(self, row: Item, image_size: int, grid: int) -> tuple[PatchTargets, int]:
        questions = [question for question in row_questions(row) if question.task == "detect"]
        boxes = [box for question in questions for box in question.boxes]
        labels = [label for question in questions for label in question.labels]
        unknown = sorted(set(labels) - set(self._label_names))
        if unknown:
            raise ValueError(
                f"no class is called {', '.join(unknown)}: the classes are {', '.join(self._label_names)}"
            )
        centers = [((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in boxes]
        owner, center = assign_patches([_corners(box) for box in boxes], centers, image_size, grid)
        classes = np.array([0] + [1 + self._label_names.index(label) for label in labels], dtype=np.int64)
        edges = np.array([(0.0, 0.0, 0.0, 0.0), *boxes], dtype=np.float32) / np.float32(image_size)
        patches: PatchTargets = {
            "label": classes[owner],
            "color": np.full_like(owner, UNKNOWN),
            "box": edges[owner],
            "center": center,
        }
        return patches, UNKNOWN


def _corners(box: Box) -> list[tuple[float, float]]:
    x1, y1, x2, y2 = box
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
