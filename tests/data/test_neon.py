# SPDX-License-Identifier: Apache-2.0
"""Tree crowns of NEON: taken out of DeepForest's wheel, cut into tiles, the test image kept apart.

The tests of the real images download that wheel (20 MB) once; the others make their own small images.
"""

import hashlib
import json
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from geodit.data import neon
from geodit.data.neon import NEON_FILES, NEON_REGIONS, NEON_SPLITS, fetch_neon, neon_dataset, neon_images
from geodit.data.schema import Question, row_questions
from geodit.data.wheels import WheelMember

VOC = """<annotation>
  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>
  {objects}
</annotation>"""
OBJECT = """<object><name>Tree</name><bndbox>
  <xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


def voc(boxes: list[tuple[int, int, int, int]], width: int, height: int) -> str:
    return VOC.format(width=width, height=height, objects="".join(OBJECT.format(*box) for box in boxes))


@pytest.fixture
def small_neon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A wheel of the real layout in which every crown is a green square on brown ground; returns its path."""
    contents: dict[str, bytes] = {}
    for region in NEON_REGIONS:
        width, height = (300, 150) if region.image.startswith("2019_YELL_2_541") else (160, 150)
        boxes = [(x, y, x + 20, y + 20) for y in (10, 60, 110) for x in range(10, width - 20, 50)]
        pixels = np.full((height, width, 3), (120, 80, 40), np.uint8)
        for x1, y1, x2, y2 in boxes:
            pixels[y1:y2, x1:x2] = (0, 200, 0)
        image = tmp_path / region.image
        Image.fromarray(pixels).save(image)
        contents[region.image] = image.read_bytes()
        contents[region.annotation] = voc(boxes, width, height).encode()
    contents["DEEPFOREST_LICENSE"] = b"MIT License"

    wheel = tmp_path / "deepforest-2.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member in NEON_FILES:
            archive.writestr(member.path, contents[member.name])
    members = tuple(
        WheelMember(one.path, one.name, len(contents[one.name]), hashlib.sha256(contents[one.name]).hexdigest())
        for one in NEON_FILES
    )
    columns = {"2019_YELL_2_541": {"train": (0, 200), "validation": (200, 300)}}
    regions = tuple(
        neon.NeonRegion(one.image, one.annotation, one.split, columns.get(one.image[:15], {}).get(one.split, (0, 160)))
        for one in NEON_REGIONS
    )
    monkeypatch.setattr(neon, "NEON_FILES", members)
    monkeypatch.setattr(neon, "NEON_REGIONS", regions)
    return wheel


@pytest.fixture
def small_directory(small_neon: Path, tmp_path: Path) -> Path:
    return fetch_neon(tmp_path / "neon", wheel=small_neon)


@pytest.fixture(scope="session")
def real_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real images, downloaded once a session."""
    return fetch_neon(tmp_path_factory.mktemp("neon"))


def questions(row: dict[str, object]) -> tuple[Question, Question]:
    detect, count = row_questions(row)
    return detect, count


def greenness(image: Image.Image, box: tuple[float, float, float, float]) -> float:
    """Share of crown pixels inside a box of the small images."""
    x1, y1, x2, y2 = (round(value) for value in box)
    pixels: NDArray[np.uint8] = np.asarray(image)[y1:y2, x1:x2]
    return float((pixels[..., 1] > 140).mean())


class TestFetch:
    def test_every_file_is_there_with_its_licence(self, small_directory: Path) -> None:
        assert sorted(path.name for path in small_directory.iterdir()) == sorted(one.name for one in NEON_FILES)

    def test_second_fetch_does_nothing(self, small_directory: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in small_directory.iterdir()}
        # A wheel that does not exist: it is not even looked at.
        assert fetch_neon(small_directory, wheel=small_directory / "absent.whl") == small_directory
        assert {path: path.stat().st_mtime_ns for path in small_directory.iterdir()} == before

    def test_damaged_file_is_fetched_again(self, small_neon: Path, small_directory: Path) -> None:
        (small_directory / "SOAP_061.png").write_bytes(b"damaged")
        with pytest.raises(FileNotFoundError, match=r"SOAP_061\.png is missing or damaged: run `geodit data fetch"):
            neon_images(small_directory, "train")
        fetch_neon(small_directory, wheel=small_neon)
        assert len(neon_images(small_directory, "train")) == 3

    def test_wheel_of_another_content_leaves_nothing(self, small_neon: Path, tmp_path: Path) -> None:
        content = small_neon.read_bytes()
        with zipfile.ZipFile(small_neon, "w") as archive:
            archive.writestr(NEON_FILES[0].path, b"something else")
        with pytest.raises(ValueError, match="is not the expected file"):
            fetch_neon(tmp_path / "other", wheel=small_neon)
        assert not (tmp_path / "other").exists()
        small_neon.write_bytes(content)

    def test_file_in_place_of_the_directory(self, small_neon: Path) -> None:
        with pytest.raises(ValueError, match="is a file"):
            fetch_neon(small_neon, wheel=small_neon)

    def test_missing_wheel(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            fetch_neon(tmp_path / "neon", wheel=tmp_path / "absent.whl")


class TestAnnotations:
    def test_boxes_and_size(self, tmp_path: Path) -> None:
        path = tmp_path / "a.xml"
        path.write_text(voc([(1, 2, 30, 40), (5, 6, 50, 60)], width=50, height=60))
        boxes, image_size = neon.read_voc_boxes(path)
        assert boxes.tolist() == [[1, 2, 30, 40], [5, 6, 50, 60]]
        assert image_size == (60, 50)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("<annotation>", "no element found"),
            ("<annotation/>", "no <size/height>"),
            (voc([], 50, 60).replace("<width>50</width>", "<width>wide</width>"), "could not convert"),
            (voc([(1, 2, 3, 4)], 50, 60).replace("<ymax>4</ymax>", ""), "no <bndbox/ymax>"),
            (voc([(1, 2, 51, 40)], 50, 60), "does not lie in the image"),
            (voc([(30, 2, 30, 40)], 50, 60), "does not lie in the image"),
            ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>&b;</annotation>", "DOCTYPE"),
        ],
    )
    def test_what_is_no_annotation_is_refused(self, tmp_path: Path, text: str, reason: str) -> None:
        path = tmp_path / "a.xml"
        path.write_text(text)
        with pytest.raises(ValueError, match=reason) as raised:
            neon.read_voc_boxes(path)
        assert str(path) in str(raised.value)

    def test_doctype_cannot_hide_in_another_encoding(self, tmp_path: Path) -> None:
        path = tmp_path / "a.xml"
        path.write_bytes("<?xml version='1.0' encoding='utf-16'?><!DOCTYPE a []><annotation/>".encode("utf-16"))
        with pytest.raises(ValueError, match="is not a Pascal VOC annotation"):
            neon.read_voc_boxes(path)


class TestTiles:
    def test_two_questions_a_tile(self, small_directory: Path) -> None:
        dataset = neon_dataset(small_directory, "test")
        assert len(dataset) == 4
        for row in dataset:
            detect, count = questions(row)
            assert (detect.task, detect.query) == ("detect", "tree")
            assert set(detect.labels) <= {"tree"}
            assert (count.task, count.kind, count.query) == ("vqa", "count", "How many trees are there?")
            assert count.answer == str(len(detect.boxes))
            assert row["image"].size == (96, 96)

    def test_boxes_lie_on_the_crowns(self, small_directory: Path) -> None:
        for row in neon_dataset(small_directory, "test"):
            for box in questions(row)[0].boxes:
                assert greenness(row["image"], box) == 1.0

    def test_boxes_stay_on_the_crowns_when_windows_are_scaled_flipped_and_turned(self, small_directory: Path) -> None:
        dataset = neon_dataset(small_directory, num_random_tiles=40, window_sizes=(60, 96), empty_fraction=0.0)
        turns = set()
        for row in dataset:
            meta = json.loads(row["meta"])
            turns.add((meta["flipped"], meta["quarter_turns"]))
            detect = questions(row)[0]
            assert 1 <= len(detect.boxes) <= 7
            for x1, y1, x2, y2 in detect.boxes:
                assert 0 <= x1 < x2 <= 96
                assert 0 <= y1 < y2 <= 96
                assert greenness(row["image"], (x1, y1, x2, y2)) > 0.85
        assert len(turns) == 8

    def test_boxes_are_in_reading_order(self, small_directory: Path) -> None:
        for row in neon_dataset(small_directory, num_random_tiles=10, empty_fraction=0.0):
            boxes = questions(row)[0].boxes
            assert list(boxes) == sorted(boxes, key=lambda box: box[:2])

    def test_crowded_tiles_are_left_out_of_training_only(self, small_directory: Path) -> None:
        def largest(split: str) -> int:
            dataset = neon_dataset(small_directory, split, tile_size=72, max_boxes=2, stride=36)
            return max(len(questions(row)[0].boxes) for row in dataset)

        assert largest("train") == 2
        assert largest("test") > 2

    def test_same_seed_same_tiles(self, small_directory: Path) -> None:
        def tiles(seed: int) -> list[object]:
            dataset = neon_dataset(small_directory, num_random_tiles=5, empty_fraction=0.0, seed=seed)
            return dataset.to_list()

        assert tiles(3) == tiles(3)
        assert tiles(3) != tiles(4)

    def test_share_of_empty_windows(self, small_directory: Path) -> None:
        dataset = neon_dataset(
            small_directory, num_random_tiles=60, window_sizes=(20, 30), empty_fraction=0.5, tile_size=32
        )
        empty = sum(not questions(row)[0].boxes for row in dataset)
        assert 15 <= empty <= 45

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ({"split": "val"}, "split must be one of train, validation, test"),
            ({"split": "test", "num_random_tiles": 5}, "train split only"),
            ({"max_boxes": 0}, "max_boxes"),
            ({"stride": 0}, "stride"),
            ({"max_boxes": 1, "tile_size": 150}, "max_boxes=1"),
            ({"num_random_tiles": 1, "window_sizes": (96, 64)}, "window_sizes"),
            ({"num_random_tiles": 1, "window_sizes": (96, 1000)}, "window_sizes"),
            ({"num_random_tiles": 1, "empty_fraction": 1.5}, "empty_fraction"),
            ({"num_random_tiles": 1, "window_sizes": (140, 150), "empty_fraction": 1.0}, "no window"),
        ],
    )
    def test_bad_arguments(self, small_directory: Path, arguments: dict[str, object], named: str) -> None:
        with pytest.raises(ValueError, match=named):
            neon_dataset(small_directory, **arguments)  # type: ignore[arg-type]


class TestSplits:
    def test_test_image_is_in_no_other_split(self) -> None:
        assert {one.split for one in NEON_REGIONS if one.image.startswith("OSBS_029")} == {"test"}
        assert [one.image for one in NEON_REGIONS if one.split == "test"] == ["OSBS_029.tif"]

    def test_no_pixel_belongs_to_two_splits(self) -> None:
        for image in {one.image for one in NEON_REGIONS}:
            spans = sorted(one.columns for one in NEON_REGIONS if one.image == image)
            assert all(before[1] <= after[0] for before, after in pairwise(spans))

    @pytest.mark.parametrize("random", [None, 60])
    def test_training_tiles_stay_inside_their_region(self, small_directory: Path, random: int | None) -> None:
        dataset = neon_dataset(small_directory, "train", num_random_tiles=random, empty_fraction=0.0)
        metas = [json.loads(meta) for meta in dataset["meta"]]
        assert not any(meta["source"].startswith("OSBS") for meta in metas)
        road = [meta["window"] for meta in metas if meta["source"].startswith("2019_YELL_2_541")]
        assert road
        assert all(window["left"] + window["width"] <= 200 for window in road)

    def test_validation_tiles_start_where_training_ends(self, small_directory: Path) -> None:
        metas = [json.loads(meta) for meta in neon_dataset(small_directory, "validation")["meta"]]
        assert min(meta["window"]["left"] for meta in metas) == 200


class TestRealImages:
    @pytest.mark.parametrize(
        ("split", "tiles", "boxes"), [("train", 769, 818), ("validation", 33, 52), ("test", 25, 88)]
    )
    def test_tiles_and_crowns(self, real_directory: Path, split: str, tiles: int, boxes: int) -> None:
        dataset = neon_dataset(real_directory, split)
        assert len(dataset) == tiles
        assert sum(len(row[0]["boxes"]) for row in dataset["questions"]) == boxes

    def test_whole_test_image(self, real_directory: Path) -> None:
        (image,) = neon_images(real_directory, "test")
        assert image.path.name == "OSBS_029.tif"
        assert image.boxes.shape == (61, 4)
        assert image.region == (0, 0, 400, 400)

    def test_every_crown_belongs_to_an_image(self, real_directory: Path) -> None:
        crowns = {
            image.path.name: len(image.boxes) for split in NEON_SPLITS for image in neon_images(real_directory, split)
        }
        assert sum(crowns.values()) == 574 + 279 + 37 + 61
