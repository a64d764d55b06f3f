# SPDX-License-Identifier: Apache-2.0
"""Answers as a table for the terminal."""

import pytest
from rich.console import Console

from geodit.cli.prediction_table import image_name, predictions_table
from geodit.pipelines.prediction import Prediction

BOX = (1.0, 2.0, 3.0, 4.0)


def shown(*rows):
    """The lines of the table, without frames."""
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(predictions_table(rows))
    lines = [line.replace("┃", "│").strip("│ ") for line in capture.get().splitlines()]
    return [[cell.strip() for cell in line.split("│")] for line in lines if line and line[0] not in "┏┡├└"]


def ships(count, query="ship"):
    return Prediction("detect", query, "", (8, 8), (BOX,) * count, (query,) * count, (0.5,) * count)


def test_a_box_is_a_row():
    assert shown(("scenes/a.tif", ships(2))) == [
        ["image", "label", "score", "x1", "y1", "x2", "y2"],
        ["a.tif", "ship", "0.50", "1.0", "2.0", "3.0", "4.0"],
        ["ship", "0.50", "1.0", "2.0", "3.0", "4.0"],
    ]


def test_queries_are_a_column_where_there_are_several():
    header, first, second = shown(("a.tif", ships(1)), ("a.tif", ships(1, "tank")))
    assert header[:3] == ["image", "query", "label"]
    assert first[:3] == ["a.tif", "ship", "ship"]
    assert second[:3] == ["a.tif", "tank", "tank"]


def test_an_image_without_boxes_has_its_answer():
    rows = shown(("a.tif", ships(1)), ("b.tif", Prediction("detect", "ship", "none", (8, 8))))
    assert rows[2][:2] == ["b.tif", "none"]


def test_an_answer_has_the_probability_of_the_choice():
    answer = Prediction("vqa", "Is it?", "yes", (8, 8), choice_probabilities={"yes": 0.75, "no": 0.25})
    other = Prediction("vqa", "Is it?", "?", (8, 8), parsed=False)
    assert shown(("a.tif", answer), ("b.tif", other)) == [
        ["image", "answer", "probability"],
        ["a.tif", "yes", "0.75"],
        ["b.tif", "? (not understood)"],
    ]


@pytest.mark.parametrize(
    ("counts", "caption"), [([100], None), ([101], "and 1 rows more"), ([60, 60, 1500], "and 1,520 rows more")]
)
def test_a_table_has_a_hundred_rows(counts, caption):
    table = predictions_table([(f"{number}.tif", ships(count)) for number, count in enumerate(counts)])
    assert table.row_count == 100
    assert table.caption == caption


def test_images_after_the_last_row_are_counted():
    table = predictions_table([("a.tif", ships(100)), ("b.tif", Prediction("detect", "ship", "none", (8, 8)))])
    assert (table.row_count, table.caption) == (100, "and 1 rows more")


def test_markup_in_names_and_answers_is_text():
    rows = shown(("[red]a.tif", Prediction("caption", "", "[bold]harbor[/bold]", (8, 8))))
    assert rows[1] == ["[red]a.tif", "[bold]harbor[/bold]"]


@pytest.mark.parametrize(
    ("image", "name"),
    [("scenes/a.tif", "a.tif"), ("a.tif", "a.tif"), ("https://example.org/x/b.tif", "b.tif"), ("/", "/")],
)
def test_an_image_is_called_by_the_end_of_its_name(image, name):
    assert image_name(image) == name
