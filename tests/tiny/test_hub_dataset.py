# SPDX-License-Identifier: Apache-2.0
"""The synthetic scenes as a data set for the Hub."""

import pytest
import yaml
from huggingface_hub import DatasetCard

from geodit.data.schema import TASKS, features
from geodit.tiny.hub_dataset import SplitSummary, scene_dataset_card, write_scene_dataset
from geodit.tiny.scenes.dataset import synthetic_dataset

datasets = pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "overhead-scenes"
    splits = write_scene_dataset(folder, {"train": 7, "test": 3}, seed=4, image_size=48, repo_id="org/scenes")
    return folder, splits


def load(folder, tmp_path, split):
    return datasets.load_dataset(str(folder), split=split, cache_dir=str(tmp_path))


@pytest.mark.parametrize(("split", "number"), [("train", 7), ("test", 3)])
def test_it_loads_as_any_data_set_of_the_hub(written, tmp_path, split, number):
    loaded = load(written[0], tmp_path, split)
    drawn = synthetic_dataset(number, 4, 48, split=split)
    assert loaded.features == features()
    assert loaded["questions"][:] == drawn["questions"][:]
    assert loaded["image_id"][:] == drawn["image_id"][:]
    assert loaded[0]["image"].tobytes() == drawn[0]["image"].tobytes()


def test_what_the_card_counts_is_what_is_there(written):
    folder, splits = written
    card = DatasetCard.load(folder / "README.md")
    for split, number in zip(splits, (7, 3), strict=True):
        drawn = [
            question for row in synthetic_dataset(number, 4, 48, split=split.name)["questions"] for question in row
        ]
        counts = {task: sum(question["task"] == task for question in drawn) for task in TASKS}
        assert split == SplitSummary(split.name, number, counts, sum(len(question["boxes"]) for question in drawn))
        cells = [f"`{split.name}`", str(number), *map(str, counts.values()), str(split.num_boxes)]
        assert f"| {' | '.join(cells)} |" in card.text


def test_the_card_says_how_to_make_it_again_and_shows_it(written):
    folder, _ = written
    card = DatasetCard.load(folder / "README.md")
    assert "geodit data scenes DIRECTORY --train 7 --test 3 --seed 4 --image-size 48" in card.text
    assert 'load_dataset("org/scenes", split="train")' in card.text
    assert card.text.count("](assets/scene-") == len(list((folder / "assets").iterdir())) == 4
    assert card.data.to_dict()["configs"][0]["data_files"][1] == {"split": "test", "path": "data/test.parquet"}
    assert card.data.size_categories == "n<1K"
    assert "\n\n\n" not in card.content


def test_only_the_benchmarks_own_scenes_make_a_benchmark(written):
    folder, _ = written
    assert not (folder / "eval.yaml").exists()
    assert "benchmarks.yaml" not in (folder / "README.md").read_text()
    own = SplitSummary("test", 500, dict.fromkeys(TASKS, 500), 500)
    card = scene_dataset_card([own], seed=0, image_size=96, repo_id="org/scenes")
    assert "`synthetic: org/scenes`" in card.text
    assert "benchmarks.yaml" not in scene_dataset_card([own], seed=1, image_size=96).text


def test_the_tasks_of_the_benchmark_are_those_that_results_name(tmp_path, monkeypatch):
    monkeypatch.setattr("geodit.tiny.hub_dataset._BENCHMARK", ("test", 2, 0, 32))
    write_scene_dataset(tmp_path / "out", {"test": 2}, image_size=32)
    document = yaml.safe_load((tmp_path / "out" / "eval.yaml").read_text())
    assert document["tasks"] == [{"id": task, "config": "default", "split": "test"} for task in TASKS]
    assert {"name", "description", "evaluation_framework"} <= set(document)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_scenes": {}}, "at least one of the splits train, validation, test"),
        ({"num_scenes": {"dev": 1}}, r"\['dev'\]"),
        ({"num_scenes": {"test": 0}}, "num_scenes must be positive"),
        ({"num_scenes": {"test": 1}, "seed": -1}, "seed must be"),
        ({"num_scenes": {"test": 1}, "template_path": "missing"}, "there is no template"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_scene_dataset(tmp_path / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_stays_as_it_is(written):
    with pytest.raises(FileExistsError, match="name a new folder"):
        write_scene_dataset(written[0], {"test": 1})
