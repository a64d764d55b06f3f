# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes as a data set."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor

import datasets

from geodit.configuration.types_geodit import Item
from geodit.data.schema import make_dataset, make_row
from geodit.tiny.scenes.questions import scene_questions
from geodit.tiny.scenes.rendering import render_scene
from geodit.tiny.scenes.scene import sample_scene
from geodit.tiny.scenes.targets import describe_objects
from geodit.tiny.scenes.vocabulary import scene_type_names

SPLITS: tuple[str, ...] = ("train", "validation", "test")
# A scene's seed is split | seed | index in these many bits each, so that no two of them ever meet.
_SEED_BITS, _INDEX_BITS = 24, 32


def scene_seed(split: str, seed: int, index: int) -> int:
    """Return the seed of one scene of a data set. Different arguments always give different seeds.

    Args:
        split: One of `SPLITS`. The seeds of different splits come from disjoint ranges, so that no scene of
            "validation" or "test" is ever one of "train", whatever `seed` is.
        seed: Seed of the data set, below 2**24.
        index: Number of the scene in the data set, below 2**32.

    Raises:
        ValueError: If the split is unknown, or a number is out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    if not 0 <= seed < 1 << _SEED_BITS:
        raise ValueError(f"seed must be in [0, 2**{_SEED_BITS}), got {seed}")
    if not 0 <= index < 1 << _INDEX_BITS:
        raise ValueError(f"index must be in [0, 2**{_INDEX_BITS}), got {index}")
    # The splits count from 1, which keeps small seeds, as people use them by hand, out of every split.
    return (SPLITS.index(split) + 1) << (_SEED_BITS + _INDEX_BITS) | seed << _INDEX_BITS | index


def _row(index: int, split: str, seed: int, image_size: int, questions_per_task: Mapping[str, int] | None) -> Item:
    number = scene_seed(split, seed, index)
    # One type after the other: every type has the same share of a data set.
    scene = sample_scene(number, image_size, scene_type_names[index % len(scene_type_names)])
    # Another stream than the one the scene itself is drawn from.
    rng = random.Random(f"questions {number}")
    meta = {
        "scene_type": scene.scene_type,
        "seed": number,
        "objects": [{"label": label, "color": color, "box": box} for color, label, box in describe_objects(scene)],
    }
    return make_row(
        render_scene(scene),
        image_id=f"synthetic-{split}-{seed}-{index:06d}",
        questions=scene_questions(scene, rng, questions_per_task),
        meta=json.dumps(meta),
    )


def synthetic_dataset(
    num_scenes: int,
    seed: int = 0,
    image_size: int = 96,
    *,
    split: str = "train",
    questions_per_task: Mapping[str, int] | None = None,
    num_proc: int | None = None,
) -> datasets.Dataset:
    """Make a data set of synthetic scenes, in memory.

    Args:
        num_scenes: Number of scenes, one row each.
        seed: The same seed and split give the same data set; a longer one starts with the shorter one.
        image_size: Height and width of the images in pixels.
        split: One of `SPLITS`; no scene is in two of them, see `scene_seed`.
        questions_per_task: The most questions of each task, see `scene_questions`.
        num_proc: Number of processes that render. One by default.

    Returns:
        A data set with the columns of `geodit.data.schema.features`.

    Raises:
        ValueError: If an argument is out of range or names something unknown.
    """
    if num_scenes < 1:
        raise ValueError(f"num_scenes must be positive, got {num_scenes}")
    if num_proc is not None and num_proc < 1:
        raise ValueError(f"num_proc must be positive, got {num_proc}")
    make = functools.partial(
        _row, split=split, seed=seed, image_size=image_size, questions_per_task=questions_per_task
    )
    return make_dataset(list(_map(make, num_scenes, num_proc or 1)))


def _map(make: functools.partial[Item], number: int, num_proc: int) -> Iterator[Item]:
    if num_proc == 1:
        yield from map(make, range(number))
        return
    with ProcessPoolExecutor(num_proc) as pool:
        yield from pool.map(make, range(number), chunksize=64)
