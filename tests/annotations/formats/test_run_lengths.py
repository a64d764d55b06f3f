# SPDX-License-Identifier: Apache-2.0
"""Boxes of masks are those of pycocotools, and what is no mask is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from geodit.annotations.formats.run_lengths import box_of_mask

MASKS = arrays.arrays(
    np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans(), fill=st.booleans()
).filter(np.any)


def lengths(mask):
    """The runs of a mask, in turn of zeros and ones, column by column."""
    runs, last = [0], False
    for value in mask.T.reshape(-1):
        if value == last:
            runs[-1] += 1
        else:
            runs.append(1)
        last = value
    return runs


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@given(MASKS)
def test_the_box_is_around_the_mask(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    assert box_of_mask(text) == box_of_mask({"size": list(mask.shape), "counts": lengths(mask)}) == box_of(mask)


def test_long_runs_are_decoded():
    mask = np.zeros((700, 900), np.uint8, order="F")
    mask[100:650, 30:800] = 1
    mask[300:310, 50:60] = 0
    encoded = coco_mask.encode(mask)
    assert box_of_mask({"size": encoded["size"], "counts": encoded["counts"].decode()}) == (30, 100, 800, 650)


@given(st.text(st.characters(codec="ascii"), max_size=30), st.integers(0, 9), st.integers(0, 9))
def test_any_other_text_is_refused(text, height, width):
    try:
        x1, y1, x2, y2 = box_of_mask({"size": [height, width], "counts": text})
    except ValueError:
        return
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ([4, 4], [3, 5]),
        ([4, 4], [16]),
        ([4, 4], [-3, 19]),
        ([4, 4], [8.0, 8]),
        ([4, 4], None),
        ([4, 4], "0P"),
        ([0, 4], [0]),
        ([2**40, 2**40], [0, 2**80]),
        ([4], [8, 8]),
        ("44", [8, 8]),
    ],
)
def test_what_is_no_mask_is_refused(size, counts):
    with pytest.raises(ValueError, match=r"mask|numbers"):
        box_of_mask({"size": size, "counts": counts})
