# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from geodit.data.schema import row_questions
from geodit.evaluation.data_sets import EVALUATION_DATASETS, get_evaluation_dataset, load_evaluation_dataset
from geodit.tiny.scenes.dataset import synthetic_dataset


def scene_seeds(dataset):
    return {json.loads(meta)["seed"] for meta in dataset["meta"]}


def test_synthetic_scenes_ask_every_task():
    dataset = load_evaluation_dataset("synthetic", limit=11)
    tasks = {question.task for row in dataset for question in row_questions(row)}
    assert (len(dataset), tasks) == (11, {"caption", "ground", "detect", "vqa", "classify"})


def test_no_synthetic_scene_is_one_of_training():
    training = scene_seeds(synthetic_dataset(5, seed=0))
    for seed in (None, 0, 7):
        assert not training & scene_seeds(load_evaluation_dataset("synthetic", seed=seed, limit=5))


def test_seeds_give_other_scenes():
    first, again, other = (load_evaluation_dataset("synthetic", seed=seed, limit=3) for seed in (None, 0, 1))
    assert scene_seeds(first) == scene_seeds(again)
    assert not scene_seeds(first) & scene_seeds(other)


def test_the_registry_says_which_data_sets_have_seeds():
    assert {name: dataset.has_seeds for name, dataset in EVALUATION_DATASETS.items()} == {
        "synthetic": True,
        "neon": False,
    }


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("coco", {}, "unknown data set 'coco'; the data sets are synthetic, neon"),
        ("synthetic", {"limit": 0}, "limit must be at least 1"),
        ("synthetic", {"data_dir": "somewhere"}, "leave out data_dir"),
        ("synthetic", {"split": "holdout"}, "unknown split"),
        ("neon", {}, "geodit data fetch neon"),
        ("neon", {"data_dir": "somewhere", "seed": 1}, "fixed"),
    ],
)
def test_mistakes_say_what_to_do(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_evaluation_dataset(name, **options)


def test_neon_images_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_evaluation_dataset("neon", data_dir=tmp_path)


def test_look_up():
    assert get_evaluation_dataset("neon").name == "neon"
