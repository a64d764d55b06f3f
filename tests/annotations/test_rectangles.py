# SPDX-License-Identifier: Apache-2.0
"""Turned rectangles are told from other polygons, and clipped to windows as shapely clips them."""

from __future__ import annotations

import math

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geodit.annotations.rectangles import (
    Corners,
    clip_to_frame,
    polygon_area,
    surrounding_rectangle,
    turned_corners,
)

places = st.floats(-50, 50)
sides = st.floats(3, 40)


def rectangle(x: float, y: float, width: float, height: float, degrees: float, clockwise: bool = True) -> Corners:
    angle = math.radians(degrees)
    u, v = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    ends = ((0, 0), (width, 0), (width, height), (0, height))
    points = [(x + a * u[0] + b * v[0], y + a * u[1] + b * v[1]) for a, b in ends]
    first, second, third, fourth = points if clockwise else points[::-1]
    return first, second, third, fourth


rectangles = st.builds(rectangle, places, places, sides, sides, st.floats(0, 360), st.booleans())


@pytest.mark.parametrize("degrees", [20, 45, 110, 250])
def test_a_turned_rectangle_keeps_its_corners(degrees: float) -> None:
    corners = rectangle(10, 20, 30, 12, degrees)
    assert turned_corners(corners) == corners


@pytest.mark.parametrize(
    "points",
    [
        rectangle(10, 20, 30, 12, 90),
        rectangle(10, 20, 30, 12, 1),  # off its upright box by half a pixel
        ((0, 0), (20, 5), (25, 25), (5, 20)),  # a rhombus
        ((0, 0), (20, 10), (30, 10), (5, 20)),
        ((0, 0), (20, 10), (10, 30)),
        ((0, 0), (20, 10), (math.nan, 30), (-10, 20)),
    ],
)
def test_other_polygons_are_upright_boxes(points: Corners) -> None:
    assert turned_corners(points) is None


@given(rectangles, places, places, sides, sides)
def test_clips_as_shapely_does(corners: Corners, left: float, top: float, width: float, height: float) -> None:
    frame = (left, top, left + width, top + height)
    expected = shapely.Polygon(corners).intersection(shapely.box(*frame))
    clipped = clip_to_frame(corners, frame)
    assert polygon_area(clipped) == pytest.approx(expected.area, abs=1e-6)
    assert all(left - 1e-9 <= x <= left + width + 1e-9 for x, _ in clipped)


@given(rectangles)
def test_the_rectangle_around_its_own_corners_is_itself(corners: Corners) -> None:
    again = surrounding_rectangle(corners, corners)
    assert all(math.dist(a, b) < 1e-6 for a, b in zip(corners, again, strict=True))


@given(rectangles, st.lists(st.tuples(places, places), min_size=3, max_size=8))
def test_the_rectangle_around_points_holds_them_and_is_turned_as_the_other(
    corners: Corners, points: list[tuple[float, float]]
) -> None:
    around = surrounding_rectangle(points, corners)
    held = shapely.Polygon(around).buffer(1e-6)
    assert all(held.intersects(shapely.Point(point)) for point in points)
    (ax, ay), (bx, by), *_ = around
    (cx, cy), (dx, dy), *_ = corners
    assert (bx - ax) * (dy - cy) - (by - ay) * (dx - cx) == pytest.approx(0, abs=1e-6)
    assert (bx - ax) * (dx - cx) + (by - ay) * (dy - cy) >= 0
