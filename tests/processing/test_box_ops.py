# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.processing.box_ops import as_boxes, box_area, box_iou, match_boxes


def boxes(max_size=5):
    """Lists of boxes on a grid of halves, where areas are exact in floating point."""
    corner = st.integers(0, 40).map(lambda value: value / 2)
    box = st.tuples(corner, corner, corner, corner)
    return st.lists(
        box.map(lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])]),
        max_size=max_size,
    )


def test_area_is_continuous_without_a_pixel_added():
    assert box_area([[0, 0, 10, 10], [2.5, 0, 3, 4]]).tolist() == [100, 2]


def test_iou_by_hand():
    iou = box_iou([[0, 0, 10, 10]], [[0, 0, 10, 10], [0, 0, 5, 10], [5, 5, 15, 15], [20, 20, 30, 30]])
    np.testing.assert_allclose(iou, [[1, 0.5, 25 / 175, 0]])


def test_boxes_that_only_touch_do_not_overlap():
    assert box_iou([[0, 0, 10, 10]], [[10, 0, 20, 10]]).item() == 0


def test_a_box_without_area_overlaps_nothing():
    assert box_iou([[5, 5, 5, 9]], [[5, 5, 5, 9], [0, 0, 10, 10]]).tolist() == [[0, 0]]


@pytest.mark.parametrize(("first", "second", "shape"), [([], [], (0, 0)), ([], [[0, 0, 1, 1]], (0, 1))])
def test_no_boxes(first, second, shape):
    assert box_iou(first, second).shape == shape
    assert box_area(first).shape == (len(first),)


@given(boxes(), boxes())
def test_iou_is_symmetric_and_at_most_one(first, second):
    iou = box_iou(first, second)
    assert iou.shape == (len(first), len(second))
    assert np.array_equal(iou, box_iou(second, first).T)
    assert ((iou >= 0) & (iou <= 1)).all()


@given(boxes())
def test_a_box_with_area_overlaps_itself_fully(some_boxes):
    iou = np.diagonal(box_iou(some_boxes, some_boxes))
    assert np.array_equal(iou, (box_area(some_boxes) > 0).astype(float))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([0, 0, 1, 1], r"shape \(N, 4\)"),
        ([[0, 0, 1]], r"shape \(N, 4\)"),
        ([[0, 0, 1, 1], [5, 0, 1, 1]], "box 1 is"),
        ([[0, 5, 1, 1]], "y1 <= y2"),
        ([[0, 0, float("nan"), 1]], "finite"),
        ([[0, 0, float("inf"), 1]], "finite"),
    ],
)
def test_malformed_boxes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        as_boxes(wrong)


def test_the_best_pair_is_matched_first_and_no_box_twice():
    iou = np.array([[0.6, 0.9], [0.0, 0.8]])
    assert match_boxes(iou) == [(0, 1), (1, 0)]
    assert match_boxes(iou, min_iou=0.5) == [(0, 1)]


def test_boxes_are_matched_in_the_order_given():
    iou = np.array([[0.6, 0.9], [0.0, 0.8]])
    assert match_boxes(iou, min_iou=0.5, order=[1, 0]) == [(1, 1), (0, 0)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (3, 0)])
@pytest.mark.parametrize("ordered", [False, True])
def test_nothing_is_matched_where_there_is_no_box(shape, ordered):
    assert match_boxes(np.zeros(shape), order=range(shape[0]) if ordered else None) == []


@given(boxes(), boxes(), st.sampled_from([0.0, 0.1, 0.5]))
def test_no_pair_is_left_that_could_be_matched(first, second, min_iou):
    iou = box_iou(first, second)
    pairs = match_boxes(iou, min_iou)
    rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
    assert len(rows) == len(columns) == len(pairs)
    matched = [iou[pair] for pair in pairs]
    assert matched == sorted(matched, reverse=True)
    left = [iou[i, j] for i in range(len(first)) for j in range(len(second)) if i not in rows and j not in columns]
    assert all(value < min_iou for value in left)
