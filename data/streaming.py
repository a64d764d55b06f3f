# SPDX-License-Identifier: Apache-2.0
"""Questions from a data set that is read as it comes: split by process, shuffled block by block, and resumable."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import datasets
import numpy as np
import torch
from datasets.distributed import split_dataset_by_node
from torch.utils.data import get_worker_info

from geodit.configuration.plain_fields import check_field_names
from geodit.configuration.types_geodit import Arguments, Item, JsonObject
from geodit.data.augmentation import Augmentation
from geodit.data.schema import TASKS, Question, check_columns, check_tasks, decode_stored_image


@dataclass(frozen=True)
class StreamPosition:
    """A place in a [`QuestionStream`], in types that JSON has.

    Args:
        num_items: Items before it, counted from the beginning of the stream.
        num_passes: Passes over the data that are complete.
        block: The block that it lies in, counted within the pass.
        offset: Items of that block before it.
        rows: State of the data set in front of the block; `None` at the beginning of a pass.
        world_size: Over how many processes the rows are split.
    """

    num_items: int = 0
    num_passes: int = 0
    block: int = 0
    offset: int = 0
    rows: Mapping[str, object] | None = None
    world_size: int = 1

    def to_dict(self) -> JsonObject:
        """Return the fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, position: JsonObject) -> StreamPosition:
        """Make a position from what `to_dict` returns.

        Raises:
            ValueError: If a field is missing or unknown.
        """
        check_field_names(cls, position, "a stream position")
        return cls(**position)


class QuestionStream(torch.utils.data.IterableDataset[Item]):
    """The flat view of a streamed data set: what [`QuestionDataset`] yields, without an end.

    Rows are read in blocks of undecoded images and shuffled within the block; an image is decoded when its item is
    due. After the last row the next pass begins, in another order, so that no process runs dry before the others.
    The order is a function of the arguments alone, and any place in it can be returned to (`position_at`, `start_at`):
    the data set goes to the block, where `datasets` knows how, and the block is read again.

    With workers of a `DataLoader` the shards of the data set are dealt out to them.

    Args:
        dataset: A stream with the columns of `features`. `Dataset.to_iterable_dataset` makes one of a data set.
        tasks: Keep the questions of these tasks only. All of them by default.
        questions_per_row: With 1, items are `dict(image, image_id, question_index, question)`, where the index is the
            place of the question among those of the image. With more, an image's questions come together, up to so
            many an item, as `dict(image, image_id, question_index, questions)`, with the index of the first.
        shuffle_seed: Shuffle each block by this seed; `None` keeps the order of the rows.
        block_size: Rows that are held in memory, as the bytes of their files.
        rank: Which of `world_size` processes this is.
        world_size: Over how many processes the rows are split: by shards if their number allows it, otherwise by rows.
        augmentation: What is done to images. What becomes of an item follows from `augmentation_seed`, the number of
            the pass, and the item's `image_id` and `question_index`: it is the same whatever the number of processes.
        augmentation_seed: Seed of that.

    Raises:
        ValueError: If a column is missing, a task is unknown, or a number is out of range.
    """

    def __init__(
        self,
        dataset: datasets.IterableDataset,
        *,
        tasks: Sequence[str] | None = None,
        questions_per_row: int = 1,
        shuffle_seed: int | None = 0,
        block_size: int = 512,
        rank: int = 0,
        world_size: int = 1,
        augmentation: Augmentation | None = None,
        augmentation_seed: int = 0,
    ) -> None:
        super().__init__()
        if dataset.column_names is not None:  # a stream may not know them yet
            check_columns(dataset.column_names)
        check_tasks(tasks)
        if questions_per_row < 1 or block_size < 1:
            raise ValueError(f"questions_per_row={questions_per_row} and block_size={block_size} must be at least 1")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank} must be from 0 to world_size - 1, with world_size={world_size}")
        self.dataset = dataset
        self.tasks = tasks
        self.questions_per_row = questions_per_row
        self.shuffle_seed = shuffle_seed
        self.block_size = block_size
        self.rank = rank
        self.world_size = world_size
        self.augmentation = augmentation
        self.augmentation_seed = augmentation_seed
        self._start = StreamPosition(world_size=world_size)
        self._num_read = 0
        self._blocks: list[StreamPosition] = []

    def split_by_process(self, rank: int, world_size: int) -> QuestionStream:
        """Return the share of one process, from its beginning.

        Raises:
            ValueError: If this is the share of a process already.
        """
        if self.world_size != 1:
            raise ValueError(f"the stream is split over {self.world_size} processes already")
        return self._changed(rank=rank, world_size=world_size)

    def augmented(self, augmentation: Augmentation, seed: int) -> QuestionStream:
        """Return the stream, from its beginning, with images augmented otherwise in each pass."""
        return self._changed(augmentation=augmentation, augmentation_seed=seed)

    def _changed(self, **changes: Any) -> QuestionStream:
        arguments: Arguments = {
            "tasks": self.tasks,
            "questions_per_row": self.questions_per_row,
            "shuffle_seed": self.shuffle_seed,
            "block_size": self.block_size,
            "rank": self.rank,
            "world_size": self.world_size,
            "augmentation": self.augmentation,
            "augmentation_seed": self.augmentation_seed,
        }
        return QuestionStream(self.dataset, **{**arguments, **changes})

    @property
    def start(self) -> StreamPosition:
        """Where iterating begins."""
        return self._start

    def start_at(self, position: StreamPosition) -> None:
        """Let iterating begin at a position of this stream.

        Raises:
            ValueError: If the stream is split over another number of processes than the position's.
        """
        if position.world_size != self.world_size:
            raise ValueError(
                f"the stream is split over {self.world_size} processes, but the position is of one split over "
                f"{position.world_size}: resume with as many processes as before"
            )
        self._start = position

    def position_at(self, num_items: int) -> StreamPosition:
        """Return the position with this many items before it. Positions before the last one asked for are dropped.

        Raises:
            ValueError: If this process has not read that far, or has given the place up.
        """
        passed = [block for block in self._blocks if block.num_items <= num_items]
        if not passed or num_items > self._num_read:
            raise ValueError(f"item {num_items} of the stream has not been read in this process, or was given up")
        del self._blocks[: len(passed) - 1]
        return replace(passed[-1], num_items=num_items, offset=num_items - passed[-1].num_items)

    def __iter__(self) -> Iterator[Item]:
        start = self._start
        self._num_read, self._blocks = start.num_items, []
        num_items, offset = start.num_items - start.offset, start.offset
        block_index, state = start.block, start.rows
        for num_passes in itertools.count(start.num_passes):
            rows = split_dataset_by_node(self.dataset.decode(False), self.rank, self.world_size)
            rows.set_epoch(num_passes)
            if state is not None:
                rows.load_state_dict(dict(state))
            found = offset > 0 or block_index > 0
            iterator = iter(rows)
            while block := list(itertools.islice(iterator, self.block_size)):
                items = self._items_of(block, num_passes, block_index)
                self._blocks.append(StreamPosition(num_items, num_passes, block_index, 0, state, self.world_size))
                for row, indices in items[offset:]:
                    self._num_read += 1
                    yield self._item(block[row], indices, num_passes)
                num_items += len(items)
                found = found or bool(items)
                block_index, offset, state = block_index + 1, 0, rows.state_dict()
            block_index, offset, state = 0, 0, None
            if not found:
                if get_worker_info() is None:
                    raise ValueError(f"the data set has no question of the tasks {', '.join(self.tasks or TASKS)}")
                return  # more workers than shards

    def _items_of(self, block: Sequence[Item], num_passes: int, block_index: int) -> list[tuple[int, list[int]]]:
        """Return the items of a block, as rows of it and indices of questions, in the order in which they are due."""
        items = []
        for row, content in enumerate(block):
            tasks = [question["task"] for question in content["questions"]]
            asked = [index for index, task in enumerate(tasks) if self.tasks is None or task in self.tasks]
            items += [
                (row, asked[first : first + self.questions_per_row])
                for first in range(0, len(asked), self.questions_per_row)
            ]
        if self.shuffle_seed is None:
            return items
        order = np.random.default_rng([self.shuffle_seed, num_passes, block_index]).permutation(len(items))
        return [items[index] for index in order]

    def _item(self, row: Item, indices: list[int], num_passes: int) -> Item:
        image = decode_stored_image(row["image"])
        questions = [Question.from_dict(row["questions"][index]) for index in indices]
        item = {"image": image, "image_id": row["image_id"], "question_index": indices[0]}
        item |= {"question": questions[0]} if self.questions_per_row == 1 else {"questions": questions}
        if self.augmentation is None:
            return item
        draw = f"{self.augmentation_seed} {num_passes} {row['image_id']} {indices[0]}"
        return self.augmentation.apply_to_item(item, random.Random(draw))
