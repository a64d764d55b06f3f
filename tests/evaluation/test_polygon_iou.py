# SPDX-License-Identifier: Apache-2.0
"""IoU of turned boxes."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geodit.evaluation.metrics.polygon_iou import polygon_iou
from geodit.processing.box_ops import box_iou
from geodit.processing.polygons import surrounding_box
from geodit.processing.turned_boxes_geodit import OrientedBox, corners_of

oriented = st.builds(
    lambda x, y, width, height, angle: OrientedBox(x, y, width, height, angle),
    *(st.floats(0, 60, allow_nan=False),) * 2,
    *(st.floats(1, 40, allow_nan=False),) * 2,
    st.floats(-180, 180),
)
upright = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 30)] * 2).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


def test_a_square_and_the_same_square_turned_by_45_degrees():
    # They share a regular octagon. Of a square of side 1 each of four corners loses a triangle of height
    # (sqrt(2) - 1) / 2, whose area is the height squared.
    square, turned = OrientedBox(5, 5, 1, 1, 0), corners_of(OrientedBox(5, 5, 1, 1, 45))
    shared = 1 - 4 * ((math.sqrt(2) - 1) / 2) ** 2
    iou = polygon_iou([[4.5, 4.5, 5.5, 5.5]], [], [surrounding_box(turned)], [turned])
    assert iou[0, 0] == pytest.approx(shared / (2 - shared))
    assert polygon_iou([[4.5, 4.5, 5.5, 5.5]], [corners_of(square)], [[4.5, 4.5, 5.5, 5.5]], [None])[0, 0] == 1


@settings(deadline=None)
@given(oriented, oriented)
def test_it_is_that_of_shapely(first, second):
    corners = [corners_of(first)], [corners_of(second)]
    boxes = [[surrounding_box(one[0])] for one in corners]
    mine = polygon_iou(boxes[0], corners[0], boxes[1], corners[1])[0, 0]
    polygons = [shapely.Polygon(one[0]) for one in corners]
    expected = polygons[0].intersection(polygons[1]).area / polygons[0].union(polygons[1]).area
    assert mine == pytest.approx(expected, abs=1e-9)


@given(st.lists(upright, max_size=4), st.lists(upright, max_size=4))
def test_it_is_that_of_boxes_where_none_is_turned(first, second):
    assert polygon_iou(first, [None] * len(first), second, []) == pytest.approx(box_iou(first, second))
    assert polygon_iou(first, [], second, []).shape == (len(first), len(second))


def test_a_box_without_area_overlaps_nothing():
    flat = [0.0, 0.0, 10.0, 0.0]
    assert polygon_iou([flat], [], [flat, [0, 0, 10, 10]], []).tolist() == [[0, 0]]
    line = ((0.0, 0.0), (10.0, 10.0), (10.0, 10.0), (0.0, 0.0))
    assert np.isfinite(polygon_iou([[0, 0, 10, 10]], [line], [[0, 0, 10, 10]], [])).all()


def test_corners_are_of_every_box_or_of_none():
    with pytest.raises(ValueError, match="there are 1 boxes but corners of 2"):
        polygon_iou([[0, 0, 1, 1]], [None, None], [], [])
