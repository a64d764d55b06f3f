# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from geodit.data.schema import (
    Question,
    QuestionDataset,
    encode_png,
    features,
    make_dataset,
    make_row,
    row_questions,
    with_all_features,
)

TURNED = Question(
    "detect",
    query="ship",
    boxes=((1.5, 2.25, 10.0, 12.0), (20.0, 3.0, 30.1, 9.0)),
    labels=("ship", "ship"),
    corners=(None, ((20.0, 5.0), (27.0, 3.0), (30.1, 7.0), (23.1, 9.0))),
)
DETECT = Question(
    "detect", query="ship", boxes=((1.5, 2.25, 10.0, 12.0), (20.0, 3.0, 30.1, 9.0)), labels=("ship", "ship")
)
CAPTION = Question("caption", answer="a harbor", references=("a harbor", "one harbor"))
COUNT = Question("vqa", query="How many ships are there?", answer="2", kind="count")


def pixels(value: int, height: int = 20, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


@pytest.fixture
def dataset() -> datasets.Dataset:
    return make_dataset(
        [
            make_row(pixels(10), "first", [CAPTION, DETECT]),
            make_row(pixels(20), "empty", []),
            make_row(pixels(30), "third", [COUNT], meta='{"split": "test"}'),
        ]
    )


def test_a_row_per_image_gives_back_its_questions_exactly(dataset: datasets.Dataset) -> None:
    assert dataset.features == features()
    assert len(dataset) == 3
    assert row_questions(dataset[0]) == [CAPTION, DETECT]
    assert row_questions(dataset[1]) == []
    assert dataset[2]["meta"] == '{"split": "test"}'


def test_images_are_stored_without_loss_inside_the_table(dataset: datasets.Dataset) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    stored = make_dataset([make_row(noise, "noise", [])])
    np.testing.assert_array_equal(np.asarray(stored[0]["image"]), noise)
    assert stored.cast_column("image", datasets.Image(decode=False))[0]["image"]["path"] is None
    assert dataset.cache_files == []


@pytest.mark.parametrize("form", ["array", "PIL image", "stored"])
def test_a_row_takes_an_image_in_any_form(form: str) -> None:
    array = pixels(77)
    image = {"array": array, "PIL image": Image.fromarray(array), "stored": encode_png(array)}[form]
    stored = make_dataset([make_row(image, "a", [])])
    np.testing.assert_array_equal(np.asarray(stored[0]["image"]), array)


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_flat_view_has_one_item_per_image_and_question(dataset: datasets.Dataset, in_memory: bool) -> None:
    items = QuestionDataset(dataset, in_memory=in_memory)
    assert len(items) == 3
    assert [items[k]["image_id"] for k in range(3)] == ["first", "first", "third"]
    assert [items[k]["question"] for k in range(3)] == [CAPTION, DETECT, COUNT]
    assert [np.asarray(items[k]["image"])[0, 0, 0] for k in range(3)] == [10, 10, 30]
    assert items.questions == [CAPTION, DETECT, COUNT]
    assert [items[k]["question_index"] for k in range(3)] == [0, 1, 0]
    assert items.rows == [0, 0, 2]
    assert items.question(1) == DETECT


@pytest.mark.parametrize("in_memory", [False, True])
def test_images_come_in_rgb_whatever_they_are_stored_as(in_memory: bool) -> None:
    gray = make_dataset([make_row(np.full((5, 6), 9, dtype=np.uint8), "gray", [COUNT])])
    image = QuestionDataset(gray, in_memory=in_memory)[0]["image"]
    assert image.mode == "RGB"
    assert image.size == (6, 5)


def test_an_item_in_memory_is_a_copy(dataset: datasets.Dataset) -> None:
    items = QuestionDataset(dataset, in_memory=True)
    items[0]["image"].putpixel((0, 0), (255, 255, 255))
    assert items[0]["image"].getpixel((0, 0)) == (10, 10, 10)


def test_the_flat_view_follows_a_selection_and_a_shuffle(dataset: datasets.Dataset) -> None:
    items = QuestionDataset(dataset.select([2, 0]))
    assert [items[k]["image_id"] for k in range(3)] == ["third", "first", "first"]
    assert np.asarray(items[0]["image"])[0, 0, 0] == 30


def test_questions_of_some_tasks_only(dataset: datasets.Dataset) -> None:
    assert QuestionDataset(dataset, tasks=["vqa", "caption"]).questions == [CAPTION, COUNT]


def test_unknown_tasks_and_missing_columns_are_named(dataset: datasets.Dataset) -> None:
    with pytest.raises(ValueError, match=r"unknown tasks \['segment'\].*caption, ground"):
        QuestionDataset(dataset, tasks=["segment"])
    with pytest.raises(ValueError, match=r"no column \['questions'\]"):
        QuestionDataset(dataset.remove_columns("questions"))


def test_turned_boxes_keep_their_corners(tmp_path: Path) -> None:
    rows = [make_row(pixels(1), "a", [CAPTION, TURNED, DETECT])]
    stored = make_dataset(rows)
    assert row_questions(stored[0]) == [CAPTION, TURNED, DETECT]
    stored.to_parquet(tmp_path / "a.parquet")
    (read,) = datasets.Dataset.from_parquet(str(tmp_path / "a.parquet"), cache_dir=str(tmp_path))
    assert row_questions(read) == [CAPTION, TURNED, DETECT]
    assert QuestionDataset(stored).question(1) == TURNED
    generated = datasets.Dataset.from_generator(lambda: iter(rows), features(), cache_dir=str(tmp_path))
    assert row_questions(generated[0]) == [CAPTION, TURNED, DETECT]


def test_questions_without_turned_boxes_are_plain_as_ever() -> None:
    assert "corners" not in DETECT.to_dict()
    assert replace(DETECT, corners=(None, None)) == DETECT
    assert Question.from_dict(DETECT.to_dict()) == DETECT
    assert TURNED.to_dict()["corners"] == [[], [20.0, 5.0, 27.0, 3.0, 30.1, 7.0, 23.1, 9.0]]


def old_dataset(tmp_path: Path) -> datasets.Dataset:
    """A file of questions that was written when these had no corners."""
    old = features()
    del old["questions"].feature["corners"]
    row = make_row(pixels(2), "old", [CAPTION, DETECT])
    table = datasets.Dataset.from_dict({name: [row[name]] for name in old}, features=old)
    table.to_parquet(tmp_path / "old.parquet")
    return datasets.Dataset.from_parquet(str(tmp_path / "old.parquet"), cache_dir=str(tmp_path))


def test_files_of_before_are_read_and_go_with_new_ones(tmp_path: Path) -> None:
    old = old_dataset(tmp_path)
    assert "corners" not in old.features["questions"].feature
    assert QuestionDataset(old).questions == [CAPTION, DETECT]
    joined = datasets.concatenate_datasets(
        [with_all_features(old), make_dataset([make_row(pixels(1), "a", [TURNED])])]
    )
    assert QuestionDataset(joined).questions == [CAPTION, DETECT, TURNED]
    assert [item["image_id"] for item in QuestionDataset(joined)] == ["old", "old", "a"]


@pytest.mark.parametrize(
    "corners", [(None,), (None, ((0, 0), (1, 0), (1, 1))), (((0, 0),) * 3 + ((0, math.nan),), None)]
)
def test_wrong_corners_are_refused(corners: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="corners"):
        replace(DETECT, corners=corners)


def test_the_kind_of_a_question_is_its_task_unless_given() -> None:
    assert DETECT.kind == "detect"
    assert COUNT.kind == "count"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "segment"}, "unknown task 'segment'; the tasks are caption"),
        ({"task": "detect", "boxes": ((0, 0, 1, 1),)}, "1 boxes but 0 labels"),
        ({"task": "detect", "boxes": ((5, 0, 1, 1),), "labels": ("ship",)}, "x1 <= x2"),
        ({"task": "detect", "boxes": ((0, 0, float("nan"), 1),), "labels": ("ship",)}, "x1 <= x2"),
        ({"task": "detect", "answer": "none"}, "answered by boxes"),
        ({"task": "vqa", "boxes": ((0, 0, 1, 1),), "labels": ("ship",)}, "answered by text"),
        ({"task": "vqa", "references": ("yes",)}, "only captions"),
    ],
)
def test_questions_that_contradict_themselves_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Question(**fields)


def test_a_question_with_a_misspelt_field_is_refused() -> None:
    fields = DETECT.to_dict()
    fields["bboxes"] = fields.pop("boxes")
    with pytest.raises(ValueError, match=r"missing or unknown: \['bboxes', 'boxes'\]"):
        Question.from_dict(fields)
