# SPDX-License-Identifier: Apache-2.0
"""Tiles, and one detection for each object whatever the number of tiles that saw it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.data.windows import Window
from geodit.pipelines.tiling import (
    Detection,
    merge_detections,
    non_maximum_suppression,
    tile_windows,
    to_image,
)


@given(height=st.integers(1, 300), width=st.integers(1, 300), overlap=st.sampled_from([0.0, 0.25, 0.5]))
def test_objects_up_to_the_overlap_are_whole_in_some_tile(height: int, width: int, overlap: float) -> None:
    windows = tile_windows((height, width), 64, overlap)
    side = min(int(64 * overlap), height, width)
    rng = np.random.default_rng(height * 1000 + width)
    for _ in range(20):
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        assert any(
            window.top <= top
            and window.left <= left
            and top + side <= window.top + window.height
            and left + side <= window.left + window.width
            for window in windows
        )


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_overlap_must_leave_a_stride(overlap: float) -> None:
    with pytest.raises(ValueError, match="overlap"):
        tile_windows((100, 100), 64, overlap)


def brute_force(boxes: list[list[float]], scores: list[float], threshold: float) -> list[int]:
    """The definition: a box stays if no better box that stays has too much in common with it."""
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda place: (-scores[place], place)):
        ax1, ay1, ax2, ay2 = boxes[index]
        for other in kept:
            bx1, by1, bx2, by2 = boxes[other]
            shared = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
            smaller = min((ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1))
            if shared > 0 and shared >= threshold * smaller:
                break
        else:
            kept.append(index)
    return kept


coordinates = st.integers(0, 12)
boxes_strategy = st.lists(
    st.tuples(coordinates, coordinates, coordinates, coordinates, st.integers(0, 4)), max_size=12
)


@given(boxes_strategy, st.sampled_from([0.25, 0.5, 1.0]))
def test_suppression_agrees_with_its_definition(rows: list[tuple[int, int, int, int, int]], threshold: float) -> None:
    boxes = [[float(v) for v in (min(a, c), min(b, d), max(a, c), max(b, d))] for a, b, c, d, _ in rows]
    scores = [score / 4 for *_, score in rows]
    assert non_maximum_suppression(boxes, scores, threshold).tolist() == brute_force(boxes, scores, threshold)


@pytest.mark.parametrize(
    ("boxes", "scores", "threshold", "named"),
    [
        ([[0, 0, 1, 1]], [], 0.5, "one score a box"),
        ([[0, 0, 1, 1]], [float("nan")], 0.5, "finite"),
        ([[0, 0, 1, 1]], [0.5], 0.0, "threshold"),
        ([[0, 0, 1, 1]], [0.5], 1.5, "threshold"),
        ([[1, 0, 0, 1]], [0.5], 0.5, "x1 <= x2"),
    ],
)
def test_bad_arguments(boxes: list[list[float]], scores: list[float], threshold: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        non_maximum_suppression(boxes, scores, threshold)


def test_boxes_move_to_the_image_and_know_whether_they_are_cut() -> None:
    window, image_size = Window(top=0, left=50, height=64, width=64), (64, 200)

    def moved(*box: float) -> Detection:
        return to_image(Detection(box, "ship", 0.5), window, image_size, margin=1.0)  # type: ignore[arg-type]

    assert moved(10, 10, 20, 20) == Detection((60, 10, 70, 20), "ship", 0.5, cut=False)
    assert moved(0.5, 10, 20, 20).cut
    assert moved(40, 10, 64, 20).cut
    # The image itself ends there.
    assert not moved(10, 0, 20, 64).cut


def test_whole_object_wins_over_its_surer_part() -> None:
    whole = Detection((0, 0, 40, 20), "ship", 0.6)
    part = Detection((0, 0, 24, 20), "ship", 0.9, cut=True)
    assert merge_detections([part, whole]) == [whole]


def test_labels_do_not_suppress_each_other() -> None:
    ship, dock = Detection((0, 0, 40, 20), "ship", 0.6), Detection((0, 0, 40, 20), "dock", 0.9)
    assert merge_detections([ship, dock]) == [dock, ship]


def test_nothing_to_merge() -> None:
    assert merge_detections([]) == []
