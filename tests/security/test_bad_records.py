# SPDX-License-Identifier: Apache-2.0
"""One bad record is named with its file and place, or left out and counted; it does not take the others with it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from geodit.data.readers.check import check_dataset
from geodit.data.readers.reading import BadRecordError, clip_box, read_dataset
from published_datasets import BUILDERS, conversation, write_image, write_json

HUGE = 10**400
TEXTS = {
    "half a surrogate pair": "a port \ud800",
    "no text": 7,
    "a bool": True,
    "nothing": None,
    "a list": ["a port"],
    "an object": {"a": "port"},
    "a deep list": json.loads("[" * 200 + "]" * 200),
    "too long": "x" * 300_000,
    "empty": " \n",
}
PATHS = {
    **TEXTS,
    "a long name": "x" * 5000 + ".png",
    "a null byte": "a\0.png",
    "up": "../../etc/passwd",
    "up in the middle": "images/../../a.png",
    "up with backslashes": "..\\..\\a.png",
    "absolute": "/etc/passwd",
    "an address": "http://127.0.0.1:9/a.png",
    "an address of a file": "file:///etc/passwd",
    "a name of GDAL": "/vsicurl/http://127.0.0.1:9/a.tif",
    "a drive": "C:/a.png",
}
NUMBERS = {
    "not a number": float("nan"),
    "infinite": float("inf"),
    "too large": HUGE,
    "a bool": True,
    "a text": "left",
    "nothing": None,
    "a list": [1],
}


def llava(root: Path, field: str, value: Any) -> Path:
    path = BUILDERS["llava"](root)
    bad = conversation("a.png", "What is it?", "a port")
    if field == "image":
        bad["image"] = value
    elif field == "from":
        bad["conversations"][0]["from"] = value
    elif field == "conversations":
        bad["conversations"] = value
    else:
        bad["conversations"][("question", "answer").index(field)]["value"] = value
    write_json(path, [*json.loads(path.read_text()), bad])
    return path


def read_with(caplog: pytest.LogCaptureFixture, name: str, root: Path, split: str = "train") -> tuple[list[Any], str]:
    """The rows that are left, and what is logged about those that are not."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "geodit"):
        rows = list(read_dataset(name, root, split, streaming=True, bad_records="skip"))
    return rows, caplog.text


def check_one_bad(caplog: pytest.LogCaptureFixture, name: str, root: Path, place: str, split: str = "train") -> None:
    """There is one bad record, at this place, beside good ones."""
    with pytest.raises(BadRecordError) as caught:
        list(read_dataset(name, root, split, streaming=True))
    assert place in str(caught.value)
    assert len(str(caught.value)) < 3000
    rows, log = read_with(caplog, name, root, split)
    assert rows
    assert "1 bad records or questions" in log
    assert place in log
    (problem,) = (one for one in check_dataset(name, root, [split]).problems if one.kind in ("record", "image", "box"))
    assert problem.number == 1
    assert place in problem.examples[0]


@pytest.mark.parametrize("kind", PATHS)
def test_a_bad_path_is_one_bad_record(tmp_path, caplog, kind):
    check_one_bad(caplog, "llava", llava(tmp_path, "image", PATHS[kind]), "chats.json, record 2")


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("field", ["question", "answer"])
def test_a_bad_text_is_one_bad_record(tmp_path, caplog, field, kind):
    check_one_bad(caplog, "llava", llava(tmp_path, field, TEXTS[kind]), "chats.json, record 2")


@pytest.mark.parametrize("field", ["from", "conversations"])
@pytest.mark.parametrize("kind", ["no text", "a bool", "nothing", "an object", "a deep list"])
def test_bad_turns_are_one_bad_record(tmp_path, caplog, field, kind):
    check_one_bad(caplog, "llava", llava(tmp_path, field, TEXTS[kind]), "chats.json, record 2")


@pytest.mark.parametrize("record", [None, True, 1, "text", [], {}, {"image": "a.png"}, HUGE // 10**390, 1e308])
def test_what_is_no_record_is_one_bad_record(tmp_path, caplog, record):
    path = BUILDERS["llava"](tmp_path)
    write_json(path, [*json.loads(path.read_text()), record])
    check_one_bad(caplog, "llava", path, "chats.json, record 2")


@pytest.mark.parametrize("line", [b'{"image": "a.png", ', b"[" * 100_000, b'{"image": "\xff"}', b"9" * 5000])
def test_a_line_that_is_not_json_is_one_bad_record(tmp_path, caplog, line):
    records = json.loads(BUILDERS["llava"](tmp_path).read_text())
    path = tmp_path / "chats.jsonl"
    first, last = (json.dumps(record).encode() for record in records)
    path.write_bytes(b"\n".join([first, line, last]))
    check_one_bad(caplog, "llava", path, "chats.jsonl, record 1: line 2 is ")
    assert len(read_with(caplog, "llava", path)[0]) == 2


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("as_tuple", [True, False])
def test_a_bad_box_is_one_bad_record(tmp_path, caplog, as_tuple, kind):
    root = BUILDERS["rsvg"](tmp_path)
    box = [1, NUMBERS[kind], 30, 30]
    write_image(root / "images/e.jpg")
    if as_tuple:
        torch.save([*torch.load(root / "rsvg_train.pth"), ("e.jpg", box, "A car", "car")], root / "rsvg_train.pth")
    else:
        (root / "rsvg_train.pth").unlink()
        good = {"image_id": "a.jpg", "bbox": [0, 0, 9, 9], "question": "a car"}
        lines = [json.dumps(record) for record in (good, {**good, "image_id": "e.jpg", "bbox": box})]
        (root / "rsvg_train.jsonl").write_text("\n".join(lines))
    check_one_bad(caplog, "rsvg", root, "image 'e.jpg'")


@pytest.mark.parametrize("box", ["{<" + "9" * 320 + "><25><50><75>}", "{<" + "9" * 5000 + "><25><50><75>}"])
def test_a_box_of_huge_numbers_is_one_bad_record(tmp_path, caplog, box):
    root = BUILDERS["vrsbench"](tmp_path)
    path = root / "VRSBench_train.json"
    path.write_text(path.read_text().replace("{<10><25><50><75>}", box))
    check_one_bad(caplog, "vrsbench", root, "image 'a.png'")


@pytest.mark.parametrize("box", [(float("-inf"), 0.0, 5.0, 5.0), (0.0, 0.0, float("inf"), 5.0)])
def test_a_box_without_end_is_not_cut_to_the_image(box):
    with pytest.raises(ValueError, match="has no area inside its image"):
        clip_box(box, (40, 60))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("questions", lambda record: record.update(answers_ids=[[]])),
        ("questions", lambda record: record.update(answers_ids=[True])),
        ("questions", lambda record: record.update(img_id=True)),
        ("questions", lambda record: record.update(img_id=None)),
        ("questions", lambda record: record.update(type=3)),
        ("answers", lambda record: record.update(answer="a \udc80")),
        ("answers", lambda record: record.update(answer=5)),
        ("images", lambda record: record.update(id="0")),
    ],
)
def test_a_bad_record_of_rsvqa_leaves_the_others(tmp_path, caplog, file, change):
    """The records of an image are in three files; one that cannot be found by its number stands for itself."""
    root = BUILDERS["rsvqa-lr"](tmp_path)
    for sort in ("images", "questions", "answers"):  # a second image, which is good
        path = root / f"LR_split_train_{sort}.json"
        document = json.loads(path.read_text())
        shift = 100
        added = [{**one} for one in document[sort] if one["active"]]
        for one in added:
            one["id"] += shift
            one.update({"img_id": shift} if sort == "questions" else {})
            one.update({"answers_ids": [one["id"]]} if sort == "questions" else {})
        if file == sort:
            change(next(one for one in document[sort] if one["active"]))
        document[sort] += added
        path.write_text(json.dumps(document))
    write_image(root / "Images_LR/100.tif")
    with pytest.raises(BadRecordError, match=r"rsvqa-lr: .*LR_split_train_\w+\.json, (record|image) \d+: "):
        list(read_dataset("rsvqa-lr", root, streaming=True))
    rows, log = read_with(caplog, "rsvqa-lr", root)
    assert "rsvqa-lr/100" in [row["image_id"] for row in rows]
    assert "bad records or questions of the split 'train' are left out" in log


def csv_field_without_end(root: Path) -> str:
    path = root / "SkyScript_train_top30pct_filtered_by_CLIP_openai.csv"
    header, *rows = path.read_text().splitlines()
    rows.insert(1, 'images2/x.jpg,"' + "x" * 200_000)
    path.write_text("\n".join([header, *rows]))
    return f"{path.name}, line 3"


def sentence_of_another_form(root: Path) -> str:
    path = root / "filenames/descriptions_SYDNEY.txt"
    path.write_text("1 a lawn .\na river .\n")
    return f"{path.name}, sentence 1"


def name_of_another_image(root: Path) -> str:
    path = root / "filenames/filenames_train.txt"
    path.write_text("../../1.tif\n1.tif\n" + "x" * 5000 + ".tif")
    return f"{path.name}, ../../1.tif"


def image_of_nwpu(root: Path) -> str:
    path = root / "dataset_nwpu.json"
    document = json.loads(path.read_text())
    document["airplane"][0]["filename"] = "../../../etc/passwd"
    path.write_text(json.dumps(document))
    return f"{path.name}, airplane, image 0"


def name_in_bytes(root: Path) -> str:
    (root / "AID/Airport/airport_1.jpg").rename(os.fsdecode(os.fsencode(root) + b"/AID/Airport/a\xe9rport.jpg"))
    return "AID/Airport/a"


@pytest.mark.parametrize(
    ("name", "change", "number"),
    [
        ("skyscript", csv_field_without_end, 1),
        ("sydney-captions", sentence_of_another_form, 1),
        ("sydney-captions", name_of_another_image, 2),
        ("nwpu-captions", image_of_nwpu, 1),
        ("aid", name_in_bytes, 1),
    ],
)
def test_a_bad_record_of_any_form_leaves_the_others(
    tmp_path, caplog, name: str, change: Callable[[Path], str], number: int
):
    root = BUILDERS[name](tmp_path)
    place = change(root)
    split = "all" if name == "aid" else "train"
    with pytest.raises(BadRecordError) as caught:
        list(read_dataset(name, root, split, streaming=True))
    assert place in str(caught.value)
    rows, log = read_with(caplog, name, root, split)
    assert rows
    assert f"{number} bad records or questions" in log
    assert check_dataset(name, root, [split]).to_dict()["problems"]


def test_links_in_a_data_set_are_followed(tmp_path):
    """Data sets are kept together by links; it is the path in a record that must not lead out."""
    path = BUILDERS["llava"](tmp_path)
    elsewhere = tmp_path / "elsewhere.png"
    (tmp_path / "a.png").rename(elsewhere)
    (tmp_path / "a.png").symlink_to(elsewhere)
    assert len(list(read_dataset("llava", path, streaming=True))) == 2
