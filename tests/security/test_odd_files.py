# SPDX-License-Identifier: Apache-2.0
"""A pipe, a socket, a device or a directory in the place of a file is one error that names it, and never a hang."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from odd_files import KINDS, ends, make_odd_file
from typer.testing import CliRunner

from geodit.cli.main import app
from geodit.data.neon import fetch_neon
from geodit.data.readers.check import check_dataset
from geodit.data.readers.files import (
    decode_image,
    iter_json_array,
    iter_json_lines,
    read_image_size,
    read_json,
    read_lines,
)
from geodit.data.readers.reading import BadRecordError, read_dataset
from geodit.data.schema import decode_stored_image
from geodit.data.voc import read_voc
from geodit.processing.images_geodit import group_images
from geodit.rasters.imagery import open_image
from published_datasets import BUILDERS

ANNOTATIONS = {
    "skyscript": "SkyScript_train_top30pct_filtered_by_CLIP_openai.csv",
    "mmrs-1m": "data/json/VQA/RSVQA.json",
    "geochat-instruct": "GeoChat_Instruct.json",
    "llava": "chats.json",
    "vrsbench": "VRSBench_train.json",
    "vrsbench, a file for each image": "Annotations_train/a.json",
    "dior-rsvg": "Annotations/00002.xml",
    "rsvg": "rsvg_train.pth",
    "avvg": "metainfo/avvg_train.jsonl",
    "rsicd": "dataset_rsicd.json",
    "sydney-captions": "filenames/descriptions_SYDNEY.txt",
    "nwpu-captions": "dataset_nwpu.json",
    "rsvqa-lr": "LR_split_train_answers.json",
    "aid": "AID/Airport/airport_1.jpg",
}
READERS = {
    "array": lambda path: list(iter_json_array(path)),
    "lines of JSON": lambda path: list(iter_json_lines(path)),
    "document": read_json,
    "lines": read_lines,
    "size of an image": read_image_size,
    "image": decode_image,
    "VOC": read_voc,
    "scene": open_image,
    "wheel": lambda path: fetch_neon(path.parent / "neon", wheel=path),
    "image of a table": lambda path: decode_stored_image({"bytes": None, "path": str(path)}),
}


def read_all(name: str, root: Path, split: str) -> None:
    list(read_dataset(name.partition(",")[0], root, split, streaming=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_named_with_its_kind(tmp_path, reader, kind):
    path = make_odd_file(tmp_path / "odd.png", kind)
    with ends(path), pytest.raises(ValueError, match=rf"odd\.png.*{KINDS[kind]}"):
        READERS[reader](path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_processor_reads_files_only(tmp_path, kind):
    path = make_odd_file(tmp_path / "odd.png", kind)
    for image in (str(path), path, {"bytes": None, "path": str(path)}):
        with ends(path), pytest.raises(ValueError, match=r"There is no image (file )?'/"):
            group_images(image)


@pytest.mark.parametrize("kind", ["pipe", "directory"])
@pytest.mark.parametrize("name", ANNOTATIONS)
def test_a_data_set_with_such_a_file_is_refused(tmp_path, name, kind):
    root = BUILDERS[name](tmp_path)
    odd = make_odd_file(tmp_path / ANNOTATIONS[name], kind)
    with ends(odd), pytest.raises((ValueError, OSError), match=odd.name):
        read_all(name, root, "all" if name == "aid" else "train")


@pytest.mark.parametrize("kind", ["pipe", "directory"])
def test_such_a_file_is_refused_where_none_is_needed(tmp_path, kind):
    root = BUILDERS["avvg"](tmp_path)
    odd = make_odd_file(tmp_path / "metainfo/avvg_detection_train.jsonl", kind)
    with ends(odd), pytest.raises(ValueError, match=odd.name):
        read_all("avvg", root, "train")


def test_an_image_that_is_a_pipe_is_a_bad_record(tmp_path):
    root = BUILDERS["llava"](tmp_path)
    odd = make_odd_file(tmp_path / "a.png", "pipe")
    with ends(odd):
        with pytest.raises(BadRecordError, match=r"chats\.json, record 0: .*a\.png.* is missing|a named pipe"):
            list(read_dataset("llava", root, streaming=True))
        (row,) = read_dataset("llava", root, streaming=True, bad_records="skip")
        assert row["image_id"].endswith("#1")
        (problem,) = check_dataset("llava", root).problems
    assert (problem.kind, problem.number) == ("image", 1)


@pytest.mark.parametrize("name", ["skyscript", "vrsbench, a file for each image", "llava"])
def test_the_command_that_checks_a_data_set_ends(tmp_path, name):
    root = BUILDERS[name](tmp_path)
    odd = make_odd_file(tmp_path / ANNOTATIONS[name], "pipe")
    command = ["data", "check", name.partition(",")[0], str(root), "--splits", "train", "--json"]
    with ends(odd):
        result = CliRunner().invoke(app, command)
    if result.exit_code == 2:
        (line,) = result.stderr.splitlines()
        assert odd.name in line
        assert "a named pipe" in line
    else:
        assert result.exit_code == 1
        assert any(odd.name in example for one in json.loads(result.stdout)["problems"] for example in one["examples"])


def test_the_path_of_a_data_set_may_not_be_a_pipe(tmp_path):
    odd = make_odd_file(tmp_path / "SkyScript_train_a.csv", "pipe")
    with ends(odd), pytest.raises(ValueError, match=r"SkyScript_train_a\.csv is a named pipe"):
        read_dataset("skyscript", Path(odd))
