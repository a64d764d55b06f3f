# SPDX-License-Identifier: Apache-2.0
"""Turned boxes: four corners, and the rectangle with an angle that a notation writes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from shapely.affinity import rotate

from geodit.processing.polygons import box_corners, is_clockwise, shared_area
from geodit.processing.turned_boxes_geodit import (
    Corners,
    OrientedBox,
    as_corners,
    corners_of,
    moved_corners,
    oriented_box_of,
    scaled_corners,
)

places = st.floats(-500, 500)
sides = st.floats(1, 400)
rectangles = st.builds(OrientedBox, places, places, sides, sides, st.floats(-360, 360))


def shape_of(corners: Corners) -> shapely.Polygon:
    return shapely.Polygon(corners)


def distance_between(one: shapely.Polygon, other: shapely.Polygon) -> float:
    """Return how far, in pixels, a corner of one shape is from the outline of the other at most.

    The area of a symmetric difference is no measure: where outlines are equal but for rounding, shapely may give the
    area of both shapes.
    """
    distance: float = one.hausdorff_distance(other)
    return distance


@given(rectangles)
@example(OrientedBox(0.0, 6.28, 86.0, 173.75, 175.799804256137))
def test_corners_are_those_of_the_rectangle_turned_clockwise_as_seen(box: OrientedBox) -> None:
    upright = shapely.box(
        box.center_x - box.width / 2,
        box.center_y - box.height / 2,
        box.center_x + box.width / 2,
        box.center_y + box.height / 2,
    )
    # The y axis of an image points down, where the angles of shapely turn clockwise as seen.
    expected = rotate(upright, box.angle, origin="center")
    assert distance_between(shape_of(corners_of(box)), expected) == pytest.approx(0, abs=1e-9)


def test_a_small_angle_lowers_the_right_end() -> None:
    upper_left, upper_right, lower_right, lower_left = corners_of(OrientedBox(50, 50, 40, 10, 10))
    assert upper_left[0] < upper_right[0]
    assert upper_right[1] > upper_left[1]
    assert is_clockwise((upper_left, upper_right, lower_right, lower_left))


@given(rectangles, st.integers(0, 3), st.booleans())
def test_corners_in_any_order_give_the_rectangle_nearest_to_upright(
    box: OrientedBox, first: int, backwards: bool
) -> None:
    corners = corners_of(box)
    corners = as_corners([corners[(first + place) % 4] for place in range(4)][:: -1 if backwards else 1])
    found = oriented_box_of(corners)
    assert -45 < found.angle <= 45
    assert found[:2] == pytest.approx(box[:2], abs=1e-6)
    assert sorted(found[2:4]) == pytest.approx(sorted(box[2:4]))
    assert distance_between(shape_of(corners_of(found)), shape_of(corners)) == pytest.approx(0, abs=1e-6)


@given(rectangles, st.floats(0.5, 2), st.floats(0.5, 2))
def test_a_rectangle_that_resampling_skewed_keeps_center_and_area(box: OrientedBox, x: float, y: float) -> None:
    corners = scaled_corners(corners_of(box), x, y)
    found = oriented_box_of(corners)
    assert found[:2] == pytest.approx((box.center_x * x, box.center_y * y), abs=1e-6)
    assert found.width * found.height == pytest.approx(shape_of(corners).area)


@pytest.mark.parametrize("angle", [0, 90, -180, 270])
def test_quarter_turns_are_upright(angle: float) -> None:
    box = OrientedBox(5, 5, 4, 2, angle)
    assert box.is_upright
    assert not OrientedBox(5, 5, 4, 2, angle + 1).is_upright
    assert oriented_box_of(corners_of(box)).angle == pytest.approx(0, abs=1e-9)


def test_corners_move_with_the_image() -> None:
    corners = as_corners([(1, 2), (3, 2), (3, 5), (1, 5)])
    assert moved_corners(corners, 10, 20) == ((11, 22), (13, 22), (13, 25), (11, 25))
    assert scaled_corners(corners, 2, 3) == ((2, 6), (6, 6), (6, 15), (2, 15))


@pytest.mark.parametrize(
    "points", [[], [(0, 0)] * 3, [(0, 0, 0)] * 4, [(0, 0), (1, 0), (1, math.nan), (0, 1)], [(0, math.inf)] * 4]
)
def test_what_is_no_four_points_is_refused(points: list[tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="four corners"):
        as_corners(points)


@pytest.mark.parametrize("points", [[(1, 1)] * 4, [(0, 0), (1, 1), (2, 2), (3, 3)]])
def test_corners_without_an_area_are_no_rectangle(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="no area"):
        oriented_box_of(points)


@given(rectangles, rectangles, st.booleans())
def test_shared_areas_are_those_of_shapely(one: OrientedBox, other: OrientedBox, backwards: bool) -> None:
    first, second = corners_of(one), corners_of(other)
    expected = shape_of(first).intersection(shape_of(second)).area
    second = as_corners(second[:: -1 if backwards else 1])
    assert shared_area(first, second) == pytest.approx(expected, rel=1e-6, abs=1e-5)
    assert shared_area(second, first) == pytest.approx(expected, rel=1e-6, abs=1e-5)


@given(st.tuples(places, places, sides, sides), st.floats(-1e6, 1e6))
def test_a_polygon_shares_all_of_itself_wherever_it_is(numbers: tuple[float, ...], far: float) -> None:
    x, y, width, height = numbers
    corners = box_corners((x + far, y, x + far + width, y + height))
    assert is_clockwise(corners)
    assert shared_area(corners, corners) == pytest.approx(width * height, rel=1e-6)
    assert np.isclose(shared_area(corners, moved_corners(corners, width * 2, 0)), 0)
