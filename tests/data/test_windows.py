# SPDX-License-Identifier: Apache-2.0
"""Windows that cover an image, and the boxes seen in them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.data.windows import Window, boxes_in_window, window_grid


def test_last_window_is_moved_back_to_the_edge() -> None:
    lefts = [window.left for window in window_grid((96, 250), size=96, stride=96)]
    assert lefts == [0, 96, 154]


def test_small_image_is_one_window_of_its_own_size() -> None:
    assert window_grid((40, 60), size=96, stride=48) == [Window(0, 0, 40, 60)]


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    size=st.integers(1, 40),
    data=st.data(),
)
def test_windows_cover_every_pixel_and_stay_inside(height: int, width: int, size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size))
    seen = np.zeros((height, width), dtype=int)
    windows = window_grid((height, width), size, stride)
    for top, left, rows, columns in windows:
        assert top >= 0
        assert left >= 0
        assert top + rows <= height
        assert left + columns <= width
        seen[top : top + rows, left : left + columns] += 1
    assert seen.min() >= 1
    assert len(set(windows)) == len(windows)


@pytest.mark.parametrize(
    ("image_size", "size", "stride", "named"),
    [
        ((0, 5), 3, 1, "image_size"),
        ((5, 5), 0, 1, "side"),
        ((5, 5), 3, 0, "stride"),
        ((5, 5), 3, 4, "stride"),
    ],
)
def test_impossible_grids_are_refused(image_size: tuple[int, int], size: int, stride: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        window_grid(image_size, size, stride)


def test_boxes_are_clipped_and_moved_to_the_window() -> None:
    boxes, seen = boxes_in_window([[5, 15, 25, 35]], Window(top=10, left=10, height=20, width=20))
    assert seen.tolist() == [0]
    assert boxes.tolist() == [[0, 5, 15, 20]]


def test_boxes_need_half_of_their_area_inside() -> None:
    window = Window(0, 0, 10, 10)
    boxes = [[5, 0, 15, 4], [6, 0, 16, 4], [20, 20, 30, 30], [3, 3, 3, 8]]
    clipped, seen = boxes_in_window(boxes, window)
    assert seen.tolist() == [0]
    assert clipped.tolist() == [[5, 0, 10, 4]]
    assert boxes_in_window(boxes, window, min_visible=0.4)[1].tolist() == [0, 1]


def test_no_boxes() -> None:
    clipped, seen = boxes_in_window(np.zeros((0, 4)), Window(0, 0, 10, 10))
    assert clipped.shape == (0, 4)
    assert seen.size == 0
