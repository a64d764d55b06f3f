# SPDX-License-Identifier: Apache-2.0
"""Boxes of published data sets come out in pixels of the original image, whatever their notation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geodit.data.readers.conversations import Turn
from geodit.data.readers.geochat import geochat_question, plain_description
from geodit.data.readers.mmrs import object_name, padded_box, sensor
from geodit.data.readers.reading import BadRecordError, box_excess, clip_box, read_dataset
from geodit.data.readers.vrsbench import corner_box, percent_box, tagged_question
from geodit.data.schema import Box, Question
from geodit.processing.boxes_geodit import GeoChatBoxCodec, PaddedSquareBoxCodec


def ground(phrase: str, box: Box, label: str = "") -> Question:
    return Question("ground", phrase, boxes=(box,), labels=(label or phrase,))


def detect(label: str, *boxes: Box) -> Question:
    return Question("detect", label, boxes=boxes, labels=(label,) * len(boxes))


def caption(answer: str, *references: str, kind: str = "") -> Question:
    return Question("caption", answer=answer, references=references or (answer,), kind=kind)


def approximately(questions: list[Question]) -> list[Question]:
    """The questions with boxes rounded to a thousandth of a pixel."""
    return [
        Question.from_dict({**question.to_dict(), "boxes": [[round(x, 3) for x in box] for box in question.boxes]})
        for question in questions
    ]


@pytest.fixture
def wide_image(tmp_path: Path) -> Path:
    path = tmp_path / "wide.png"
    Image.new("RGB", (60, 40)).save(path)
    return path


class TestDIORRSVG:
    LEFT, RIGHT = (5, 5, 25, 20), (30, 10, 50, 30)

    def test_a_split_holds_running_numbers_of_objects(self, make, read):
        path = make("dior-rsvg")
        assert read("dior-rsvg", path) == {
            "dior-rsvg/00001.jpg": [ground("an airplane on the left", self.LEFT, "airplane")],
            "dior-rsvg/00002.jpg": [
                ground("a tank", (0, 0, 10, 10), "storagetank"),
                detect("storagetank", (0, 0, 10, 10)),
            ],
        }
        assert read("dior-rsvg", path, "validation") == {
            "dior-rsvg/00001.jpg": [ground("an airplane on the right", self.RIGHT, "airplane")]
        }
        assert [question.query for question in read("dior-rsvg", path, "test")["dior-rsvg/00003.jpg"]] == [
            "a ship",
            "the harbor",
            "ship",
            "harbor",
        ]

    def test_a_class_is_asked_about_where_one_split_has_all_of_it(self, make, read):
        path = make("dior-rsvg")
        (path / "train.txt").write_text("0\n1\n2\n")
        questions = read("dior-rsvg", path)["dior-rsvg/00001.jpg"]
        assert questions[2:] == [detect("airplane", self.LEFT, self.RIGHT)]

    def test_a_number_beyond_the_last_object_is_refused(self, make, read):
        path = make("dior-rsvg")
        (path / "test.txt").write_text("3\n5\n")
        with pytest.raises(ValueError, match=r"test\.txt names object 5, but .*Annotations have 5 in all"):
            read("dior-rsvg", path, "test")

    def test_a_name_in_place_of_a_number_is_refused(self, make, read):
        path = make("dior-rsvg")
        (path / "test.txt").write_text("00003.jpg\n")
        with pytest.raises(ValueError, match=r"test\.txt should have the number of an object .*'00003\.jpg'"):
            read("dior-rsvg", path, "test")

    def test_a_damaged_file_is_fatal_because_it_moves_the_numbers(self, make, read):
        path = make("dior-rsvg")
        (path / "Annotations/00001.xml").write_text("<annotation>")
        with pytest.raises(ValueError, match=r"00001\.xml is not a Pascal VOC annotation"):
            read("dior-rsvg", path, "test", bad_records="skip")

    def test_an_object_without_a_description_is_a_bad_record(self, make, read):
        path = make("dior-rsvg")
        file = path / "Annotations/00002.xml"
        file.write_text(file.read_text().replace("a tank", ""))
        with pytest.raises(BadRecordError, match=r"00002\.xml: <description> of object 0 is empty"):
            read("dior-rsvg", path)


class TestRSVG:
    EXPECTED = {
        "rsvg/a.jpg": [ground("The red car", (6, 10, 30, 30)), ground("The lake", (40, 0, 60, 20))],
        "rsvg/b.jpg": [ground("A hut", (0, 0, 10, 10))],
    }

    def test_expressions_come_together_by_image(self, make, read):
        path = make("rsvg")
        assert read("rsvg", path) == self.EXPECTED
        assert list(read("rsvg", path, "validation")) == ["rsvg/c.jpg"]
        assert list(read("rsvg", path, "test")) == ["rsvg/d.jpg"]

    def test_json_lines_are_read_as_well(self, make, read):
        path = make("rsvg")
        tuples = torch.load(path / "rsvg_train.pth", weights_only=True)
        (path / "rsvg_train.pth").unlink()
        records = [{"image_id": image, "bbox": box, "question": phrase} for image, box, phrase, _ in tuples]
        (path / "rsvg_train.jsonl").write_text("\n".join(json.dumps(record) for record in records))
        assert read("rsvg", path) == self.EXPECTED

    def test_nothing_but_plain_data_is_loaded(self, make, read):
        path = make("rsvg")
        torch.save([Path("a.jpg")], path / "rsvg_test.pth")
        with pytest.raises(ValueError, match=r"rsvg_test\.pth is damaged, or holds more than plain data"):
            read("rsvg", path, "test")

    def test_a_damaged_file_is_named(self, make, read):
        path = make("rsvg")
        (path / "rsvg_test.pth").write_bytes(b"not a file of PyTorch")
        with pytest.raises(ValueError, match=r"rsvg_test\.pth is damaged"):
            read("rsvg", path, "test")

    @pytest.mark.parametrize("new_format", [True, False])
    @pytest.mark.parametrize("percent", range(5, 100, 10))
    def test_a_file_that_is_cut_off_is_named(self, make, read, new_format, percent):
        file = make("rsvg") / "rsvg_test.pth"
        records = [("d.jpg", [1, 2, 3, 4], f"mast {number}") for number in range(9)]
        torch.save(records, file, _use_new_zipfile_serialization=new_format)
        content = file.read_bytes()
        file.write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(ValueError, match=r"rsvg_test\.pth is damaged"):
            read("rsvg", file.parent, "test")

    @pytest.mark.parametrize(
        ("record", "message"),
        [
            (("d.jpg", [1, 2, 3], "The mast"), r"image 'd\.jpg': record 0: 4 numbers are expected"),
            (("d.jpg", [1, 2, float("nan"), 4], "The mast"), "4 numbers are expected"),
            (("d.jpg", [9, 9, 3, 4], "The mast"), r"box \(9\.0, 9\.0, 3\.0, 4\.0\) is not"),
            (("d.jpg", [70, 0, 80, 10], "The mast"), "no area inside its image of 60 x 40 pixels"),
            (("d.jpg", [1, 2, 3, 4], ""), "the expression is empty"),
            (("d.jpg",), r"image 'd\.jpg': record 0: it should be an object with named fields"),
        ],
    )
    def test_a_bad_record_is_named(self, make, read, record, message):
        path = make("rsvg")
        torch.save([record], path / "rsvg_test.pth")
        with pytest.raises(BadRecordError, match=rf"rsvg_test\.pth, {message}|rsvg_test\.pth, .*{message}"):
            read("rsvg", path, "test")


class TestAVVG:
    TURNED = ((14, 10), (30, 18), (22, 30), (6, 22))
    TAXI = ((28, 8), (40, 16), (32, 24), (20, 16))

    def test_upright_boxes_are_those_of_the_file_and_turned_ones_have_corners(self, make, read):
        path = make("avvg")
        sedan = replace(ground("The red sedan on the left.", (6, 10, 30, 30)), corners=(self.TURNED,))
        assert read("avvg", path, tasks=("ground",)) == {
            "avvg/DJI_0001.JPG": [sedan, ground("The white SUV", (40, 0, 60, 20))],
            "avvg/DJI_0002.JPG": [ground("The bus", (0, 0, 10, 10))],
        }
        (taxi,) = read("avvg", path, "test", tasks=("ground",))["avvg/DJI_0003.JPG"]
        assert taxi.boxes == ((20, 8, 40, 24),)
        assert taxi.corners == (self.TAXI,)

    def test_records_of_a_category_are_one_question_with_upright_boxes_and_turned_corners(self, make, read):
        path = make("avvg")
        red = replace(detect("red car", (6, 10, 30, 30), (50, 30, 56, 38)), corners=(self.TURNED, None))
        white = detect("white car", (2, 4, 8, 9), (12, 10, 36, 30))
        assert read("avvg", path, tasks=("detect",)) == {
            "avvg/DJI_0001.JPG": [red, detect("suv car", (40, 0, 60, 20))],
            "avvg/DJI_0004.JPG": [replace(white, corners=(None, ((20, 10), (36, 18), (28, 30), (12, 22))))],
        }
        black = replace(detect("black car", (20, 8, 40, 24), (2, 2, 10, 6)), corners=(self.TAXI, None))
        assert read("avvg", path, "test", tasks=("detect",)) == {"avvg/DJI_0003.JPG": [black]}

    def test_expressions_and_categories_of_an_image_are_one_row(self, make, read):
        found = read("avvg", make("avvg"))
        assert {name: [question.task for question in questions] for name, questions in found.items()} == {
            "avvg/DJI_0001.JPG": ["ground", "ground", "detect", "detect"],
            "avvg/DJI_0002.JPG": ["ground"],
            "avvg/DJI_0004.JPG": ["detect"],
        }

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_without_files_of_detection_the_expressions_are_read(self, make, read, split):
        path = make("avvg")
        expected = read("avvg", path, split, tasks=("ground",))
        for file in path.glob("metainfo/avvg_detection_*.jsonl"):
            file.unlink()
        assert read("avvg", path, split) == expected

    def test_a_table_of_detection_without_its_files_is_an_error_that_names_them(self, make, tmp_path):
        path = make("avvg")
        (path / "metainfo/avvg_detection_test.jsonl").unlink()
        with pytest.raises(ValueError, match=r"'test' with the task detect; .*metainfo/avvg_detection_test\.jsonl"):
            read_dataset("avvg", path, "test", tasks=("detect",), cache_dir=tmp_path / "cache")

    def test_files_of_detection_do_not_stand_in_for_expressions(self, make, read):
        path = make("avvg")
        (path / "metainfo/avvg_test.jsonl").unlink()
        with pytest.raises(FileNotFoundError, match=r"avvg_test\.jsonl is missing"):
            read("avvg", path, "test")

    def test_files_next_to_the_images_are_read_as_well(self, make, read):
        path = make("avvg")
        expected = read("avvg", path)
        for file in path.glob("metainfo/*.jsonl"):
            file.rename(path / file.name)
        (path / "images/avvg").rename(path / "elsewhere")
        (path / "images").rmdir()
        (path / "elsewhere").rename(path / "images")
        assert read("avvg", path) == expected

    @pytest.mark.parametrize("stem", ["avvg", "avvg_detection"])
    def test_boxes_that_leave_their_image_are_clipped(self, make, read, stem):
        path = make("avvg")
        self.rewrite(path, stem, bbox=[50, -4, 70, 8], poly=[[54, -4], [70, 0], [66, 8], [50, 4]])
        task = "ground" if stem == "avvg" else "detect"
        (taxi,) = read("avvg", path, "test", tasks=(task,))["avvg/DJI_0003.JPG"]
        assert taxi.boxes == ((50, 0, 60, 8),)
        assert taxi.corners == (((54, -4), (70, 0), (66, 8), (50, 4)),)

    @pytest.mark.parametrize("poly", [[[20, 8]] * 4, [[20, 8], [40, 8], [20, 8], [40, 8]], [1e308, -1e308] * 4])
    def test_corners_that_enclose_nothing_leave_the_upright_box(self, make, read, poly):
        path = make("avvg")
        self.rewrite(path, poly=poly)
        expected = {"avvg/DJI_0003.JPG": [ground("The black taxi", (20, 8, 40, 24))]}
        assert read("avvg", path, "test", tasks=("ground",)) == expected

    def test_a_vehicle_without_area_costs_its_question_alone(self, make, read):
        path = make("avvg")
        expected = read("avvg", path, "test", tasks=("ground",))
        self.rewrite(path, "avvg_detection", poly=[[9, 9]] * 4)
        with pytest.raises(BadRecordError, match=r"box \[9\.0, 9\.0, 9\.0, 9\.0\] has no area"):
            read("avvg", path, "test")
        assert read("avvg", path, "test", bad_records="skip") == expected

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"bbox": [1, 2, 3]}, r"image 'DJI_0003\.JPG': record 0: 4 numbers are expected"),
            ({"bbox": None}, "4 numbers are expected, not None"),
            ({"poly": [[1, 2], [3, 4], [5, 6]]}, r"8 numbers are expected, not \[1, 2, 3, 4, 5, 6\]"),
            ({"poly": [[1, 2], [3, 4], [5, 6], [7, float("nan")]]}, "8 numbers are expected"),
            ({"poly": "left"}, r"8 numbers are expected, not \['left'\]"),
            ({"question": " "}, "the expression is empty"),
            ({"image_id": "../DJI_0003.JPG"}, "a path inside the data set"),
        ],
    )
    def test_a_bad_record_is_named(self, make, read, change, message):
        path = make("avvg")
        self.rewrite(path, **change)
        with pytest.raises(BadRecordError, match=rf"avvg_test\.jsonl, .*{message}"):
            read("avvg", path, "test")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"poly": None}, r"'poly' should have one or more quads of 8 numbers, not None"),
            ({"poly": []}, r"one or more quads of 8 numbers, not \[\]"),
            ({"poly": [[1, 2], [3, 4], [5, 6]]}, r"quads of 8 numbers, not \[\[1, 2\], \[3, 4\], \[5, 6\]\]"),
            ({"poly": [1, 2, 3, 4, 5, 6, 7, float("inf")]}, "8 numbers are expected"),
            ({"poly": [[1, 2, 3, 4, 5, 6, 7, {}]]}, "8 numbers are expected"),
            ({"question": " . "}, "the category is empty"),
            ({"question": 3}, "the category should be a text"),
        ],
    )
    def test_a_bad_record_of_detection_is_named_with_its_file(self, make, read, change, message):
        path = make("avvg")
        self.rewrite(path, "avvg_detection", **change)
        with pytest.raises(
            BadRecordError, match=rf"'DJI_0003\.JPG': avvg_detection_test\.jsonl, record 0: .*{message}"
        ):
            read("avvg", path, "test")

    def test_a_bad_record_of_an_image_without_expressions_is_named_with_its_file(self, make, read):
        path = make("avvg")
        self.rewrite(path, "avvg_detection", image_id="DJI_0002.JPG", poly=[])
        with pytest.raises(
            BadRecordError, match=r"avvg_detection_test\.jsonl, image 'DJI_0002\.JPG': record 0: 'poly'"
        ):
            read("avvg", path, "test")

    @staticmethod
    def rewrite(path: Path, stem: str = "avvg", **fields: object) -> None:
        file = path / f"metainfo/{stem}_test.jsonl"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


class TestVRSBench:
    SHIP = (6, 10, 30, 30)

    def test_training_conversations_come_together_by_image(self, make, read):
        assert read("vrsbench", make("vrsbench")) == {
            "vrsbench/a.png": [
                caption("A harbor."),
                Question("vqa", "Is it busy?", "yes"),
                ground("the long ship", self.SHIP),
            ],
            "vrsbench/b.png": [Question("vqa", "How many ships?", "2")],
        }

    def test_the_files_to_evaluate_on_come_together_by_image(self, make, read):
        assert read("vrsbench", make("vrsbench"), "test") == {
            "vrsbench/c.png": [
                caption("Two courts."),
                ground("the left court", (0, 0, 30, 40), "tennis court"),
                ground("the other court", (30, 0, 60, 40), "tennis court"),
                Question("vqa", "How many?", "2", kind="object quantity"),
                detect("tennis court", (0, 0, 30, 40), (30, 0, 60, 40)),
            ]
        }

    @pytest.mark.parametrize(("split", "name"), [("train", "a"), ("test", "c")])
    def test_without_them_there_is_a_file_for_each_image(self, make, read, split, name):
        assert read("vrsbench", make("vrsbench, a file for each image"), split) == {
            f"vrsbench/{name}.png": [
                caption("A harbor."),
                ground("the long ship", self.SHIP, "ship"),
                Question("vqa", "Is it busy?", "yes", kind="scene type"),
                detect("ship", self.SHIP),
            ]
        }

    def test_a_box_that_leaves_the_image_is_cut_off(self, make, read):
        path = make("vrsbench")
        file = path / "VRSBench_train.json"
        file.write_text(file.read_text().replace("{<10><25><50><75>}", "{<10><25><50><103>}"))
        assert read("vrsbench", path)["vrsbench/a.png"][-1].boxes == ((6, 10, 30, 40),)

    @pytest.mark.parametrize(
        ("prompt", "answer", "message"),
        [
            ("Where is it?", "{<1><2><3><4>}", r"should begin with \[caption\], \[vqa\] or \[refer\]"),
            ("[refer] Where is it?", "{<1><2><3><4>}", "followed by <p>a phrase</p>"),
            ("[refer] <p>a ship</p>", "[1, 2, 3, 4]", "a box should be written as"),
            ("[refer] <p>a ship</p>", "{<1><2><3>}", "a box should be written as"),
        ],
    )
    def test_a_turn_of_another_form_is_refused(self, wide_image, prompt, answer, message):
        with pytest.raises(ValueError, match=message):
            tagged_question(Turn(prompt, answer), wide_image)

    def test_a_bad_record_is_named_with_its_file(self, make, read):
        path = make("vrsbench")
        file = path / "VRSBench_EVAL_referring.json"
        file.write_text(file.read_text().replace("{<50><0><100><100>}", "{<50><0><50><100>}"))
        with pytest.raises(BadRecordError, match=r"image 'c\.png': the box \[30\.0, 0\.0, 30\.0, 40\.0\] has no area"):
            read("vrsbench", path, "test")
        file.write_text(file.read_text().replace('"obj_cls"', '"class"'))
        with pytest.raises(BadRecordError, match=r"VRSBench_EVAL_referring\.json, record 0: it has no 'obj_cls'"):
            read("vrsbench", path, "test")

    @given(st.lists(st.integers(0, 100), min_size=4, max_size=4))
    def test_percents_are_of_width_and_height(self, points):
        x1, y1, x2, y2 = points
        box = percent_box(f"{{<{x1}><{y1}> <{x2}><{y2}>}}", (40, 60))
        assert box == pytest.approx((x1 * 0.6, y1 * 0.4, x2 * 0.6, y2 * 0.4))

    @given(st.text())
    def test_any_text_is_a_box_or_refused(self, text):
        with pytest.raises(ValueError, match="a box should be written as"):
            percent_box(f"{text}?", (40, 60))

    def test_the_box_around_four_corners(self):
        assert corner_box([0.5, 0.25, 0.75, 0.5, 0.5, 0.75, 0.25, 0.5], (40, 60)) == (15, 10, 45, 30)


class TestMMRS:
    def test_every_folder_is_a_task(self, make, read):
        # Images of 60 x 40 pixels lie 10 pixels below the upper border of their square of 60, which the boxes are on.
        wide, right = (6, 8, 30, 26), (30, 8, 60, 38)
        questions = {name: approximately(found) for name, found in read("mmrs-1m", make("mmrs-1m")).items()}
        assert questions == {
            "mmrs-1m/RSVG/rsvg_trainval.json#0": [ground("the red car", wide)],
            "mmrs-1m/VQA/RSVQA.json#0": [Question("vqa", "Is there a road?", "yes")],
            "mmrs-1m/caption/RSICD.json#0": [
                caption("A port.", "A port.", "A busy port."),
                caption("A busy port.", "A port.", "A busy port."),
            ],
            "mmrs-1m/classification/AID.json#0": [Question("classify", answer="bare land")],
            "mmrs-1m/detection/infrared.json#0": [detect("person", wide)],
            "mmrs-1m/detection/optical.json#0": [
                detect("ship", wide, (0, 0.2, 6, 20)),
                detect("harbor", right),
            ],
            # In a tall image the padding is at the left and at the right.
            "mmrs-1m/detection/sar.json#0": [detect("ship", (8, 6, 26, 30))],
        }

    @pytest.mark.parametrize(("split", "count"), [("train", 7), ("optical", 5), ("sar", 1), ("infrared", 1)])
    def test_a_sensor_is_a_part_of_it(self, make, read, split, count):
        assert len(read("mmrs-1m", make("mmrs-1m"), split)) == count

    @pytest.mark.parametrize(
        ("image", "expected"),
        [
            ("data/detection/SSDD/a.jpg", "sar"),
            ("data\\detection\\HRSID\\a.jpg", "sar"),
            ("data/detection/infrared_ship/a.jpg", "infrared"),
            ("data/detection/DIOR/a.jpg", "optical"),
            ("data/caption/SSDD.jpg", "optical"),
            (None, "optical"),
        ],
    )
    def test_the_folder_tells_the_sensor(self, image, expected):
        assert sensor(image) == expected

    def test_a_folder_of_another_task_is_refused(self, make, read):
        path = make("mmrs-1m")
        (path / "data/json/segmentation").mkdir()
        (path / "data/json/segmentation/a.json").write_text("[]")
        with pytest.raises(ValueError, match=r"segmentation/a\.json is in none of the folders caption, "):
            read("mmrs-1m", path)

    @pytest.mark.parametrize(
        ("name", "old", "new", "message"),
        [
            ("detection/sar.json", "0.50]", "0.10]", r"has no area|no box with an area"),
            ("detection/sar.json", "0.30,0.10", "0.30", r"4 or 8 numbers are expected"),
            ("detection/sar.json", "0.30,0.10", "0.00,0.10", r"no box with an area inside a padded image of 40 x 60"),
            ("detection/sar.json", "<p>1 ship</p>", "1 ship ", "an answer should have <p>a class</p>"),
            ("RSVG/rsvg_trainval.json", "described as", "called", "what is described as a phrase"),
        ],
    )
    def test_a_bad_record_is_named(self, make, read, name, old, new, message):
        path = make("mmrs-1m")
        file = path / "data/json" / name
        file.write_text(file.read_text().replace(old, new))
        with pytest.raises(BadRecordError, match=rf"{name}, record 0: .*({message})"):
            read("mmrs-1m", path)

    @pytest.mark.parametrize(
        ("phrase", "name"),
        [
            ("13 ships", "ship"),
            ("one harbor", "harbor"),
            ("2 baseball fields", "baseball field"),
            ("a bus", "bus"),
            ("3 buses", "bus"),
            ("2 golf courses", "golf course"),
            ("2 warehouses", "warehouse"),
            ("2 glasses", "glass"),
            ("2 ferries", "ferry"),
            ("2 storage-tanks", "storage tank"),
            ("ships", "ships"),
            ("2 grass", "grass"),
        ],
    )
    def test_a_class_is_without_its_number(self, phrase, name):
        assert object_name(phrase) == name

    @given(
        st.tuples(st.integers(20, 200), st.integers(20, 200)),
        st.lists(st.floats(0, 1), min_size=4, max_size=4, unique=True),
    )
    def test_a_padded_box_comes_back_within_its_two_digits(self, size, points):
        height, width = size
        (x1, x2), (y1, y2) = sorted(points[:2]), sorted(points[2:])
        box = (x1 * width, y1 * height, x2 * width, y2 * height)
        if not (box[0] < box[2] and box[1] < box[3]):
            return
        written = PaddedSquareBoxCodec(decimals=2).encode([box], size)
        read_back = padded_box(written.strip("[]"), size)
        # A thin box is written wider, hence the one and a half steps of the codec.
        assert read_back == pytest.approx(box, abs=0.015 * max(size) + 1e-6)

    @given(st.text(alphabet="0123456789.,-en ;[]"))
    def test_any_text_is_a_box_inside_the_image_or_refused(self, text):
        try:
            box = padded_box(text, (40, 60))
        except ValueError:
            return
        assert box_excess(box, (40, 60)) == 0
        assert clip_box(box, (40, 60)) == box


class TestGeoChat:
    def test_the_tag_tells_the_task(self, make, read):
        ship = (6, 10, 30, 30)
        questions = {
            name: approximately(found) for name, found in read("geochat-instruct", make("geochat-instruct")).items()
        }
        assert questions == {
            "geochat-instruct/0": [caption("A harbor with two ships.")],
            "geochat-instruct/1": [ground("1 large ship", ship)],
            # The first box is turned by 90 degrees: 12 x 20 pixels become 20 x 12.
            "geochat-instruct/2": [detect("2 ships", (20, 14, 40, 26), (0, 0, 6, 4))],
            # The second turn, about a box in the prompt, is left out.
            "geochat-instruct/3": [caption("A ship lies in the harbor.", kind="grounded")],
            "geochat-instruct/4": [Question("classify", answer="harbor")],
            "geochat-instruct/5": [Question("vqa", "Is there a ship?", "Yes")],
        }

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ("{<10><25><50><175>|<0>}", "the answer to .* should be boxes"),
            ("{<10><25><10><75>|<0>}", "with an area"),
            ("at the left", "should be boxes"),
        ],
    )
    def test_a_bad_record_is_named(self, make, read, answer, message):
        path = make("geochat-instruct")
        file = path / "GeoChat_Instruct.json"
        file.write_text(file.read_text().replace('"{<10><25><50><75>|<0>}"', json.dumps(answer)))
        with pytest.raises(BadRecordError, match=rf"GeoChat_Instruct\.json, record 1: .*{message}"):
            read("geochat-instruct", path)
        assert len(read("geochat-instruct", path, bad_records="skip")) == 5

    def test_a_reference_without_a_phrase_is_refused(self, wide_image):
        with pytest.raises(ValueError, match="followed by <p>a phrase</p>"):
            geochat_question(Turn("[refer] where is it?", "{<1><2><3><4>|<0>}"), wide_image)

    @given(st.tuples(*[st.floats(0.05, 0.4)] * 2, *[st.floats(0.5, 1)] * 2), st.integers(0, 90))
    def test_boxes_are_taken_out_of_a_description(self, relative, angle):
        size = (40, 60)
        x1, y1, x2, y2 = relative
        text = GeoChatBoxCodec().encode([(x1 * 60, y1 * 40, x2 * 60, y2 * 40)], size, angles=[angle])
        described = plain_description(f"<p>A ship</p> {text} is here .")
        assert described == "A ship is here."

    @given(st.text())
    def test_any_description_is_without_boxes_or_refused(self, text):
        try:
            words = plain_description(text)
        except ValueError:
            return
        assert "<p>" not in words
        assert words == words.strip() != ""


@given(st.tuples(*[st.floats(-50, 100)] * 4))
def test_a_clipped_box_lies_in_the_image(box):
    try:
        clipped = clip_box(box, (40, 60))
    except ValueError:
        return
    assert box_excess(clipped, (40, 60)) == 0
    if box_excess(box, (40, 60)) == 0:
        assert clipped == box
