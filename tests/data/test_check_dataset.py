# SPDX-License-Identifier: Apache-2.0
"""`check_dataset` counts what a download holds, and finds what is missing, damaged, out of bounds or in two splits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from geodit.data.readers.check import check_dataset
from geodit.data.readers.reader import TOTAL, Count
from geodit.data.readers.registry import READERS, get_reader
from geodit.data.readers.report import PROBLEM_KINDS, DatasetReport, Problem


def found(report: DatasetReport) -> list[tuple[str, str, int]]:
    """Kind, split and number of the problems, without the counts: these data sets are much too small."""
    return [(problem.kind, problem.split, problem.number) for problem in report.problems if problem.kind != "count"]


def only(report: DatasetReport, kind: str) -> Problem:
    (problem,) = (problem for problem in report.problems if problem.kind == kind)
    return problem


@pytest.mark.parametrize("name", [name for name in READERS if name != "dior-rsvg"])
def test_a_small_data_set_is_sound_but_for_its_size(make, name):
    report = check_dataset(name, make(name))
    assert found(report) == []
    splits = [split.split for split in report.splits]
    disjoint = list(get_reader(name).disjoint_splits)
    assert splits == (disjoint if len(disjoint) == 1 else [*disjoint, TOTAL])
    published = get_reader(name).published
    wrong = {(problem.split, problem.message.split()[0]) for problem in report.problems}
    if name != "skyscript":  # whose numbers depend on the name of the file
        assert wrong == {(split, quantity) for split in splits for quantity in published.get(split, {})}


def test_counts_are_those_of_files_records_and_questions(make):
    report = check_dataset("rsvqa-lr", make("rsvqa-lr"))
    train, *_, total = report.splits
    assert train.counts == {"images": 1, "records": 1, "questions": 4, "vqa": 4}
    assert train.published == {"questions": Count(57223)}
    assert total.counts == {"images": 3, "records": 3, "questions": 12, "vqa": 12}
    problem = next(problem for problem in report.problems if problem.split == "train")
    assert problem.message == "questions more or less than published: 4 instead of 57,223"
    assert problem.number == 57219


def test_what_was_published_in_round_numbers_need_not_be_exact():
    assert Count(1000, exact=False).matches(1050)
    assert not Count(1000, exact=False).matches(1051)
    assert not Count(1000).matches(1001)


def test_the_variant_of_skyscript_decides_what_is_published(make):
    report = check_dataset("skyscript", make("skyscript"), ["train"])
    assert report.splits[0].published == {"images": Count(1_500_000, exact=False)}
    assert only(report, "count").message == "images more or less than published: 2 instead of about 1,500,000"


def test_images_of_dior_rsvg_are_in_several_splits(make):
    report = check_dataset("dior-rsvg", make("dior-rsvg"))
    assert found(report) == [("leakage", "validation", 1)]
    leak = only(report, "leakage")
    assert leak.message == "images are in train too: 1 by name, 1 by content"
    assert [Path(example).name for example in leak.examples] == ["00001.xml"]
    assert report.splits[-1].counts["images"] == 3


@pytest.mark.parametrize(("decode", "expected"), [(True, [("leakage", "test", 1)]), (False, [])])
def test_a_copy_under_another_name_is_found_by_its_pixels(make, decode, expected):
    path = make("rsicd")
    images = path / "RSICD_images"
    # Another file with the same pixels.
    Image.open(images / "bridge_1.jpg").save(images / "bridge_4.png")
    annotation = path / "dataset_rsicd.json"
    annotation.write_text(annotation.read_text().replace("bridge_4.jpg", "bridge_4.png"))
    report = check_dataset("rsicd", path, decode_images=decode)
    assert found(report) == expected
    if decode:
        leak = only(report, "leakage")
        assert leak.message == "images are in train too: 0 by name, 1 by content"
        assert leak.examples == (f"{annotation}, image 3",)


@pytest.mark.parametrize("decode", [True, False])
def test_damaged_and_missing_images(make, decode):
    path = make("rsicd")
    damaged, missing = (path / "RSICD_images" / name for name in ("bridge_1.jpg", "00002.jpg"))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    missing.unlink()
    report = check_dataset("rsicd", path, decode_images=decode)
    assert found(report) == [("image", "train", 2 if decode else 1)]
    examples = only(report, "image").examples
    assert f"the image {missing} is missing" in examples[-1]
    assert all("dataset_rsicd.json, image " in example for example in examples)


def test_an_image_that_a_reader_cannot_open_is_one_problem(make):
    path = make("vrsbench")
    (path / "Images_train/a.png").write_bytes(b"damaged")
    report = check_dataset("vrsbench", path)
    assert found(report) == [("image", "train", 1)]


def test_boxes_out_of_bounds(make):
    path = make("dior-rsvg")
    file = path / "Annotations/00003.xml"
    file.write_text(file.read_text().replace("<xmax>60<", "<xmax>63<").replace("<ymax>20<", "<ymax>10<"))
    report = check_dataset("dior-rsvg", path, ["test"])
    assert found(report) == [("box", "test", 2)]
    no_area, outside = only(report, "box").examples
    assert no_area.endswith("the box [10.0, 10.0, 20.0, 10.0] has no area inside its image of 60 x 40 pixels")
    assert outside.endswith("the box [0.0, 0.0, 63.0, 40.0] leaves the image by 3.00 pixels")


def test_bad_records_are_counted_and_the_first_are_shown(make):
    path = make("aid") / "chats.json"
    path.write_text(json.dumps([{"image": "a.png"}] * 7))
    report = check_dataset("llava", path)
    assert found(report) == [("record", "train", 7)]
    examples = only(report, "record").examples
    assert len(examples) == 5
    assert examples[0] == f"{path}, record 0: it has no 'conversations', only 'image'"


def test_what_stands_before_a_damage_is_counted(make):
    path = make("rsicd")
    file = path / "dataset_rsicd.json"
    file.write_text(file.read_text()[:-30])
    report = check_dataset("rsicd", path, ["train"])
    assert report.splits[0].counts["images"] == 2
    assert "is damaged" in only(report, "record").examples[0]


def test_a_missing_split_is_a_problem_unless_it_was_asked_for(make):
    path = make("rsvg")
    (path / "rsvg_val.pth").unlink()
    report = check_dataset("rsvg", path)
    assert found(report) == [("split", "validation", 1)]
    assert "rsvg_val.pth is missing. Download it from" in only(report, "split").message
    assert [split.split for split in report.splits] == ["train", "test"]
    with pytest.raises(FileNotFoundError, match=r"rsvg_val\.pth is missing"):
        check_dataset("rsvg", path, ["validation"])


def test_a_split_without_records_is_a_problem(make):
    path = make("rsicd")
    file = path / "dataset_rsicd.json"
    file.write_text(file.read_text().replace('"test"', '"val"'))
    assert found(check_dataset("rsicd", path)) == [("split", "test", 1)]


def test_a_folder_with_nothing_of_it_is_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"rsicd: .*dataset_rsicd\.json is missing"):
        check_dataset("rsicd", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dota"}, "unknown data set 'dota'"),
        ({"splits": ["dev"]}, "rsicd has no split 'dev'"),
        ({"num_threads": 0}, "num_threads must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_dataset(**{"name": "rsicd", "path": make("rsicd"), **arguments})


def test_several_threads_find_the_same(make):
    path = make("aid")
    shutil.copy(path / "AID/Airport/airport_1.jpg", path / "AID/BareLand/bareland_9.jpg")
    reports = [check_dataset("aid", path, num_threads=threads) for threads in (1, 4)]
    assert reports[0] == reports[1]
    assert found(reports[0]) == [("leakage", "test", 1)]


def test_a_part_of_the_data_set_can_be_checked_on_its_own(make):
    report = check_dataset("aid", make("aid"), ["all"])
    assert [split.counts for split in report.splits] == [{"images": 7, "records": 7, "questions": 7, "classify": 7}]
    assert only(report, "count").message == "images more or less than published: 7 instead of 10,000"


def test_progress_is_told(make):
    calls: list[tuple[str, int]] = []
    check_dataset("aid", make("aid"), progress=lambda split, done: calls.append((split, done)))
    assert calls == [("train", 3), ("test", 4)]


def test_a_report_is_plain_json(make):
    report = check_dataset("dior-rsvg", make("dior-rsvg"))
    document = json.loads(json.dumps(report.to_dict()))
    assert document["splits"][0] == {
        "split": "train",
        "counts": {"images": 2, "records": 2, "questions": 3, "ground": 2, "detect": 1},
        "published": {"ground": {"number": 26991, "exact": True}},
    }
    assert {problem["kind"] for problem in document["problems"]} <= set(PROBLEM_KINDS)
