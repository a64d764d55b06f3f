# SPDX-License-Identifier: Apache-2.0
"""Tiles, and which boxes their edges cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.data.windows import Window
from geodit.pipelines.tiling import Detection, Edges, tile_windows, to_image


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


def test_boxes_move_to_the_image_and_know_whether_they_are_cut() -> None:
    window, image_size = Window(top=0, left=50, height=64, width=64), (64, 200)

    def moved(*box: float) -> Detection:
        return to_image(Detection(box, "ship", 0.5), window, image_size, margin=1.0)  # type: ignore[arg-type]

    assert moved(10, 10, 20, 20) == Detection((60, 10, 70, 20), "ship", 0.5)
    assert moved(0.5, 10, 20, 20).cut_edges == Edges(left=True)
    assert moved(40, 10, 64, 20).cut_edges == Edges(right=True)
    # The image itself ends there.
    assert not moved(10, 0, 20, 64).cut
