# SPDX-License-Identifier: Apache-2.0
"""Scenes in words: questions about a written inventory of a scene, for pretraining a text core without images."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import torch

from geodit.configuration.types_geodit import Item
from geodit.data.schema import Box, Question
from geodit.tiny.scenes.dataset import scene_seed
from geodit.tiny.scenes.questions import scene_questions
from geodit.tiny.scenes.scene import REFERENCE_SIZE, Scene, sample_scene
from geodit.tiny.scenes.targets import describe_objects
from geodit.tiny.scenes.vocabulary import scene_type_names

# Objects are listed as a vision tower meets them: row by row of patches, from left to right within a row.
_ROWS = 8


class SceneTextDataset(torch.utils.data.Dataset[Item]):
    """Questions about scenes that are described rather than shown.

    The context is an inventory of the scene, such as `harbor: red ship<loc_3>...; gray building<loc_40>...`, in the
    place where the image will stand. A text core that answers questions about it can read boxes, sort, count and
    compare before it ever sees an image. Scenes come from the training split.

    Args:
        num_scenes: Number of scenes.
        first_scene: Index of the first scene in the training split.
        seed: Seed of the data set, as in [`synthetic_dataset`].
        encode_boxes: Writes boxes in pixels for an image of a size as text, such as `BoxCodec.encode`.
        questions_per_task: The most questions of each task, see `scene_questions`.
        questions_per_row: With 1, an item has one `question`; with more, up to so many `questions`.

    Items are what [`GeoDiTDataCollator`] takes: `image` (None), `context`, `question` or `questions`, `image_size`;
    and `image_id` and `question_index`, the scene and the place of the first question in it.
    """

    def __init__(
        self,
        num_scenes: int,
        *,
        first_scene: int,
        seed: int,
        encode_boxes: Callable[[Sequence[Box], tuple[int, int]], str],
        questions_per_task: Mapping[str, int] | None = None,
        questions_per_row: int = 1,
    ) -> None:
        self._image_size = (REFERENCE_SIZE, REFERENCE_SIZE)
        self._questions_per_row = questions_per_row
        self._items: list[tuple[str, list[Question]]] = []
        self._names: list[tuple[int, int]] = []
        for index in range(first_scene, first_scene + num_scenes):
            number = scene_seed("train", seed, index)
            scene = sample_scene(number, scene_type=scene_type_names[index % len(scene_type_names)])
            inventory = self._inventory(scene, encode_boxes)
            questions = scene_questions(scene, random.Random(f"questions {number}"), questions_per_task)
            for start in range(0, len(questions), questions_per_row):
                self._items.append((inventory, questions[start : start + questions_per_row]))
                self._names.append((index, start))

    def _inventory(self, scene: Scene, encode_boxes: Callable[[Sequence[Box], tuple[int, int]], str]) -> str:
        def raster(entry: tuple[str, str, Box]) -> tuple[int, float]:
            x1, y1, x2, y2 = entry[2]
            return int((y1 + y2) / 2 / REFERENCE_SIZE * _ROWS), (x1 + x2) / 2

        entries = [
            f" {color} {label}{encode_boxes([box], self._image_size)}"
            for color, label, box in sorted(describe_objects(scene), key=raster)
        ]
        return f"{scene.scene_type}:{';'.join(entries)}"

    @property
    def lengths(self) -> list[int]:
        """Characters of each item, for grouping items of like length."""
        return [len(text) + sum(len(question.query) for question in asked) for text, asked in self._items]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        context, questions = self._items[index]
        scene, first = self._names[index]
        item = {
            "image": None,
            "context": context,
            "image_size": self._image_size,
            "image_id": f"text-{scene}",
            "question_index": first,
        }
        return item | ({"question": questions[0]} if self._questions_per_row == 1 else {"questions": questions})
