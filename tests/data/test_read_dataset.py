# SPDX-License-Identifier: Apache-2.0
"""What `read_dataset` does for every published data set alike: splits, streams, caches, and what is wrong."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import datasets
import pytest
from datasets.exceptions import DatasetGenerationError

from geodit.data.readers.reading import BadRecordError, read_dataset
from geodit.data.readers.registry import READERS, get_reader
from geodit.data.schema import QuestionDataset, features, row_questions


def test_every_data_set_of_the_field_has_a_reader():
    assert tuple(READERS) == (
        "skyscript",
        "mmrs-1m",
        "geochat-instruct",
        "llava",
        "vrsbench",
        "dior-rsvg",
        "rsvg",
        "avvg",
        "rsicd",
        "ucm-captions",
        "sydney-captions",
        "nwpu-captions",
        "rsvqa-lr",
        "rsvqa-hr",
        "aid",
        "whu-rs19",
    )


@pytest.mark.parametrize("name", READERS)
def test_a_stream_has_the_rows_of_the_table(make, tmp_path, name):
    path = make(name)
    for split in get_reader(name).splits:
        table = read_dataset(name, path, split, cache_dir=tmp_path / "cache")
        stream = read_dataset(name, path, split, streaming=True)
        assert table.features == stream.features == features()
        as_files = [dataset.cast_column("image", datasets.Image(decode=False)) for dataset in (table, stream)]
        rows = list(as_files[0])
        assert rows == list(as_files[1])
        assert rows
        for row in rows:
            assert row["image"]["bytes"] is None
            assert Path(row["image"]["path"]).is_file()
            assert row_questions(row)
            assert json.loads(row["meta"])["split"] == split


@pytest.mark.parametrize("name", READERS)
def test_boxes_lie_in_their_images(make, name):
    path = make(name)
    for row in read_dataset(name, path, streaming=True):
        width, height = row["image"].size
        assert {width, height} == {60, 40}
        for question in row_questions(row):
            for x1, y1, x2, y2 in question.boxes:
                assert 0 <= x1 < x2 <= width
                assert 0 <= y1 < y2 <= height


@pytest.mark.parametrize("name", READERS)
def test_a_wrong_split_lists_those_there_are(make, name):
    splits = ", ".join(get_reader(name).splits)
    with pytest.raises(ValueError, match=f"{name} has no split 'dev'; its splits are {splits}"):
        read_dataset(name, make(name), "dev")


@pytest.mark.parametrize("name", READERS)
def test_a_missing_folder_says_where_to_get_it_and_how_it_looks(tmp_path, name):
    with pytest.raises(FileNotFoundError) as caught:
        read_dataset(name, tmp_path / "nowhere")
    message = str(caught.value)
    assert message.startswith(
        f"{name}: {tmp_path / 'nowhere'} is missing. Download it from {get_reader(name).download}"
    )
    assert message.endswith(f"the folder must hold {get_reader(name).layout}")


@pytest.mark.parametrize("name", [name for name in READERS if name != "llava"])
def test_an_empty_folder_names_what_is_missing(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=rf"{name}: .* is missing\. Download it from http"):
        read_dataset(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("geochat-instruct", "images"),
        ("vrsbench", "Images_train"),
        ("dior-rsvg", "JPEGImages"),
        ("rsvg", "images"),
        ("avvg", "images"),
        ("rsicd", "RSICD_images"),
        ("nwpu-captions", "NWPU_images"),
        ("rsvqa-lr", "Images_LR"),
        ("rsvqa-hr", "Data"),
    ],
)
def test_annotations_without_their_images_name_the_folder(make, tmp_path, name, folder):
    path = make(name)
    (path / folder).rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=rf"{folder} is missing\. Download it from http") as caught:
        read_dataset(name, path, cache_dir=tmp_path / "cache")
    assert get_reader(name).layout in str(caught.value)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'dota'; the data sets are skyscript, mmrs-1m"):
        read_dataset("dota", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["segment"]}, r"unknown tasks \['segment'\]; the tasks are caption"),
        ({"bad_records": "ignore"}, "bad_records must be one of raise, skip, got 'ignore'"),
        ({"num_shards": 0, "streaming": True}, "num_shards must be at least 1, got 0"),
        ({"num_shards": 2}, "num_shards is for a stream"),
    ],
)
def test_wrong_arguments_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        read_dataset("aid", make("aid"), **options)


def test_questions_of_some_tasks_only(make, read):
    questions = read("vrsbench", make("vrsbench"), tasks=["vqa"])
    assert [[question.task for question in found] for found in questions.values()] == [["vqa"], ["vqa"]]
    assert list(read("vrsbench", make("vrsbench, a file for each image"), "test", tasks=["classify"])) == []


def test_shards_part_the_rows_among_them(make, read):
    whole = list(read("aid", make("aid"), "all"))
    stream = read_dataset("aid", make("whu-rs19").parent / "aid", "all", streaming=True, num_shards=3)
    assert stream.num_shards == 3
    parts = [[row["image_id"] for row in stream.shard(3, index)] for index in range(3)]
    assert sorted(name for part in parts for name in part) == sorted(whole)
    assert [len(part) for part in parts] == [3, 2, 2]


def test_a_stream_can_be_sent_to_a_worker(make):
    stream = read_dataset("rsvg", make("rsvg"), streaming=True)
    copy = pickle.loads(pickle.dumps(stream))  # noqa: S301
    assert [row["image_id"] for row in copy] == ["rsvg/a.jpg", "rsvg/b.jpg"]


def test_a_stream_opens_no_image_that_is_not_asked_for(make):
    path = make("skyscript")
    (path / "images3/w22_US_20.jpg").write_bytes(b"damaged")
    stream = iter(read_dataset("skyscript", path, streaming=True))
    assert next(stream)["image"].size == (60, 40)


def test_reading_decodes_no_image(make, tmp_path):
    path = make("skyscript")
    for image in path.glob("images*/*"):
        image.write_bytes(b"damaged")
    rows = read_dataset("skyscript", path, cache_dir=tmp_path / "cache")
    assert len(rows) == 2


def test_the_cache_is_made_anew_when_an_annotation_changes(make, tmp_path):
    path, cache = make("skyscript"), tmp_path / "cache"
    (file,) = path.glob("SkyScript_train_*.csv")
    before = file.stat()
    first = read_dataset("skyscript", path, cache_dir=cache)
    again = read_dataset("skyscript", path, cache_dir=cache)
    assert first.cache_files == again.cache_files
    file.write_text(file.read_text().replace("a park", "a pond"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    changed = read_dataset("skyscript", path, cache_dir=cache)
    assert changed.cache_files != first.cache_files
    assert [row_questions(row)[0].answer for row in changed] == ["a pond", "a quay"]


def test_a_bad_record_is_the_error_of_table_and_stream(make, tmp_path):
    path = make("skyscript")
    (path / "images3/w22_US_20.jpg").unlink()
    message = r"skyscript: .*\.csv, line 3: the image .*w22_US_20\.jpg is missing\. Download it again from https"
    with pytest.raises(BadRecordError, match=message):
        read_dataset("skyscript", path, cache_dir=tmp_path / "cache")
    with pytest.raises(BadRecordError, match=message):
        list(read_dataset("skyscript", path, streaming=True))
    rows = read_dataset("skyscript", path, bad_records="skip", cache_dir=tmp_path / "cache")
    assert [row["image_id"] for row in rows] == ["skyscript/images2/a1_CH_19.jpg"]


def test_what_is_left_out_is_counted_and_the_first_is_named(make, tmp_path, caplog):
    path = make("skyscript")
    (path / "images3/w22_US_20.jpg").unlink()
    read_dataset("skyscript", path, bad_records="skip", cache_dir=tmp_path / "cache")
    (record,) = (record for record in caplog.records if record.name.startswith("geodit"))
    assert record.levelname == "WARNING"
    message = record.getMessage()
    assert message.startswith("skyscript: 1 bad records or questions of the split 'train' are left out; the first: ")
    assert message.endswith(f"openai.csv, line 3: the image {path / 'images3/w22_US_20.jpg'} is missing")


def test_a_data_set_that_is_left_out_altogether_is_an_error(make, tmp_path):
    path = make("skyscript")
    for image in path.glob("images*/*"):
        image.unlink()
    message = r"skyscript: no record of the split 'train' can be read; the first: .*, line 2: the image .* is missing"
    with pytest.raises(ValueError, match=message):
        read_dataset("skyscript", path, bad_records="skip", cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match=message):
        list(read_dataset("skyscript", path, streaming=True, bad_records="skip"))
    # A shard of its own cannot know that the others have nothing either.
    assert list(read_dataset("skyscript", path, streaming=True, bad_records="skip", num_shards=2)) == []


@pytest.fixture
def box_without_area(make):
    """VRSBench with an expression that has no box, about an image with a caption and an answer."""
    path = make("vrsbench")
    file = path / "VRSBench_train.json"
    file.write_text(file.read_text().replace("{<10><25><50><75>}", "{<10><25><10><75>}"))
    return path


def test_a_box_without_area_costs_its_question_only(read, box_without_area):
    with pytest.raises(BadRecordError, match=r"image 'a\.png': the box .* has no area .*bad_records=\"skip\""):
        read("vrsbench", box_without_area)
    questions = read("vrsbench", box_without_area, bad_records="skip")["vrsbench/a.png"]
    assert [question.task for question in questions] == ["caption", "vqa"]


def test_boxes_of_other_tasks_are_not_looked_at(read, box_without_area):
    assert len(read("vrsbench", box_without_area, tasks=["caption", "vqa"])) == 2


def test_an_error_of_the_reader_itself_keeps_its_cause(make, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(type(get_reader("aid")), "_sample", fail)
    with pytest.raises(DatasetGenerationError) as caught:
        read_dataset("aid", make("aid"), cache_dir=tmp_path / "cache")
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_split_without_a_record_is_an_error(make, tmp_path):
    path = make("rsicd")
    file = path / "dataset_rsicd.json"
    file.write_text(file.read_text().replace('"test"', '"val"'))
    with pytest.raises(ValueError, match=r"rsicd: .* has no record of the split 'test'; download it from"):
        read_dataset("rsicd", path, "test", cache_dir=tmp_path / "cache")


def test_rows_are_what_training_iterates_over(make, tmp_path):
    questions = QuestionDataset(read_dataset("dior-rsvg", make("dior-rsvg"), cache_dir=tmp_path / "cache"))
    assert [(item["image_id"], item["question_index"], item["question"].task) for item in questions] == [
        ("dior-rsvg/00001.jpg", 0, "ground"),
        ("dior-rsvg/00002.jpg", 0, "ground"),
        ("dior-rsvg/00002.jpg", 1, "detect"),
    ]
