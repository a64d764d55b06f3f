# SPDX-License-Identifier: Apache-2.0
"""Captions and answers come out of CSV and JSON, one image for all rows of it."""

from __future__ import annotations

import csv
import json

import pytest

from geodit.annotations.formats.registry import find_format
from geodit.annotations.records import TextAnswer

CAPTIONS = [
    {"image": "a.png", "caption": 'A harbor, with "ships".'},
    {"image": "b.png", "caption": "Fields.\nMany of them.", "split": "val", "group": "tile 7", "category": "farmland"},
    {"image": "a.png", "caption": "Ships in a harbor."},
]
QUESTIONS = [
    {"image": "a.png", "question": "How many ships?", "answer": 3},
    {"image": "a.png", "question": "Is there a crane?", "answer": "no"},
]


def write_csv(path, rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))


def write_array(path, rows):
    path.write_text(json.dumps(rows))


@pytest.fixture(params=[write_csv, write_lines, write_array])
def write(request, folder):
    def write_file(rows):
        path = folder / "table.txt"
        request.param(path, rows)
        return path

    return write_file


def test_captions_are_gathered_by_image(write, read):
    images, bad = read(write(CAPTIONS))
    assert bad == []
    assert images["a.png"].captions == ('A harbor, with "ships".', "Ships in a harbor.")
    other = images["b.png"]
    assert other.captions == ("Fields. Many of them.",)
    assert (other.split, other.group, other.category) == ("validation", "tile 7", "farmland")


def test_questions_have_answers(write, read):
    images, bad = read(write(QUESTIONS))
    assert bad == []
    assert images["a.png"].answers == (TextAnswer("How many ships?", "3"), TextAnswer("Is there a crane?", "no"))


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_columns_may_be_separated_otherwise(folder, read, delimiter):
    write_csv(folder / "table.csv", CAPTIONS, delimiter)
    assert read(folder / "table.csv").images["a.png"].captions[0] == 'A harbor, with "ships".'


@pytest.mark.parametrize("column", ["file_name", "filename", "file", "image_path"])
def test_a_list_of_captions_and_other_names_of_the_image(folder, read, column):
    write_lines(folder / "a.jsonl", [{column: "a.png", "captions": ["One.", "Two."]}])
    assert find_format(folder / "a.jsonl").name == "captions"
    assert read(folder / "a.jsonl").images["a.png"].captions == ("One.", "Two.")


def test_a_caption_next_to_a_question_is_kept(write, read):
    (image,) = read(write([QUESTIONS[0] | {"caption": "Ships."}])).images.values()
    assert (len(image.answers), image.captions) == (1, ("Ships.",))


def test_what_is_wrong_is_said_and_reading_goes_on(write, read):
    rows = [
        {"image": "gone.png", "caption": "Ships."},
        {"image": "a.png", "caption": " "},
        {"image": "", "caption": "Ships."},
        {"image": "a.png", "caption": "Ships.", "split": "holdout"},
        {"image": "b.png", "caption": "Ships.", "group": "1"},
        {"image": "b.png", "caption": "Boats.", "group": "2"},
        {"image": "a.png", "caption": "Boats."},
    ]
    images, bad = read(write(rows))
    assert images["a.png"].captions == ("Boats.",)
    assert images["a.png"].split == ""
    assert images["b.png"].group == "1"
    assert len(bad) == 5
    assert "its split 'holdout' is neither train, validation nor test" in bad[3]
    assert "its group is '2', but '1' in another row" in bad[4]


def test_damaged_lines_are_said(folder, read):
    path = folder / "a.jsonl"
    path.write_bytes(
        b'{"image": "a.png", "caption": "One."}\n{"image"\n[]\n\xff\n{"image": "a.png", "caption": "Two."}'
    )
    images, bad = read(path)
    assert images["a.png"].captions == ("One.", "Two.")
    assert [line.partition(":")[0] for line in bad] == ["record 2", "record 3", "record 4"]


def test_a_csv_without_the_columns_is_one_error(folder, read):
    (folder / "a.csv").write_text("image,text\na.png,Ships.\n")
    for name, column in (("captions", "caption"), ("questions", "question, answer")):
        with pytest.raises(ValueError, match=f"has no column {column}, only 'image', 'text'"):
            read(folder / "a.csv", name)
