# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodit.evaluation.other_models.notations import NOTATIONS, get_notation

IMAGE = (50, 100)  # height, width
SEEN = (100, 400)  # twice as high, four times as wide

# Answers as the models write them, with what they say of an image of 100 x 50 pixels.
UNDERSTOOD = [
    ("json_pixels", '[{"bbox_2d": [40, 20, 200, 60], "label": "ship"}]', [[10, 10, 50, 30]], ["ship"]),
    (
        "json_pixels",
        '```json\n[\n\t{"bbox_2d": [40, 20, 200, 60], "label": "a ship"}\n]\n```',
        [[10, 10, 50, 30]],
        ["a ship"],
    ),
    ("json_pixels", '{"bbox_2d": [40.5, 20, 200, 60]}', [[10.125, 10, 50, 30]], [None]),
    ("json_pixels", '[{"bbox_2d": [-8, -2, 408, 60], "label": "ship"}]', [[0, 0, 100, 30]], ["ship"]),
    ("json_pixels", "[]", [], []),
    ("json_pixels", "There are none.", [], []),
    ("json_1000", '[{"bbox_2d": [100, 200, 500, 600], "label": "ship"}]', [[10, 10, 50, 30]], ["ship"]),
    ("json_1000", '[{"bbox": [0, 0, 1000, 1000]}]', [[0, 0, 100, 50]], [None]),
    ("json_1000", "[100, 200, 500, 600]", [[10, 10, 50, 30]], [None]),
    ("json_1000", "[[100, 200, 500, 600], [0, 0, 10, 20]]", [[10, 10, 50, 30], [0, 0, 1, 1]], [None, None]),
    ("json_1000", "None", [], []),
    ("pixel_lines", "40,20,200,60 ship", [[10, 10, 50, 30]], ["ship"]),
    (
        "pixel_lines",
        "40,20,200,60 ship\n0,0,40,20 small vehicle\n",
        [[10, 10, 50, 30], [0, 0, 10, 10]],
        ["ship", "small vehicle"],
    ),
    ("pixel_lines", "40,20,104,44,80,60,16,36 ship", [[4, 10, 26, 30]], ["ship"]),
    ("pixel_lines", "there are none", [], []),
    ("internvl", "<ref>ship</ref><box>[[100, 200, 500, 600]]</box>", [[10, 10, 50, 30]], ["ship"]),
    ("internvl", "ship[[100, 200, 500, 600], [0, 0, 10, 20]]", [[10, 10, 50, 30], [0, 0, 1, 1]], ["ship", "ship"]),
    ("internvl", "[[100,200,500,600]]", [[10, 10, 50, 30]], [None]),
    ("florence2", "</s><s>ship<loc_0><loc_0><loc_499><loc_999></s>", [[0.05, 0.025, 49.95, 49.975]], ["ship"]),
    ("florence2", "<loc_100><loc_200><loc_500><loc_600>", [[10.05, 10.025, 50.05, 30.025]], [None]),
    ("geochat", "{<10><20><50><60>|<0>}", [[10, 10, 50, 30]], [None]),
    (
        "geochat",
        "<p>ship</p> {<10><20><50><60>|<0>}<delim>{<0><0><1><2>|<0>}",
        [[10, 10, 50, 30], [0, 0, 1, 1]],
        ["ship", "ship"],
    ),
    ("earthdial", "[[10, 20, 50, 60, 0]]", [[10, 10, 50, 30]], [None]),
    ("earthdial", "[[10, 20, 50, 60, 0]][[0, 0, 1, 2, 0]]", [[10, 10, 50, 30], [0, 0, 1, 1]], [None, None]),
    ("earthdial", "[[-10, 20, 50, 102, 0]]", [[0, 10, 50, 50]], [None]),
    ("earthdial", "[[30, 40, 50, 80, 90]]", [[30, 20, 50, 40]], [None]),
    ("integers_1000", "[100, 200, 500, 600]", [[10, 10, 50, 30]], [None]),
    # The square has a side of 100, and the image begins at 25.
    ("padded_square", "[0.10, 0.35, 0.50, 0.55]", [[10, 10, 50, 30]], [None]),
]

# Answers of which something is left out, with the boxes that are kept.
NOT_UNDERSTOOD = [
    ("json_pixels", '[{"bbox_2d": [40, 20, 200, 60], "label": "ship"}, {"bbox_2d": [1, 2,', [[10, 10, 50, 30]]),
    ("json_pixels", 'Here it is: {"bbox_2d": [40, 20, 200, 60]}', [[10, 10, 50, 30]]),
    ("json_pixels", '[{"bbox_2d": [200, 20, 40, 60]}]', []),
    ("json_pixels", '[{"bbox_2d": [500, 20, 600, 60]}]', []),
    ("json_pixels", '[{"bbox_2d": [1, 2, 3]}]', []),
    ("json_pixels", '[{"bbox_2d": [NaN, 0, Infinity, 4]}]', []),
    ("json_pixels", '[{"bbox_2d": [true, false, true, true]}]', []),
    ("json_pixels", '[{"bbox_2d": [1, 1, 1' + "0" * 400 + ", 4]}]", []),
    ("json_pixels", '[{"bbox_2d": [0, 0, 40, 20], "label": 7}]', []),
    ("json_pixels", '{"answer": "a ship"}', []),
    ("json_pixels", "", []),
    ("json_pixels", "[" * 100_000, []),
    ("json_1000", '[{"bbox_2d": [100, 200, 1001, 600]}]', []),
    ("json_1000", '[{"bbox_2d": [-1, 200, 500, 600]}]', []),
    ("pixel_lines", "40,20,200,60", []),
    ("pixel_lines", "40,20,200,60 ship\n1,2,3 ship", [[10, 10, 50, 30]]),
    ("pixel_lines", "200,20,40,60 ship", []),
    ("pixel_lines", "0,0,4,4,8,8,12,12 ship", []),
    ("internvl", "<ref>ship</ref><box>[[100, 200, 500]]</box>", []),
    ("internvl", "[[100, 200, 500, 1600]]", []),
    ("florence2", "ship<loc_0><loc_0><loc_499>", []),
    ("florence2", "ship<loc_0><loc_0><loc_499><loc_1000>", []),
    ("geochat", "{<10><20><50><160>|<0>}", []),
    ("earthdial", "[[10, 20, 50, 60]]", []),
    ("earthdial", "[[50, 20, 10, 60, 0]]", []),
    ("earthdial", "[[10, 20, 50, 60, 400]]", []),
    ("earthdial", "[[110, 20, 150, 60, 0]]", []),
    ("earthdial", "[[10, 20, 50, 60, 0]] [[1, 2", [[10, 10, 50, 30]]),
    ("integers_1000", "The ship is at [100, 200, 500, 600] in the image.", [[10, 10, 50, 30]]),
    ("padded_square", "[0.10, 0.05, 0.50, 0.55]", []),
]

names = st.sampled_from([notation.name for notation in NOTATIONS])
pieces = st.sampled_from(
    [
        "[",
        "]",
        "{",
        "}",
        "<",
        ">",
        "|",
        ",",
        '"bbox_2d"',
        ":",
        "label",
        "\n",
        "```json",
        "```",
        "ship",
        "none",
        "-",
        ".",
        "<loc_1>",
        "<loc_999>",
        "<p>",
        "<ref>",
        "<box>",
        "1",
        "50",
        "0.5",
        "1e999",
        " ",
        "null",
        "\\u",
        "\u0661",
    ]
)
documents = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["bbox_2d", "bbox", "label"]), inner),
)


@pytest.mark.parametrize(("name", "text", "boxes", "labels"), UNDERSTOOD)
def test_answers_are_read_in_the_notation_of_their_family(name, text, boxes, labels):
    parse = get_notation(name).decode(text, IMAGE, SEEN)
    assert parse.boxes == [pytest.approx(box) for box in boxes]
    assert parse.labels == labels
    assert parse.parsed


@pytest.mark.parametrize(("name", "text", "boxes"), NOT_UNDERSTOOD)
def test_well_formed_boxes_of_an_answer_that_is_not_are_kept(name, text, boxes):
    parse = get_notation(name).decode(text, IMAGE, SEEN)
    assert parse.boxes == [pytest.approx(box) for box in boxes]
    assert not parse.parsed


def test_without_a_size_to_which_the_image_was_resized_pixels_are_its_own():
    parse = get_notation("json_pixels").decode('[{"bbox_2d": [10, 10, 50, 30]}]', IMAGE)
    assert parse.boxes == [[10, 10, 50, 30]]


def test_turned_boxes_keep_their_corners():
    four = get_notation("pixel_lines").decode("40,20,104,44,80,60,16,36 ship\n0,0,40,20 ship", IMAGE, SEEN)
    assert four.corners[1] is None
    assert sorted(four.corners[0]) == [pytest.approx(point) for point in [(4, 18), (10, 10), (20, 30), (26, 22)]]
    turned = get_notation("earthdial").decode("[[20, 40, 60, 60, 45]]", (100, 100))
    assert turned.oriented_boxes == [(40, 50, 40, 20, 45)]
    half = (40 + 20) / 2 / 2**0.5
    assert turned.boxes == [pytest.approx([40 - half, 50 - half, 40 + half, 50 + half])]


@given(names, st.one_of(st.text(), st.lists(pieces).map("".join)))
@settings(max_examples=600, deadline=None)
def test_no_text_raises_and_boxes_are_inside_the_image(name, text):
    parse = get_notation(name).decode(text, IMAGE, SEEN)
    assert len(parse.boxes) == len(parse.labels)
    assert len(parse.corners) == len(parse.boxes)
    for x1, y1, x2, y2 in parse.boxes:
        assert 0 <= x1 < x2 <= 100
        assert 0 <= y1 < y2 <= 50


@given(documents)
@settings(max_examples=200, deadline=None)
def test_no_json_raises(document):
    parse = get_notation("json_pixels").decode(json.dumps(document), IMAGE, SEEN)
    assert len(parse.boxes) == len(parse.labels)


sides = st.tuples(st.floats(0, 0.9), st.floats(0.05, 1)).map(lambda pair: (pair[0], min(pair[0] + pair[1], 1.0)))


@given(names, sides, sides)
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_back_within_a_unit(name, across, down):
    notation = get_notation(name)
    height, width = 300, 400
    box = [across[0] * width, down[0] * height, across[1] * width, down[1] * height]
    text = notation.encode([box], (height, width), (448, 560), ["ship"])
    parse = notation.decode(text, (height, width), (448, 560))
    assert parse.parsed
    assert parse.labels == ["ship"]
    assert parse.boxes == [pytest.approx(box, abs=1.5 * 400 / 100)]
    assert notation.decode(notation.encode([], (height, width), labels=[]), (height, width)).parsed


def test_lines_need_labels_and_write_corners():
    lines = get_notation("pixel_lines")
    with pytest.raises(ValueError, match="give one for each box"):
        lines.encode([[0, 0, 10, 10]], IMAGE)
    corners = ((10.0, 10.0), (26.0, 22.0), (20.0, 30.0), (4.0, 18.0))
    assert lines.encode([[4, 10, 26, 30]], IMAGE, SEEN, ["ship"], [corners]) == "40,20,104,44,80,60,16,36 ship"


def test_an_unknown_notation_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="'xywh'; the notations are json_pixels, json_1000"):
        get_notation("xywh")
