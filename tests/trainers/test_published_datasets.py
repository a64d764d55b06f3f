# SPDX-License-Identifier: Apache-2.0
"""Recipes train on published data sets in the layouts in which these are downloaded."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from defined_environment import DEVICE
from geodit.data.readers.reading import BadRecordError, read_dataset
from geodit.trainers.runs.recipe_arguments import DataArguments
from geodit.trainers.runs.recipes import run_recipe
from geodit.trainers.runs.training_data import ImageQuestions, published_datasets


@pytest.fixture
def rsvg(tmp_path):
    """RSVG with two images and three expressions."""
    root = tmp_path / "RSVG"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(root / "images" / name)
    records = [
        {"image_id": "a.png", "bbox": [10, 20, 40, 50], "question": "the large ship"},
        {"image_id": "a.png", "bbox": [50, 60, 80, 90], "question": "the harbor"},
        {"image_id": "b.png", "bbox": [0, 0, 30, 30], "question": "the ship"},
    ]
    (root / "rsvg_train.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return root


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ("rsvg=data/RSVG", ("rsvg", "train", "data/RSVG")),
        ("mmrs-1m:sar=/data/a=b", ("mmrs-1m", "sar", "/data/a=b")),
    ],
)
def test_an_entry_has_a_name_a_split_and_a_path(entry, named):
    assert DataArguments(datasets=[entry]).named_datasets() == [named]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("rsvg", "entries such as rsicd=PATH or rsicd:validation=PATH, got 'rsvg'"),
        ("rsvg=", "entries such as"),
        ("=data", "entries such as"),
        ("rsvg:=data", "entries such as"),
        ("dota=data", "unknown data set 'dota'"),
        ("rsvg:dev=data", "rsvg has no split 'dev'"),
    ],
)
def test_a_wrong_entry_is_refused_with_the_recipe(entry, message):
    with pytest.raises(ValueError, match=message):
        DataArguments(datasets=[entry])


def test_dense_pretraining_has_no_use_for_them(rsvg):
    with pytest.raises(ValueError, match="datasets have no dense labels"):
        DataArguments(objective="dense_vision", num_scenes=1, datasets=[f"rsvg={rsvg}"])


@pytest.mark.parametrize("questions_per_row", [1, 2])
def test_images_are_opened_when_they_are_asked_for(rsvg, tmp_path, model_and_processor, questions_per_row):
    _, processor = model_and_processor
    dataset = read_dataset("rsvg", rsvg, cache_dir=tmp_path)
    items = ImageQuestions(dataset, processor, questions_per_row, in_memory=False)
    (rsvg / "images" / "b.png").unlink()
    assert len(items) == len(items.lengths) == (3 if questions_per_row == 1 else 2)
    if questions_per_row == 1:
        assert [items[index]["question"].query for index in (0, 1)] == ["the large ship", "the harbor"]
    else:
        assert [question.query for question in items[0]["questions"]] == ["the large ship", "the harbor"]
        assert "question" not in items[0]
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        items[-1]


def test_in_memory_and_from_files_the_items_are_the_same(rsvg, tmp_path, model_and_processor):
    _, processor = model_and_processor
    dataset = read_dataset("rsvg", rsvg, cache_dir=tmp_path)
    stored, files = (ImageQuestions(dataset, processor, in_memory=in_memory) for in_memory in (True, False))
    assert stored.lengths == files.lengths
    for one, other in zip(stored, files, strict=True):
        np.testing.assert_array_equal(np.asarray(one.pop("image")), np.asarray(other.pop("image")))
        assert one == other


def test_bad_records_stop_a_run_unless_they_are_to_be_skipped(rsvg, tmp_path):
    (rsvg / "images" / "b.png").unlink()
    entry = {"datasets": [f"rsvg={rsvg}"], "cache_dir": str(tmp_path)}
    with pytest.raises(BadRecordError, match=r"rsvg_train\.jsonl, image 'b\.png'"):
        published_datasets(DataArguments(**entry))
    (dataset,) = published_datasets(DataArguments(**entry, skip_bad_records=True))
    assert dataset["image_id"][:] == ["rsvg/a.png"]


def test_a_recipe_trains_on_them(rsvg, tmp_path, geometry):
    recipe = tmp_path / "recipe.yaml"
    values = {
        "geometry": str(geometry),
        "location_bins": 16,
        "datasets": [f"rsvg={rsvg}"],
        "num_eval_scenes": 1,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "cache_dir": str(tmp_path / "cache"),
        "output_dir": str(tmp_path / "run"),
        "use_cpu": DEVICE == "cpu",
        "report_to": "none",
        "disable_tqdm": True,
        "max_steps": 1,
        "save_strategy": "no",
        "per_device_train_batch_size": 3,
    }
    recipe.write_text(yaml.safe_dump(values))
    run_recipe(str(recipe))
    log = [json.loads(line) for line in (tmp_path / "run" / "training_log.jsonl").read_text().splitlines()]
    assert log[-1]["train_loss"] > 0
    assert any("eval_loss" in entry for entry in log)
