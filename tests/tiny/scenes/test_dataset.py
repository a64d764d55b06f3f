# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.data.schema import QuestionDataset, features, row_questions
from geodit.tiny.scenes.dataset import SPLITS, scene_seed, synthetic_dataset
from geodit.tiny.scenes.rendering import render_scene
from geodit.tiny.scenes.scene import sample_scene
from geodit.tiny.scenes.vocabulary import scene_type_names

seeds = st.integers(0, 2**24 - 1)
indices = st.integers(0, 2**32 - 1)
arguments = st.tuples(st.sampled_from(SPLITS), seeds, indices)


@given(arguments, arguments)
def test_different_scenes_never_share_a_seed(a: tuple, b: tuple) -> None:
    assert (scene_seed(*a) == scene_seed(*b)) == (a == b)


@given(seeds, indices, seeds, indices)
def test_the_splits_have_disjoint_ranges_of_seeds(s1: int, i1: int, s2: int, i2: int) -> None:
    assert scene_seed("train", s1, i1) < scene_seed("validation", s2, i2)
    assert scene_seed("validation", s1, i1) < scene_seed("test", s2, i2)


def test_rows_follow_the_schema_and_can_be_made_again_from_their_seed() -> None:
    dataset = synthetic_dataset(22, seed=1, split="validation")
    assert dataset.features == features()
    assert dataset.cache_files == []
    assert len(set(dataset["image_id"])) == 22
    for row in dataset:
        meta = json.loads(row["meta"])
        scene = sample_scene(meta["seed"], scene_type=meta["scene_type"])
        np.testing.assert_array_equal(np.asarray(row["image"]), render_scene(scene))
        assert [tuple(obj["box"]) for obj in meta["objects"]] == [obj.box for obj in scene.objects]
        questions = row_questions(row)
        assert {"caption", "classify", "vqa"} <= {question.task for question in questions}
        boxes = {obj.box for obj in scene.objects}
        assert all(box in boxes for question in questions for box in question.boxes)


def test_every_type_has_the_same_share() -> None:
    dataset = synthetic_dataset(22)
    types = Counter(json.loads(meta)["scene_type"] for meta in dataset["meta"])
    assert types == dict.fromkeys(scene_type_names, 2)


def test_a_longer_data_set_starts_with_the_shorter_one() -> None:
    short, long = synthetic_dataset(3), synthetic_dataset(5)
    assert short[2] == long[2]


def test_seed_and_split_change_the_scenes() -> None:
    images = [
        np.asarray(synthetic_dataset(1, seed, split=split)[0]["image"]).tobytes()
        for seed, split in ((0, "train"), (1, "train"), (0, "test"))
    ]
    assert len(set(images)) == 3


def test_several_processes_make_the_same_data_set() -> None:
    assert synthetic_dataset(4, num_proc=2).to_dict() == synthetic_dataset(4).to_dict()


def test_size_and_questions_can_be_set() -> None:
    dataset = synthetic_dataset(2, image_size=64, questions_per_task={"classify": 1})
    assert dataset[0]["image"].size == (64, 64)
    assert [question.task for question in QuestionDataset(dataset).questions] == ["classify", "classify"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_scenes": 0}, "num_scenes must be positive, got 0"),
        ({"num_scenes": 1, "num_proc": 0}, "num_proc must be positive"),
        ({"num_scenes": 1, "split": "dev"}, "unknown split 'dev'; the splits are train, validation, test"),
        ({"num_scenes": 1, "seed": -1}, "seed must be in"),
        ({"num_scenes": 1, "seed": 2**24}, "seed must be in"),
        ({"num_scenes": 1, "image_size": 4}, "image_size must be at least 32"),
    ],
)
def test_bad_arguments_are_named(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic_dataset(**fields)
