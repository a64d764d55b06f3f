# SPDX-License-Identifier: Apache-2.0
"""The data sets that recipes name, ready for the collator."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import torch

from geodit.annotations.stored import MissingSplitError, read_split
from geodit.configuration.types_geodit import Item
from geodit.data.neon import neon_dataset
from geodit.data.readers.reading import BadRecords, read_dataset
from geodit.data.schema import QuestionDataset, with_all_features
from geodit.data.streaming import QuestionStream
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.tasks_geodit import DEFAULT_TASKS
from geodit.tiny.scenes.dataset import scene_seed, synthetic_dataset
from geodit.tiny.scenes.questions import scene_questions
from geodit.tiny.scenes.scene import sample_scene
from geodit.trainers.runs.recipe_arguments import DataArguments


class ImageQuestions(torch.utils.data.Dataset[Item]):
    """Images with one or several questions each, and lengths by which a sampler can batch like with like.

    Args:
        dataset: Rows of `geodit.data.schema`.
        processor: Knows the canvas length of each task.
        questions_per_row: With 1, items are those of [`QuestionDataset`]. With more, an image's questions come
            together, up to so many an item, as `questions`; `question_index` is the place of the first.
        in_memory: Decode all images now, instead of each when it is asked for.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        processor: GeoDiTProcessor,
        questions_per_row: int = 1,
        in_memory: bool = True,
    ) -> None:
        self._flat = QuestionDataset(dataset, in_memory=in_memory)
        self._questions_per_row = questions_per_row
        starts: list[int] = []
        for _, group in itertools.groupby(range(len(self._flat)), key=self._flat.rows.__getitem__):
            starts.extend(itertools.islice(group, 0, None, questions_per_row))
        self._starts = np.array(starts, dtype=np.int64)
        self._ends = np.append(self._starts[1:], len(self._flat))
        canvas = {name: task.max_new_tokens for name, task in processor.tasks.items()}
        lengths = [canvas[question.task] + len(question.query.split()) for question in self._flat.iter_questions()]
        self.lengths = [sum(lengths[start:end]) for start, end in zip(self._starts, self._ends, strict=True)]

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Item:
        start, end = int(self._starts[index]), int(self._ends[index])
        item = dict(self._flat[start])
        if self._questions_per_row == 1:
            return item
        first = item.pop("question")
        return item | {"questions": [first, *(self._flat.question(i) for i in range(start + 1, end))]}


def streamed_questions(parts: Sequence[datasets.Dataset], args: DataArguments) -> QuestionStream:
    """Mix all parts into a stream that decodes images when they are due."""
    rows = datasets.concatenate_datasets([with_all_features(part) for part in parts]).shuffle(seed=args.scene_seed)
    stream = rows.to_iterable_dataset(num_shards=min(64, len(rows)))
    return QuestionStream(stream, questions_per_row=args.questions_per_row, shuffle_seed=args.scene_seed)


def rendered_scenes(args: DataArguments, split: str, num_scenes: int) -> datasets.Dataset:
    """Return synthetic scenes of a split, kept in `args.cache_dir` if that is given."""

    def render() -> datasets.Dataset:
        return synthetic_dataset(
            num_scenes,
            args.scene_seed,
            split=split,
            questions_per_task=args.task_limits(),
            num_proc=args.num_proc,
        )

    if args.cache_dir is None:
        return render()
    limits = "-".join(f"{task}{number}" for task, number in sorted((args.task_limits() or {}).items())) or "all"
    folder = Path(args.cache_dir) / f"synthetic-{split}-{args.scene_seed}-{num_scenes}-{limits}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Another run may be rendering the same scenes, so each has a folder of its own until they are complete.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as own:
            render().save_to_disk(Path(own) / "rows")
            try:
                (Path(own) / "rows").rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
    return datasets.load_from_disk(str(folder))


def neon_tiles(args: DataArguments, split: str) -> datasets.Dataset:
    """Return random tiles of real tree-crown imagery, at scales around that of a 96-pixel tile."""
    assert args.neon_dir is not None  # checked by DataArguments
    return neon_dataset(
        args.neon_dir,
        split,
        num_random_tiles=args.num_neon_tiles,
        window_sizes=(80, 128),
        seed=args.scene_seed,
    )


def published_datasets(args: DataArguments) -> list[datasets.Dataset]:
    """Return the data sets that `args.datasets` names, whose images stay in their files."""
    bad_records: BadRecords = "skip" if args.skip_bad_records else "raise"
    return [
        read_dataset(name, path, split, bad_records=bad_records, cache_dir=args.cache_dir)
        for name, split, path in args.named_datasets()
    ]


def imported_datasets(args: DataArguments, split: str) -> list[datasets.Dataset]:
    """Return a split of each data set of `args.imported`; of held-out splits those that there are."""
    found = []
    for folder, _ in args.weighted_imports():
        try:
            found.append(with_all_features(read_split(folder, split)))
        except MissingSplitError:
            if split == "train":
                raise
    return found


def vocabulary_texts(num_scenes: int = 2000) -> Iterator[str]:
    """Return prompts and answers of synthetic scenes, to train a tokenizer on."""
    yield "none"  # the answer where there is nothing to detect
    for index in range(num_scenes):
        number = scene_seed("train", 0, index)
        for question in scene_questions(sample_scene(number), random.Random(f"questions {number}")):
            task = DEFAULT_TASKS[question.task]
            yield task.format_prompt(question.query)
            yield from (question.answer, f" {question.answer}")
            for label in question.labels:
                yield from (label, f" {label}")
