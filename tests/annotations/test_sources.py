# SPDX-License-Identifier: Apache-2.0
"""A data set says from which files and settings it was made, in words that are the same on every machine."""

import csv
import hashlib
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from geodit.annotations.sources import SourceNames, digest_of, label_files, shown_path, write_sources
from geodit.annotations.stored import read_manifest


def coco(folder):
    """Five images of ships, as a labeling tool exports them."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{number}.jpg")
        images.append({"id": number, "file_name": f"images/{number}.jpg", "width": 40, "height": 40})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [number, 2, 20, 10]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ship"}]}
    (folder / "labels.json").write_text(json.dumps(content))
    return folder / "labels.json"


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(geodit, *arguments):
    result = geodit("data", "import", *arguments)
    assert result.exit_code == 0, result.output


def test_the_same_source_and_settings_give_the_same_bytes_anywhere(geodit, tmp_path, monkeypatch):
    made = []
    for name, is_relative in (("first", False), ("second/deeper", False), ("third", True)):
        source = coco(tmp_path / name)
        if is_relative:
            monkeypatch.chdir(source.parent)
        run(geodit, "labels.json" if is_relative else source, "-o", tmp_path / name / "out", "--split-by", "image")
        made.append(contents(tmp_path / name / "out"))
    assert made[0] == made[1] == made[2]
    assert set(made[0]) >= {"README.md", "import.json", "sources.csv", "data/train-00000.parquet"}


def test_nothing_in_it_names_a_folder_of_this_machine(geodit, tmp_path):
    run(geodit, coco(tmp_path / "ships"), "-o", tmp_path / "out")
    for path, content in contents(tmp_path / "out").items():
        if path.endswith(".parquet"):
            content = json.dumps(pq.read_table(io.BytesIO(content)).drop(["image"]).to_pylist()).encode()
        assert str(tmp_path).encode() not in content
    metas = [json.loads(text) for text in pq.read_table(tmp_path / "out/data/train-00000.parquet")["meta"].to_pylist()]
    assert all(meta["source"].startswith("images/") for meta in metas)
    assert all(meta["origin"].startswith("labels.json") for meta in metas)


def test_files_are_listed_with_size_and_hash(geodit, tmp_path):
    source = coco(tmp_path / "ships")
    run(geodit, source, "-o", tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out/sources.csv").open()))
    assert [row["path"] for row in rows] == [*(f"images/{number}.jpg" for number in range(5)), "labels.json"]
    for row in rows:
        content = (tmp_path / "ships" / row["path"]).read_bytes()
        assert (int(row["bytes"]), row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    found = read_manifest(tmp_path / "out")["sources"]
    listed = (tmp_path / "out/sources.csv").read_bytes()
    expected = {"list": "sources.csv", "files": 6, "bytes": sum(int(row["bytes"]) for row in rows)}
    assert found == expected | {"sha256": hashlib.sha256(listed).hexdigest()}
    card = (tmp_path / "out/README.md").read_text()
    assert "lists size and SHA-256 of the 6 files" in card
    assert found["sha256"] in card


def test_the_digest_of_settings_changes_with_them_and_with_nothing_else(geodit, tmp_path):
    source = coco(tmp_path / "ships")
    (tmp_path / "own.yaml").write_text("count: How many {classes} do you see?\n")
    (tmp_path / "same.yaml").write_text("count: How many {classes} do you see?\n")
    digests = []
    for number, options in enumerate(
        [
            [],
            ["--format", "coco"],
            ["--seed", "1"],
            ["--templates", tmp_path / "own.yaml"],
            ["--templates", tmp_path / "same.yaml"],
        ]
    ):
        run(geodit, source, "-o", tmp_path / str(number), *options)
        digests.append(read_manifest(tmp_path / str(number))["settings_sha256"])
    assert digests[3] == digests[4]
    assert len({*digests}) == 4
    assert digest_of({"a": 1, "b": None}) == digest_of({"b": None, "a": 1})


class TestNames:
    def test_they_begin_at_the_first_folder_that_holds_a_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        names = SourceNames([tmp_path / "images", "labels"])
        assert names.name(str(tmp_path / "images/a/b.png")) == "a/b.png"
        assert names.name("labels/x.json") == "x.json"
        assert names.name("rasters/c.tif") == "rasters/c.tif"
        assert names.name("https://host/d.tif") == "https://host/d.tif"
        assert names.origin("labels/x.json, record 3") == "x.json, record 3"
        assert names.origin(f"{tmp_path}/labels/x.json, record 3") == "x.json, record 3"
        assert names.origin("other/x.json") == "other/x.json"

    def test_two_files_never_have_one(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        names = SourceNames(["one", "two"])
        assert [names.name(name) for name in ("one/a.png", "two/a.png", "one/a.png")] == [
            "a.png",
            "two/a.png",
            "a.png",
        ]

    def test_what_a_user_names_elsewhere_is_shown_without_its_folders(self, tmp_path, monkeypatch):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        assert shown_path("labels/x.json") == "labels/x.json"
        assert shown_path(str(tmp_path / "there/x.json")) == "x.json"
        assert shown_path("s3://bucket/x.tif") == "s3://bucket/x.tif"


def test_labels_are_told_from_images(tmp_path):
    for name in ("data.yaml", "labels/a.txt", "images/a.png", "notes.md", "c.shp", "c.dbf", "c.prj"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = [tmp_path / "data.yaml", tmp_path / "labels/a.txt"]
    assert label_files(tmp_path) == label_files(tmp_path / "data.yaml") == expected
    assert label_files(tmp_path / "c.shp") == [tmp_path / name for name in ("c.shp", "c.dbf", "c.prj")]
    assert label_files(tmp_path / "gone.json") == []


def test_what_is_no_file_here_is_listed_by_name(tmp_path):
    found = write_sources(tmp_path, ["https://host/d.tif"], SourceNames())
    assert (found["files"], found["bytes"]) == (1, 0)
    assert (tmp_path / "sources.csv").read_text() == "path,bytes,sha256\nhttps://host/d.tif,,\n"


@pytest.mark.parametrize("name", ['comma, and "quotes".png', "umlaut-ä.png"])
def test_odd_names_are_listed_as_they_are(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"1")
    write_sources(tmp_path, [name], SourceNames())
    (row,) = csv.DictReader((tmp_path / "sources.csv").open(encoding="utf-8"))
    assert (row["path"], row["bytes"]) == (name, "1")
