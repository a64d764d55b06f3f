# SPDX-License-Identifier: Apache-2.0
"""An image that is turned: boxes and words go with it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geodit.data.schema import Question
from geodit.data.views import VIEWS, View, are_turnable
from geodit.processing.polygons import surrounding_box

SIZE = (6, 10)
TURN_LEFT, MIRROR = View(quarters=1), View(mirrored=True)


def marked(box):
    """An image of SIZE with one white box."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = 255
    return Image.fromarray(pixels)


def white_box(image):
    rows, columns = np.nonzero(np.asarray(image)[..., 0])
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


boxes = st.tuples(st.integers(0, 8), st.integers(0, 4)).flatmap(
    lambda corner: st.tuples(
        st.just(corner[0]), st.just(corner[1]), st.integers(corner[0] + 1, 10), st.integers(corner[1] + 1, 6)
    )
)


@given(boxes, st.sampled_from(VIEWS))
def test_boxes_lie_where_their_objects_are(box, view):
    assert view.box(box, SIZE) == white_box(view.image(marked(box)))


@given(boxes, st.sampled_from(VIEWS))
def test_corners_of_turned_boxes_go_with_them(box, view):
    x1, y1, x2, y2 = box
    # A kite in the box, whose corners are at a quarter of each side.
    corners = (
        (x1 + (x2 - x1) / 4, float(y1)),
        (float(x2), y1 + (y2 - y1) / 4),
        (x2 - (x2 - x1) / 4, float(y2)),
        (float(x1), y2 - (y2 - y1) / 4),
    )
    question = Question("ground", query="ship", boxes=(box,), labels=("ship",), corners=(corners,))
    seen = view.question(question, SIZE)
    assert np.array(seen.corners[0]) == pytest.approx(view.points(np.array(corners), SIZE))
    assert surrounding_box(seen.corners[0]) == pytest.approx(seen.boxes[0])
    assert view.question(Question("ground", query="ship", boxes=(box,), labels=("ship",)), SIZE).corners == ()


def test_there_are_eight_and_they_differ():
    pixels = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE)
    seen = {np.asarray(view.image(Image.fromarray(pixels))).tobytes() for view in VIEWS}
    assert len(seen) == 8
    assert VIEWS[0] == View()


@pytest.mark.parametrize(
    ("view", "text", "expected"),
    [
        (MIRROR, "the ship on the left", "the ship on the right"),
        (MIRROR, "the leftmost ship in the top right", "the rightmost ship in the top left"),
        (MIRROR, "at the bottom", "at the bottom"),
        (TURN_LEFT, "the ship on the right", "the ship at the top"),
        (TURN_LEFT, "the ship at the top", "the ship on the left"),
        (TURN_LEFT, "in the top left", "in the bottom left"),
        (TURN_LEFT, "in the top right", "in the top left"),
        (TURN_LEFT, "the second ship from the left", "the second ship from the bottom"),
        (TURN_LEFT, "Upper-left corner", "Lower-left corner"),
        (TURN_LEFT, "the topmost tank", "the leftmost tank"),
        (View(quarters=2), "the upper ship", "the lower ship"),
        (TURN_LEFT, "a rightful heir of the topography", "a rightful heir of the topography"),
    ],
)
def test_words_follow(view, text, expected):
    assert view.text(text) == expected


places = st.sampled_from(
    [
        "on the left",
        "at the top",
        "in the top left",
        "in the bottom right",
        "the topmost",
        "from the right",
        "lower-right",
    ]
)


@given(places, st.sampled_from(VIEWS))
def test_words_name_the_place_to_which_their_object_moves(text, view):
    """The middle of what a text names, from -1 to 1 to the right and down."""

    def place(text):
        x = ("right" in text) - ("left" in text)
        y = ("bottom" in text or "lower" in text) - ("top" in text or "upper" in text)
        return np.array([x, y], dtype=float)

    moved = view.points((place(text) + 1) / 2, (1, 1)) * 2 - 1
    assert np.array_equal(moved, place(view.text(text)))


@given(places, st.sampled_from(VIEWS))
def test_four_quarters_and_two_mirrors_are_nothing(text, view):
    assert TURN_LEFT.text(TURN_LEFT.text(TURN_LEFT.text(TURN_LEFT.text(text)))) == text
    assert MIRROR.text(MIRROR.text(text)) == text


def test_a_question_follows_as_a_whole():
    question = Question("ground", query="the ship on the left", boxes=((0, 1, 2, 3),), labels=("ship",))
    seen = MIRROR.question(question, SIZE)
    assert (seen.query, seen.boxes) == ("the ship on the right", ((8.0, 1.0, 10.0, 3.0),))


@pytest.mark.parametrize(
    "text", ["the northern pier", "the car above the road", "is it facing the sea?", "the left-hand lane"]
)
def test_directions_that_do_not_turn_with_the_picture(text):
    assert not are_turnable([Question("vqa", query=text, answer="yes")])
    assert are_turnable([Question("vqa", query="the left ship", answer="at the top")])
