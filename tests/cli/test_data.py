# SPDX-License-Identifier: Apache-2.0

import json

import numpy as np
import pytest
from PIL import Image

from geodit.data import neon
from geodit.data.readers.registry import READERS
from geodit.data.readers.report import PROBLEM_KINDS


def test_fetched_images_go_where_they_are_asked_to(geodit, monkeypatch, tmp_path):
    monkeypatch.setattr(neon, "fetch_neon", lambda directory: directory)
    result = geodit("data", "fetch", "neon", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"neon is in {tmp_path}\n"


def test_a_file_in_place_of_the_directory_is_bad_input(geodit, tmp_path):
    path = tmp_path / "file"
    path.touch()
    assert "give a directory" in geodit.fails("data", "fetch", "neon", path)


def test_a_failed_download_is_a_failure_and_no_bad_input(geodit, monkeypatch, tmp_path):
    def fail(directory: object) -> None:
        raise RuntimeError("pip could not download deepforest")

    monkeypatch.setattr(neon, "fetch_neon", fail)
    result = geodit("data", "fetch", "neon", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "geodit: error: pip could not download deepforest\n")


@pytest.fixture
def scenes(tmp_path):
    """AID with two classes of two images."""
    for scene in ("Airport", "Beach"):
        (tmp_path / scene).mkdir()
        for number in (1, 2):
            pixels = np.random.default_rng([number, len(scene)]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / scene / f"{scene.lower()}_{number}.png")
    return tmp_path


def test_data_sets_are_listed_with_a_line_each(geodit):
    lines = geodit("data", "list").stdout.splitlines()
    (line,) = (line for line in lines if "skyscript" in line)
    assert "5.2 million images with captions" in line
    assert "train, validation, test" in line
    documents = json.loads(geodit("data", "list", "--json").stdout)
    assert [document["name"] for document in documents] == list(READERS)
    assert documents[0]["download"] == "https://github.com/wangzhecheng/SkyScript"


def test_a_check_that_finds_problems_fails(geodit, scenes):
    result = geodit("data", "check", "aid", scenes)
    assert result.exit_code == 1
    assert result.stderr == ""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines()]
    assert ["train", "images", "2", ""] in cells
    assert ["all splits", "images", "4", "10,000"] in cells
    assert ["count", "all splits", "9,996", "images more or less than published: 4 instead of 10,000"] in cells


def test_examples_of_problems_are_shown(geodit, scenes):
    (scenes / "Airport" / "airport_1.png").write_bytes(b"damaged")
    output = geodit("data", "check", "aid", scenes, "--ignore", "count").stdout
    assert "airport_1.png" in output
    assert "cannot be read as an image" in " ".join(output.split())


def test_problems_that_are_ignored_are_shown_but_do_not_fail(geodit, scenes):
    result = geodit("data", "check", "aid", scenes, "--ignore", "count", "--threads", 1)
    assert result.exit_code == 0
    assert "4 instead of 10,000" in result.stdout


def test_every_kind_of_problem_can_be_ignored(geodit, scenes):
    assert geodit("data", "check", "aid", scenes, "--ignore", ",".join(PROBLEM_KINDS)).exit_code == 0
    line = geodit.fails("data", "check", "aid", scenes, "--ignore", "count,typo")
    assert "--ignore got unknown problems: typo; choose from split, count, record, image, box, leakage" in line


def test_a_sound_split_passes(geodit, scenes):
    result = geodit("data", "check", "aid", scenes, "--splits", "train", "--skip-images")
    assert result.exit_code == 0
    assert result.stdout.endswith("no problems found\n")


def test_a_check_as_json(geodit, scenes):
    result = geodit("data", "check", "aid", scenes, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert [split["split"] for split in document["splits"]] == ["train", "test", "all splits"]
    assert document["problems"][0]["kind"] == "count"


def test_a_check_of_what_is_not_there_is_bad_input(geodit, scenes):
    assert "Download it from https://captain-whu" in geodit.fails("data", "check", "aid", scenes / "nowhere")
    assert "unknown data set 'dota'" in geodit.fails("data", "check", "dota", scenes)
    assert "aid has no split 'dev'" in geodit.fails("data", "check", "aid", scenes, "--splits", "dev")


def test_scenes_are_written_as_a_data_set(geodit, tmp_path):
    out = tmp_path / "scenes"
    result = geodit("data", "scenes", out, "--test", 2, "--train", 3, "--image-size", 32, "--repo", "org/scenes")
    assert result.exit_code == 0, result.output
    train, test, where = result.stdout.splitlines()
    assert train.startswith("train: 3 scenes, ")
    assert test.startswith("test: 2 scenes, ")
    assert where == f"the data set is in {out}"
    assert {path.name for path in (out / "data").iterdir()} == {"train.parquet", "test.parquet"}
    assert "org/scenes" in (out / "README.md").read_text()


def test_there_must_be_scenes_to_draw(geodit, tmp_path):
    assert "give --train, --validation or --test" in geodit.fails("data", "scenes", tmp_path / "out")
    assert "name a new folder" in geodit.fails("data", "scenes", tmp_path.parent, "--test", 1)
