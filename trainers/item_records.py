# SPDX-License-Identifier: Apache-2.0
"""What a batch says about its items beside the model's inputs: which they are, and which tasks they ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from geodit.configuration.types_geodit import Batch, Item
from geodit.data.schema import TASKS
from geodit.trainers.data_collator import item_questions

ITEM_IDS = "item_ids"
TASK_IDS = "task_ids"


@dataclass(frozen=True)
class ItemRecordCollator:
    """Adds to the batches of a collator what errors and logs say about them.

    The batch gets `item_ids`, a list of B strings, and `task_ids`, `(S,)` indices into [`TASKS`] of its answers in
    the order of [`number_canvases`]. Batches of items without questions stay as they are.

    Args:
        collate: The collator, such as a [`GeoDiTDataCollator`].
    """

    collate: Callable[[list[Any]], Batch]

    def __call__(self, items: list[Any]) -> Batch:
        """Collate a batch."""
        batch = dict(self.collate(items))
        if not all(isinstance(item, Mapping) and ("question" in item or "questions" in item) for item in items):
            return batch
        tasks = [TASKS.index(question.task) for item in items for question in item_questions(item)]
        return batch | {ITEM_IDS: [item_id(item) for item in items], TASK_IDS: torch.tensor(tasks)}


def item_id(item: Item) -> str:
    """Name an item as a person would look it up: `image_id#question`, or `image_id#first-last`."""
    questions = item_questions(item)
    name = str(item.get("image_id", "unnamed image"))
    first = item.get("question_index")
    if first is None:
        return f"{name} ({'; '.join(f'{question.task} {question.query}'.strip() for question in questions)})"
    return f"{name}#{first}" if len(questions) == 1 else f"{name}#{first}-{first + len(questions) - 1}"


def model_inputs(batch: Batch, *, copies: int = 1) -> dict[str, torch.Tensor]:
    """Return the tensors of a batch that the model takes: all but labels and records.

    Args:
        batch: A batch of [`GeoDiTDataCollator`] or [`ItemRecordCollator`].
        copies: How often to repeat the batch, one copy of all rows and images after the other.
    """
    inputs = {
        name: value
        for name, value in batch.items()
        if name not in ("labels", TASK_IDS) and isinstance(value, torch.Tensor)
    }
    return inputs if copies == 1 else {name: torch.cat([value] * copies) for name, value in inputs.items()}
