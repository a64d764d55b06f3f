# SPDX-License-Identifier: Apache-2.0
"""Imported data sets are Parquet files that `datasets` reads without this package."""

import datasets
import numpy as np
import pytest

from geodit.annotations import stored
from geodit.data.schema import Question, QuestionDataset, make_row


def row(number):
    pixels = np.full((8, 8, 3), number % 256, np.uint8)
    box = (1.0, 1.0, 4.0, 5.0)
    return make_row(pixels, f"tile-{number}", [Question("detect", "ship", boxes=(box,), labels=("ship",))])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "_ROWS_PER_FILE", 128)
    assert stored.write_split(tmp_path, "train", (row(number) for number in range(150))) == 150
    assert stored.write_split(tmp_path, "test", [row(7)]) == 1
    assert stored.write_split(tmp_path, "validation", []) == 0
    return tmp_path


def test_what_was_written_is_read(folder):
    table = stored.read_split(folder, "train")
    assert table["image_id"] == [f"tile-{number}" for number in range(150)]
    item = QuestionDataset(table)[149]
    assert item["question"].boxes == ((1.0, 1.0, 4.0, 5.0),)
    assert np.asarray(item["image"])[0, 0, 0] == 149
    assert len(stored.split_files(folder, "train")) == 2


def test_datasets_reads_the_folder_by_itself(folder):
    table = datasets.load_dataset(str(folder))
    assert {split: len(rows) for split, rows in table.items()} == {"train": 150, "test": 1}
    assert table["test"].features == stored.read_split(folder, "test").features


def test_a_stream_holds_nothing_and_can_be_divided(folder):
    stream = stored.read_split(folder, "train", streaming=True)
    assert stream.num_shards == 2
    assert next(iter(stream))["image_id"] == "tile-0"


def test_a_split_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no split validation; it has test, train"):
        stored.read_split(folder, "validation")
    with pytest.raises(FileNotFoundError, match="is no data set: geodit data import makes one"):
        stored.read_split(tmp_path / "data", "train")


def test_a_damaged_file_is_one_error(folder):
    stored.split_files(folder, "test")[0].write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ValueError, match="is damaged, or no data set"):
        stored.read_split(folder, "test")


def test_the_manifest(folder):
    stored.write_manifest(folder, {"source": "labels.gpkg", "seed": 0})
    assert stored.read_manifest(folder) == {"source": "labels.gpkg", "seed": 0}
