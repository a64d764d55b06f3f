# SPDX-License-Identifier: Apache-2.0
"""Shapes become boxes around them, and keep their corners if these are a turned rectangle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geodit.annotations.formats.shapes import (
    box_object,
    ellipse_object,
    object_in_points,
    oriented_object,
    pair_points,
    rectangle_corners,
)
from geodit.annotations.rectangles import turned_corners

LENGTHS = st.floats(20, 300)
CENTERS = st.tuples(st.floats(-500, 500), st.floats(-500, 500))


@given(CENTERS, LENGTHS, LENGTHS, st.floats(10, 80), st.integers(0, 3), st.booleans())
def test_a_turned_rectangle_keeps_its_corners(center, width, height, angle, first, reverse):
    (x, y) = center
    corners = rectangle_corners((x - width / 2, y - height / 2, x + width / 2, y + height / 2), angle)
    corners = corners[first:] + corners[:first]
    if reverse:
        corners.reverse()
    found = object_in_points("ship", corners)
    assert found.corners == tuple(corners)
    xs, ys = zip(*corners, strict=True)
    assert found.box == (min(xs), min(ys), max(xs), max(ys))


@given(CENTERS, LENGTHS, LENGTHS, st.sampled_from([0, 90, 180, 270, 360, -90]))
def test_a_rectangle_turned_by_right_angles_is_upright(center, width, height, angle):
    (x, y) = center
    corners = rectangle_corners((x - width / 2, y - height / 2, x + width / 2, y + height / 2), angle)
    assert object_in_points("ship", corners).corners is None


def test_corners_may_be_off_by_less_than_a_pixel():
    corners = [(10, 30), (40, 10), (60, 40), (30, 60)]
    assert object_in_points("ship", corners).corners == tuple(corners)
    nearly = [(10.6, 30), (40, 10), (60, 40), (30, 60)]
    assert object_in_points("ship", nearly).corners == tuple(nearly)
    off = [(16, 30), (40, 10), (60, 40), (30, 60)]
    assert object_in_points("ship", off).corners is None
    assert object_in_points("ship", off).box == (16, 10, 60, 60)


def test_the_first_point_may_come_again():
    corners = [(10, 30), (40, 10), (60, 40), (30, 60)]
    assert object_in_points("ship", [*corners, corners[0]]).corners == tuple(corners)


def test_other_outlines_are_upright_boxes():
    assert object_in_points("field", [(1, 2), (9, 3), (5, 12.5), (4, 4), (2, 8)]).box == (1, 2, 9, 12.5)
    assert object_in_points("field", [(0, 0), (10, 0), (5, 8)]).corners is None
    assert object_in_points("field", [(3, 3), (3, 3), (3, 3), (3, 3)]).corners is None


def test_a_box_turns_clockwise_as_it_is_seen():
    assert np.allclose(rectangle_corners((0, 0, 10, 4), 90, pivot=(0, 0)), [(0, 0), (0, 10), (-4, 10), (-4, 0)])
    assert np.allclose(rectangle_corners((0, 0, 10, 4), 90), [(7, -3), (7, 7), (3, 7), (3, -3)])


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=4, max_size=4))
def test_four_corners_by_hand_get_the_smallest_rectangle_around_them(corners):
    found = oriented_object("ship", corners)
    assert found.box == (*np.min(corners, axis=0), *np.max(corners, axis=0))
    if found.corners is None:
        return
    assert turned_corners(found.corners, 0.25) == found.corners
    points = shapely.MultiPoint(corners)
    rectangle = shapely.MultiPoint(found.corners).convex_hull
    assert rectangle.buffer(1e-6).covers(points)
    assert rectangle.area <= shapely.minimum_rotated_rectangle(points).area + 1e-6


def test_an_oriented_box_that_is_upright_has_no_corners():
    assert oriented_object("ship", [(1, 1), (9, 1), (9, 5), (1, 5)]).corners is None


@given(st.floats(0, 360), st.floats(1, 50), st.floats(1, 50))
def test_the_box_around_an_ellipse_touches_it(angle, along, across):
    found = ellipse_object("tank", (5, 6), (along, across), angle)
    turn = np.linspace(0, 2 * np.pi, 2001)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    xs = 5 + along * np.cos(turn) * cosine - across * np.sin(turn) * sine
    ys = 6 + along * np.cos(turn) * sine + across * np.sin(turn) * cosine
    assert np.allclose(found.box, (xs.min(), ys.min(), xs.max(), ys.max()), atol=1e-3)


@pytest.mark.parametrize(
    "box", [(5, 0, 4, 9), (0, 9, 4, 8), (math.nan, 0, 1, 1), (0, 0, math.inf, 1), (0, 0, 1, 1e12)]
)
def test_what_is_no_box_is_refused(box):
    with pytest.raises(ValueError, match=r"box|coordinate"):
        box_object("ship", box)


@pytest.mark.parametrize("label", ["", "  ", None, 3, ["ship"]])
def test_an_object_has_a_class(label):
    with pytest.raises(ValueError, match="the class"):
        box_object(label, (0, 0, 1, 1))


def test_outlines_are_pairs_and_have_an_inside():
    with pytest.raises(ValueError, match="three points at least, not 2"):
        object_in_points("ship", pair_points([1, 2, 3, 4]))
    with pytest.raises(ValueError, match="3 coordinates are not pairs"):
        pair_points([1, 2, 3])
    with pytest.raises(ValueError, match="must not be negative"):
        ellipse_object("tank", (1, 1), (-2, 2))
