# SPDX-License-Identifier: Apache-2.0
"""Captions, classes and answers of published data sets, read from the layouts in which they are downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.data.readers.conversations import parse_turns, without_hint
from geodit.data.readers.fields import class_words, path_field
from geodit.data.readers.karpathy import parse_description
from geodit.data.readers.reading import BadRecordError, read_dataset
from geodit.data.readers.rsvqa import count_range
from geodit.data.schema import Question


def caption(answer: str, *references: str) -> Question:
    return Question("caption", answer=answer, references=references or (answer,))


def classify(answer: str) -> Question:
    return Question("classify", answer=answer)


def vqa(query: str, answer: str, kind: str = "vqa") -> Question:
    return Question("vqa", query, answer, kind=kind)


def change_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


class TestSkyScript:
    def test_both_titles_are_references(self, make, read):
        path = make("skyscript")
        assert read("skyscript", path) == {
            "skyscript/images2/a1_CH_19.jpg": [caption("a park", "a park", "a park, surrounded by houses")],
            "skyscript/images3/w22_US_20.jpg": [caption("a quay")],
        }
        assert list(read("skyscript", path, "validation")) == ["skyscript/images4/n3_SA_21.jpg"]
        assert list(read("skyscript", path, "test")) == ["skyscript/images5/n4_SA_21.jpg"]

    def test_what_a_file_name_says_is_kept(self, make):
        row = next(iter(read_dataset("skyscript", make("skyscript"), streaming=True)))
        meta = json.loads(row["meta"])
        assert (meta["object"], meta["source"], meta["year"], meta["split"]) == ("a1", "CH", "19", "train")
        assert meta["record"].endswith("_openai.csv, line 2")

    def test_of_several_files_one_must_be_named(self, make, read):
        path = make("skyscript")
        other = path / "SkyScript_train_top50pct_filtered_by_CLIP_openai.csv"
        other.write_text("filepath,title\nimages3/w22_US_20.jpg,a quay\n")
        with pytest.raises(ValueError, match=r"several files .*top30pct.*top50pct.*Give one of them"):
            read("skyscript", path)
        assert list(read("skyscript", other)) == ["skyscript/images3/w22_US_20.jpg"]
        with pytest.raises(FileNotFoundError, match=r"not the file of the split 'test'.*SkyScript_test_"):
            read("skyscript", other, "test")

    def test_csv_files_may_be_in_their_own_folder(self, make, read):
        path = make("skyscript")
        (path / "dataframe").mkdir()
        for file in path.glob("*.csv"):
            file.rename(path / "dataframe" / file.name)
        assert len(read("skyscript", path)) == 2

    def test_a_file_without_the_columns_is_refused(self, make, read):
        path = make("skyscript")
        next(path.glob("SkyScript_test_*.csv")).write_text("path,caption\na.jpg,b\n")
        with pytest.raises(ValueError, match=r"test_30K.*needs the columns filepath and title, .*'path'"):
            read("skyscript", path, "test")

    @pytest.mark.parametrize(
        ("line", "message"), [("images2/a1_CH_19.jpg,,", "'title' is empty"), ("../a.jpg,a park,", "path inside")]
    )
    def test_a_bad_line_is_named(self, make, read, line, message):
        path = make("skyscript")
        next(path.glob("SkyScript_test_*.csv")).write_text(f"filepath,title,title_multi_objects\n{line}\n")
        with pytest.raises(BadRecordError, match=rf"test_30K.*, line 2: .*{message}"):
            read("skyscript", path, "test")


class TestKarpathysJson:
    SENTENCES = ("a bridge over a river .", "a river with a bridge .", "a bridge over a river .")

    def test_in_training_each_different_sentence_is_an_answer(self, make, read):
        questions = read("rsicd", make("rsicd"))
        expected = [caption(answer, *self.SENTENCES) for answer in self.SENTENCES[:2]]
        assert questions == {"rsicd/bridge_1.jpg": expected, "rsicd/00002.jpg": expected}

    @pytest.mark.parametrize(("split", "name"), [("validation", "bridge_3.jpg"), ("test", "bridge_4.jpg")])
    def test_elsewhere_there_is_one_question_with_all_references(self, make, read, split, name):
        assert read("rsicd", make("rsicd"), split) == {f"rsicd/{name}": [caption(self.SENTENCES[0], *self.SENTENCES)]}

    def test_ucm_has_the_same_form(self, make, read):
        path = make("ucm-captions")
        splits = ("train", "validation", "test")
        assert [list(read("ucm-captions", path, split)) for split in splits] == [
            ["ucm-captions/1.tif"],
            ["ucm-captions/2.tif"],
            ["ucm-captions/3.tif"],
        ]

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"split": "dev"}, "'split' should be one of train, val and test, not 'dev'"),
            ({"sentences": []}, "it has no caption"),
            ({"sentences": [{"raw": " "}]}, "'raw' is empty"),
            ({"sentences": ["a bridge"]}, "an object with named fields, not str"),
            ({"filename": "/etc/bridge.jpg"}, "path inside the data set"),
            ({"filename": "bridge_99.jpg"}, "bridge_99.jpg is missing"),
        ],
    )
    def test_a_bad_record_is_named(self, make, read, fields, message):
        path = make("rsicd")
        change_json(path / "dataset_rsicd.json", lambda content: content["images"][1].update(fields))
        with pytest.raises(BadRecordError, match=rf"dataset_rsicd\.json, image 1: .*{message}.*Download it again"):
            read("rsicd", path)

    def test_a_file_that_ends_early_is_damaged(self, make, read):
        path = make("rsicd") / "dataset_rsicd.json"
        path.write_text(path.read_text()[:-20])
        with pytest.raises(ValueError, match=r"dataset_rsicd\.json is damaged"):
            read("rsicd", path.parent)


class TestTextFiles:
    def test_sentences_belong_to_the_number_in_the_file_name(self, make, read):
        path = make("sydney-captions")
        assert read("sydney-captions", path) == {"sydney-captions/1.tif": [caption("a lawn .")]}
        river = caption("a river .", "a river .", "the river bends .")
        assert read("sydney-captions", path, "validation") == {"sydney-captions/2.tif": [river]}

    def test_an_image_without_a_sentence_is_named(self, make, read):
        path = make("sydney-captions")
        (path / "filenames/filenames_test.txt").write_text("4.tif\n")
        with pytest.raises(BadRecordError, match=r"filenames_test\.txt, 4\.tif: descriptions_SYDNEY\.txt has no"):
            read("sydney-captions", path, "test")

    def test_a_line_of_another_form_is_named(self, make, read):
        path = make("sydney-captions")
        (path / "filenames/descriptions_SYDNEY.txt").write_text("1 a lawn .\na river .\n")
        with pytest.raises(ValueError, match=r"descriptions_SYDNEY\.txt, sentence 1: .*not 'a river \.'"):
            read("sydney-captions", path)

    @given(st.integers(0, 10**6), st.lists(st.sampled_from(["a", "lawn", "3", ".", "12.tif"]), min_size=1))
    def test_number_and_sentence_come_apart(self, number, words):
        assert parse_description(f"{number}  {'  '.join(words)}\r") == (str(number), " ".join(words))

    @given(st.text())
    def test_any_line_is_parsed_or_refused(self, line):
        try:
            number, sentence = parse_description(line)
        except ValueError:
            return
        assert number.isdecimal()
        assert sentence == " ".join(sentence.split()) != ""


class TestNWPUCaptions:
    def test_an_image_is_in_the_folder_of_its_class(self, make, read):
        path = make("nwpu-captions")
        lake = ("one lake", "lake 1", "lake 2", "lake 3", "lake 4")
        questions = read("nwpu-captions", path, "test")
        assert list(questions) == ["nwpu-captions/airplane/airplane_003.jpg", "nwpu-captions/lake/lake_003.jpg"]
        assert questions["nwpu-captions/lake/lake_003.jpg"] == [caption("one lake", *lake)]
        in_training = read("nwpu-captions", path)["nwpu-captions/lake/lake_001.jpg"]
        assert in_training == [caption(answer, *lake) for answer in lake]

    def test_a_missing_image_is_left_out_on_request(self, make, read):
        path = make("nwpu-captions")
        (path / "NWPU_images/airplane/airplane_003.jpg").unlink()
        with pytest.raises(BadRecordError, match=r"airplane, image 2: the image .*airplane_003\.jpg is missing"):
            read("nwpu-captions", path, "test")
        assert list(read("nwpu-captions", path, "test", bad_records="skip")) == ["nwpu-captions/lake/lake_003.jpg"]

    def test_a_list_in_place_of_classes_is_refused(self, make, read):
        path = make("nwpu-captions")
        (path / "dataset_nwpu.json").write_text("[]")
        with pytest.raises(ValueError, match=r"dataset_nwpu\.json should be an object with a list"):
            read("nwpu-captions", path)


class TestSceneFolders:
    def test_half_of_each_class_is_for_training(self, make, read):
        path = make("aid")
        splits = {split: read("aid", path, split) for split in ("train", "test", "all")}
        assert {split: len(questions) for split, questions in splits.items()} == {"train": 3, "test": 4, "all": 7}
        assert {**splits["train"], **splits["test"]} == splits["all"]
        assert splits["all"]["aid/BareLand/bareland_1.jpg"] == [classify("bare land")]

    def test_the_split_never_changes(self, make, read):
        assert list(read("aid", make("aid"))) == [
            "aid/Airport/airport_3.jpg",
            "aid/Airport/airport_4.jpg",
            "aid/BareLand/bareland_2.jpg",
        ]

    def test_the_archives_own_folder_may_be_missing(self, make, read):
        questions = read("whu-rs19", make("whu-rs19"), "all")
        assert questions["whu-rs19/footballField/footballfield_01.jpg"] == [classify("football field")]

    def test_a_folder_without_classes_is_refused(self, tmp_path, read):
        with pytest.raises(FileNotFoundError, match=r"aid: a folder of images for each class .* is missing.*captain"):
            read("aid", tmp_path)

    @pytest.mark.parametrize(
        ("name", "words"),
        [("BareLand", "bare land"), ("storage-tank", "storage tank"), ("Golf_course", "golf course"), ("A1", "a1")],
    )
    def test_a_class_is_written_in_words(self, name, words):
        assert class_words(name) == words

    @given(st.text())
    def test_words_of_words_are_the_same(self, name):
        try:
            words = class_words(name)
        except ValueError:
            assert not any(character.isalnum() for character in name)
        else:
            assert class_words(words) == words


class TestRSVQA:
    def test_counts_at_low_resolution_are_ranges(self, make, read):
        expected = [
            vqa("Which comp?", "yes", "compare"),
            vqa("Which count?", "0", "count"),
            vqa("Which count?", "between 10 and 100", "count"),
            vqa("Which rural_urban?", "rural", "rural_urban"),
        ]
        path = make("rsvqa-lr")
        assert read("rsvqa-lr", path) == {"rsvqa-lr/0": expected}
        assert list(read("rsvqa-lr", path, "validation")) == ["rsvqa-lr/1"]
        assert list(read("rsvqa-lr", path, "test")) == ["rsvqa-lr/2"]

    def test_areas_at_high_resolution_are_ranges(self, make, read):
        expected = [
            vqa("Which area?", "between 100m2 and 1000m2", "area"),
            vqa("Which count?", "37", "count"),
        ]
        assert read("rsvqa-hr", make("rsvqa-hr"), "test-philadelphia") == {"rsvqa-hr/3": expected}

    @pytest.mark.parametrize(
        ("sort", "fields", "message"),
        [
            ("questions", {"answers_ids": [99]}, r"image 0: question 1: its answers \[99\] are not among the active"),
            ("questions", {"type": ""}, "image 0: question 1: 'type' is empty"),
            ("questions", {"img_id": 2}, "questions about image 2, which is not active in LR_split_train_images"),
            ("answers", {"answer": "many"}, "question 1: .*should be a number, not 'many'"),
        ],
    )
    def test_a_bad_question_is_named(self, make, read, sort, fields, message):
        path = make("rsvqa-lr")
        change_json(path / f"LR_split_train_{sort}.json", lambda content: content[sort][1].update(fields))
        with pytest.raises(BadRecordError, match=rf"LR_split_train_questions\.json, .*{message}"):
            read("rsvqa-lr", path)

    def test_a_record_without_a_number_is_fatal(self, make, read):
        path = make("rsvqa-lr")
        change_json(path / "LR_split_train_images.json", lambda content: content["images"][0].pop("id"))
        with pytest.raises(ValueError, match=r"LR_split_train_images\.json, record 0: it has no 'id'"):
            read("rsvqa-lr", path)

    def test_a_file_of_something_else_is_damaged(self, make, read):
        path = make("rsvqa-lr")
        (path / "LR_split_train_questions.json").write_text('{"images": []}')
        with pytest.raises(ValueError, match=r"LR_split_train_questions\.json is damaged.*no 'questions'"):
            read("rsvqa-lr", path)

    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (0, "0"),
            (1, "between 0 and 10"),
            (10, "between 0 and 10"),
            (11, "between 10 and 100"),
            (1000, "between 100 and 1000"),
            (1001, "more than 1000"),
        ],
    )
    def test_the_borders_of_the_ranges(self, number, text):
        assert count_range(number) == text

    @given(st.integers(0, 10**9))
    def test_a_number_is_in_the_range_that_is_named(self, number):
        words = count_range(number, "m2").replace("m2", "").split()
        if words[0] == "between":
            assert int(words[1]) < number <= int(words[3])
        else:
            assert number == int(words[0]) == 0 if len(words) == 1 else number > int(words[-1])

    def test_there_are_no_negative_numbers(self):
        with pytest.raises(ValueError, match="cannot be -1"):
            count_range(-1)


class TestConversations:
    def test_every_turn_is_a_question(self, make, read):
        assert read("llava", make("llava")) == {
            "llava/chats.json#0": [vqa("What is it?", "a port"), vqa("Is it busy?", "yes")],
            "llava/chats.json#1": [vqa("How many?", "2")],
        }

    def test_json_lines_are_read_as_well(self, make, read):
        path = make("llava")
        lines = path.with_suffix(".jsonl")
        lines.write_text("".join(f"{json.dumps(record)}\n" for record in json.loads(path.read_text())))
        assert list(read("llava", lines).values()) == list(read("llava", path).values())

    def test_a_folder_is_refused(self, make, read):
        with pytest.raises(ValueError, match=r"llava takes the path of a \.json or \.jsonl file"):
            read("llava", make("llava").parent)

    @pytest.mark.parametrize(
        ("turns", "message"),
        [
            ([], "alternate between human and gpt"),
            ([{"from": "human", "value": "What?"}], "alternate"),
            ([{"from": "gpt", "value": "A"}, {"from": "human", "value": "B"}], "alternate"),
            ([{"from": "human", "value": "What?"}, {"from": "gpt", "value": ""}], "a message is empty"),
            ([{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a"}], "a message is empty"),
            ("hello", "'conversations' should be a list"),
        ],
    )
    def test_a_conversation_of_another_form_is_refused(self, turns, message):
        with pytest.raises(ValueError, match=message):
            parse_turns({"conversations": turns})

    @given(st.lists(st.tuples(st.text("abc ?", min_size=1), st.text("abc .", min_size=1)), min_size=1))
    def test_turns_keep_their_words(self, pairs):
        messages = [
            {"from": speaker, "value": f"x{text}"}
            for pair in pairs
            for speaker, text in zip(("human", "gpt"), pair, strict=True)
        ]
        turns = parse_turns({"conversations": messages})
        assert [(turn.prompt.split(), turn.answer.split()) for turn in turns] == [
            (f"x{prompt}".split(), f"x{answer}".split()) for prompt, answer in pairs
        ]

    def test_the_request_for_a_short_answer_is_taken_off(self):
        assert without_hint("Is it? Answer the question using a single word or phrase.") == "Is it?"
        assert without_hint("A short answer is") == "A short answer is"
        assert without_hint("Is it busy?. A short answer to the question is") == "Is it busy?"
        assert without_hint("Name it. A short answer is") == "Name it."


@pytest.mark.parametrize(
    "path", ["../a.jpg", "/a.jpg", "a/../../b.jpg", "C:/a.jpg", "./C:/a.jpg", "\\\\host\\a.jpg", ".", "", 3]
)
def test_a_path_cannot_leave_the_data_set(path):
    with pytest.raises(ValueError, match="'image' should be"):
        path_field({"image": path}, "image")


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [
        ("dior-rsvg", "Annotations/00002.xml", "00002.jpg", "../../outside.jpg"),
        ("nwpu-captions", "dataset_nwpu.json", '"airplane": [', '"../..": ['),
        ("sydney-captions", "filenames/filenames_train.txt", "1.tif", "../../1.tif"),
        ("rsicd", "dataset_rsicd.json", "bridge_1.jpg", "../bridge_1.jpg"),
        ("skyscript", "SkyScript_train_top30pct_filtered_by_CLIP_openai.csv", "images2/", "../images2/"),
    ],
)
def test_no_reader_leaves_the_data_set(make, read, name, file, old, new):
    path = make(name)
    text = (path / file).read_text()
    assert old in text
    (path / file).write_text(text.replace(old, new))
    with pytest.raises(BadRecordError, match="should be a path inside the data set"):
        read(name, path)


def test_what_is_behind_a_double_slash_stays_in_the_data_set(make, read):
    path = make("mmrs-1m")
    file = path / "data/json/VQA/RSVQA.json"
    file.write_text(file.read_text().replace("data/VQA/a.png", "data//etc/a.png"))
    with pytest.raises(BadRecordError, match=f"the image {path}/data/etc/a.png is missing"):
        read("mmrs-1m", path)


def test_a_path_of_windows_is_understood():
    assert path_field({"image": "Airport\\a b.jpg"}, "image") == "Airport/a b.jpg"
