# SPDX-License-Identifier: Apache-2.0
"""Detections that the tile which sees their place best has not found are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.data.windows import Window
from geodit.pipelines.confirmation import leave_out_unconfirmed
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.tiling import Box, Detection, tile_windows
from geodit.processing.polygons import surrounding_box
from geodit.processing.turned_boxes_geodit import OrientedBox, corners_of

# Tiles of 64 pixels at 0, 32, 64 and 96: a place is seen by up to four of them, side by side.
IMAGE_SIZE = (64, 160)
WINDOWS = dict(enumerate(tile_windows(IMAGE_SIZE, 64, 0.5)))
OPTIONS = MergeOptions()

SQUARE: Box = (44.0, 20.0, 52.0, 28.0)  # 12 pixels from the edges of tile 0 and of tile 1
MIDDLE: Box = (60.0, 20.0, 68.0, 28.0)  # in the middle of tile 1, and off the edge of tile 0


def ship(box: Box, tile: int | None, label: str = "ship") -> Detection:
    return Detection(box, label, 0.5, tile=tile)


def kept(detections: Sequence[Detection], options: MergeOptions = OPTIONS) -> list[Detection]:
    return leave_out_unconfirmed(detections, WINDOWS, IMAGE_SIZE, options)


def test_what_the_best_tile_has_found_is_kept() -> None:
    assert kept([ship(MIDDLE, 1)]) == [ship(MIDDLE, 1)]


def test_what_only_another_tile_has_found_is_left_out() -> None:
    # It lies 4 pixels from the edge of tile 2 and 28 from those of tile 1.
    near_edge = (68.0, 20.0, 76.0, 28.0)
    assert kept([ship(near_edge, 2)]) == []
    assert kept([ship(near_edge, 2), ship(near_edge, 1)]) == [ship(near_edge, 2), ship(near_edge, 1)]


def test_a_match_with_another_label_confirms_nothing() -> None:
    near_edge = (68.0, 20.0, 76.0, 28.0)
    found = [ship(near_edge, 2), ship(near_edge, 1, "dock")]
    assert kept(found) == found[1:]


@pytest.mark.parametrize(("match", "is_kept"), [("ios", True), ("iou", False)])
def test_the_match_is_that_of_the_merge(match: str, is_kept: bool) -> None:
    part, whole = ship((66.0, 20.0, 70.0, 28.0), 2), ship((58.0, 20.0, 78.0, 28.0), 1)
    options = MergeOptions(match="ios" if match == "ios" else "iou")
    assert (part in kept([part, whole], options)) == is_kept


def test_a_turned_ship_is_not_confirmed_by_the_one_next_to_it() -> None:
    lies, next_to_it = (corners_of(OrientedBox(x, 32, 24, 4, 45)) for x in (74, 80))
    found = [
        Detection(surrounding_box(lies), "ship", 0.5, tile=2, corners=lies),
        Detection(surrounding_box(next_to_it), "ship", 0.5, tile=1, corners=next_to_it),
    ]
    assert kept(found) == found[1:]
    upright = [replace(one, corners=None) for one in found]
    assert kept(upright) == upright


def test_of_two_tiles_that_see_it_equally_well_each_confirms_itself() -> None:
    assert kept([ship(SQUARE, 0)]) == [ship(SQUARE, 0)]
    assert kept([ship(SQUARE, 1)]) == [ship(SQUARE, 1)]


def test_the_edge_of_the_image_is_no_edge_of_a_tile() -> None:
    at_border = (0.0, 0.0, 8.0, 8.0)
    assert kept([ship(at_border, 0)]) == [ship(at_border, 0)]


def test_what_does_not_say_its_tile_is_kept() -> None:
    assert kept([ship(MIDDLE, None)]) == [ship(MIDDLE, None)]


@pytest.mark.parametrize("tile", [0, 99])
def test_an_object_that_no_tile_shows_whole_is_kept(tile: int) -> None:
    """Also one that only a look at the whole image, which is no tile, has found."""
    large = (10.0, 5.0, 150.0, 60.0)
    assert kept([ship(large, tile)]) == [ship(large, tile)]


def test_a_look_at_the_whole_image_is_confirmed_by_the_best_tile() -> None:
    assert kept([ship(MIDDLE, 99)]) == []
    assert kept([ship(MIDDLE, 99), ship(MIDDLE, 1)]) == [ship(MIDDLE, 99), ship(MIDDLE, 1)]


def test_without_tiles_nothing_is_left_out() -> None:
    assert leave_out_unconfirmed([ship(MIDDLE, 99)], {}, IMAGE_SIZE, OPTIONS) == [ship(MIDDLE, 99)]
    assert kept([]) == []


def inside(box: Box, window: Window) -> bool:
    x1, y1, x2, y2 = box
    top, left, height, width = window
    return left <= x1 and top <= y1 and x2 <= left + width and y2 <= top + height


@st.composite
def found_in_tiles(draw: st.DrawFn) -> list[Detection]:
    """Boxes anywhere in the tile that has found them."""
    found = []
    for _ in range(draw(st.integers(1, 10))):
        tile = draw(st.sampled_from(sorted(WINDOWS)))
        left = WINDOWS[tile].left
        x1, y1 = draw(st.integers(0, 60)), draw(st.integers(0, 60))
        x2, y2 = draw(st.integers(x1 + 1, 64)), draw(st.integers(y1 + 1, 64))
        box = (float(left + x1), float(y1), float(left + x2), float(y2))
        found.append(ship(box, tile, draw(st.sampled_from(["ship", "dock"]))))
    return found


@given(found_in_tiles(), st.sampled_from(["ios", "iou"]))
def test_agrees_with_its_definition(found: list[Detection], match: str) -> None:
    options = MergeOptions(match="ios" if match == "ios" else "iou")
    assert kept(found, options) == [one for one in found if is_confirmed(one, found, options)]


def is_confirmed(one: Detection, found: Sequence[Detection], options: MergeOptions) -> bool:
    assert one.tile is not None
    depths = {tile: depth(one.box, window) for tile, window in WINDOWS.items()}
    if depths[one.tile] >= max(depths.values()) or max(depths.values()) <= 0:
        return True
    best = max(depths, key=lambda tile: (depths[tile], -tile))
    return any(other.tile == best and other.label == one.label and matches(one, other, options) for other in found)


def depth(box: Box, window: Window) -> float:
    """How far a box lies from the edges of a tile beyond which the image goes on."""
    x1, y1, x2, y2 = box
    right, bottom = window.left + window.width, window.top + window.height
    return min(
        x1 - window.left if window.left > 0 else math.inf,
        y1 - window.top if window.top > 0 else math.inf,
        right - x2 if right < IMAGE_SIZE[1] else math.inf,
        bottom - y2 if bottom < IMAGE_SIZE[0] else math.inf,
    )


def matches(one: Detection, other: Detection, options: MergeOptions) -> bool:
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    if width <= 0 or height <= 0:
        return False
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one.box, other.box)]
    whole = min(areas) if options.match == "ios" else sum(areas) - width * height
    return width * height >= options.threshold * whole


@given(found_in_tiles())
def test_what_only_one_tile_shows_is_kept(found: list[Detection]) -> None:
    alone = [one for one in found if sum(inside(one.box, window) for window in WINDOWS.values()) == 1]
    remaining = kept(found)
    assert all(one in remaining for one in alone)


@given(found_in_tiles(), st.randoms(use_true_random=False))
def test_the_order_of_detections_does_not_matter(found: list[Detection], random: Random) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    assert sorted(map(repr, kept(shuffled))) == sorted(map(repr, kept(found)))


def test_the_order_of_tiles_does_not_matter() -> None:
    found = [ship(SQUARE, 2), ship(SQUARE, 0), ship((68.0, 20.0, 76.0, 28.0), 2)]
    backwards = dict(reversed(WINDOWS.items()))
    assert leave_out_unconfirmed(found, backwards, IMAGE_SIZE, OPTIONS) == kept(found) == found[:2]
