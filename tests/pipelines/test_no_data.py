# SPDX-License-Identifier: Apache-2.0
"""No box lies where an image has no data."""

import numpy as np
import pytest

from geodit.pipelines.no_data import clip_to_data
from geodit.pipelines.tiling import Detection

VALID = np.ones((40, 60), dtype=bool)
VALID[:, :20] = False


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((25.5, 3.0, 40.0, 9.0), (25.5, 3.0, 40.0, 9.0)),  # all of it has data
        ((1.0, 3.0, 15.0, 9.0), None),  # nothing of it has
        ((10.0, 3.0, 25.0, 9.0), None),  # a third of it has
        ((12.0, 3.0, 40.0, 9.0), (20.0, 3.0, 40.0, 9.0)),  # most of it has: the rest is cut off
    ],
)
def test_boxes_are_clipped_to_the_data_or_left_out(box, expected):
    found = clip_to_data([Detection(box, "ship", 0.5)], VALID)
    assert [one.box for one in found] == ([] if expected is None else [expected])


def test_with_data_everywhere_boxes_stay():
    detections = (Detection((0.0, 0.0, 1.0, 1.0), "ship", 0.5),)
    assert clip_to_data(detections, None) == detections
