# SPDX-License-Identifier: Apache-2.0
"""A source is told to be of one format, by its content."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from odd_files import KINDS, ends, make_odd_file
from PIL import Image

from geodit.annotations.formats.registry import FORMATS, find_format

XML = "<annotation><filename>a.png</filename></annotation>"
SOURCES = {
    "coco": {"x.json": '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []}'},
    "yolo": {"data.yaml": "train: images\nnames: [ship]\n", "labels/a.txt": "0 0.5 0.5 0.1 0.1", "images/a.png": None},
    "voc": {"Annotations/a.xml": XML, "JPEGImages/a.png": None, "ImageSets/Main/train.txt": "a\n"},
    "dota": {"labelTxt/a.txt": "imagesource:x\ngsd:1\n1 1 9 1 9 5 1 5 ship 0\n", "images/a.png": None},
    "xview": {"x.geojson": '{"type": "x", "features": [{"properties": {"bounds_imcoords": "1,2,3,4"}}]}'},
    "deepforest": {"x.csv": "image_path,xmin,ymin,xmax,ymax,label\n"},
    "labelme": {"a.json": '{"version": "5", "flags": {}, "shapes": [], "imagePath": "a.png"}', "a.png": None},
    "cvat": {"annotations.xml": "<?xml version='1.0'?>\n<!-- boxes -->\n<annotations/>", "images/a.png": None},
    "label-studio": {"x.json": '[{"id": 1, "annotations": [], "data": {"image": "a.png"}}]'},
    "class-folders": {"airport/a.png": None, "port/b.png": None},
    "captions": {"x.csv": "image,caption\n"},
    "hub": {"data/train-00000-of-00001.parquet": None, "README.md": "---\nlicense: mit\n---\n"},
    "questions": {"x.jsonl": '{"image": "a.png", "question": "?", "answer": "!"}'},
}


def make(folder: Path, name: str) -> Path:
    """Write the source of a format; returns its file, or the folder if it has several."""
    for inner, text in SOURCES[name].items():
        path = folder / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.table({"image": [{"bytes": b"", "path": ""}], "text": ["a"]}), path)
        elif text is None:
            Image.new("RGB", (8, 8)).save(path)
        else:
            path.write_text(text)
    return folder / next(iter(SOURCES[name])) if len(SOURCES[name]) == 1 else folder


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_told_by_content(tmp_path, name):
    assert find_format(make(tmp_path, name)).name == name


@pytest.mark.parametrize("name", ["coco", "labelme"])
def test_a_folder_with_its_files_is_told_too(tmp_path, name):
    make(tmp_path, name)
    assert find_format(tmp_path).name == name


def test_the_beginning_of_a_large_file_is_enough(tmp_path):
    path = tmp_path / "x.json"
    images = [{"id": number, "file_name": "a.png"} for number in range(10_000)]
    path.write_text(json.dumps({"images": images, "annotations": []}))
    assert find_format(path).name == "coco"


def test_a_name_is_taken_as_it_is(tmp_path):
    assert find_format(tmp_path / "gone", "voc") is FORMATS["voc"]
    with pytest.raises(ValueError, match="unknown format 'darknet'; the formats are coco, yolo, voc"):
        find_format(tmp_path, "darknet")


def test_what_cannot_be_told_is_one_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        find_format(tmp_path / "gone")
    with pytest.raises(ValueError, match="is of no known format; name one of coco, yolo"):
        find_format(tmp_path)
    (tmp_path / "x.csv").write_text("photo,text\na.png,Ships.\n")
    with pytest.raises(ValueError, match="no known format, as a table with the columns photo, text; name one of"):
        find_format(tmp_path / "x.csv")
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="is an archive: unpack it"):
        find_format(tmp_path / "x.zip")
    make(tmp_path, "yolo")
    make(tmp_path, "voc")
    with pytest.raises(ValueError, match="may be of several formats; name one of yolo, voc"):
        find_format(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, name, kind):
    path = make_odd_file(tmp_path / "x.json", kind)
    with ends():
        assert not FORMATS[name].matches(path)
        with pytest.raises((ValueError, OSError)):
            list(FORMATS[name].read(path))
