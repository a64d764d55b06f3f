# SPDX-License-Identifier: Apache-2.0
"""Training sees few tiles without an object; validation and test see no pixel twice."""

from hypothesis import given
from hypothesis import strategies as st

from geodit.annotations.records import LabeledObject
from geodit.annotations.thinning import without_empty, without_repeats
from geodit.annotations.tiles import LabeledTile
from geodit.data.windows import Window, window_grid

SHIP = LabeledObject("ship", (1, 1, 2, 2))
FIRST = Window(0, 0, 32, 32)


def tile(image="a.tif", window=FIRST, **more):
    return LabeledTile(image, "a.json", window, (window.height, window.width), **more)


@given(st.integers(0, 30), st.integers(0, 60), st.floats(0, 1), st.integers(0, 3))
def test_a_share_of_the_training_tiles_is_empty_at_most(ships, empties, share, seed):
    tiles = [tile(objects=(SHIP,))] * ships + [tile()] * empties
    splits = without_empty(tiles, ["train"] * len(tiles), share, seed)
    kept = sum(name is not None for name in splits[ships:])
    assert all(name == "train" for name in splits[:ships])
    if ships and share < 1:
        assert kept <= share * (ships + kept) + 1e-6
        assert kept == empties or kept + 1 > share * (ships + kept + 1) - 1e-6
    else:
        assert kept == empties  # nothing to weigh them against


def test_the_same_tiles_are_left_out_again():
    tiles = [tile(objects=(SHIP,))] * 9 + [tile()] * 20
    first, again, other = (without_empty(tiles, ["train"] * 29, 0.5, seed) for seed in (0, 0, 1))
    assert first == again != other


def test_only_training_does_without_and_only_without_what_says_nothing():
    ship = tile(objects=(SHIP,))
    cut, partly = tile(cut_labels=frozenset({"ship"})), tile(partial_labels=frozenset({"ship"}))
    tiles = [ship, tile(), tile(captions=("a field",)), tile(category="field"), cut, partly, tile()]
    splits = ["train"] * 6 + ["test"]
    assert without_empty(tiles, splits, 0.0, 0) == ("train", None, "train", "train", "train", "train", "test")


def test_a_tile_that_is_in_no_split_stays_in_none():
    assert without_empty([tile(), tile(objects=(SHIP,))], [None, "train"], 0.5, 0) == (None, "train")


def test_held_out_tiles_share_no_pixel():
    windows = list(window_grid((100, 100), 32, 16))
    tiles = [tile(window=window) for window in windows] + [tile("b.tif")]
    splits = without_repeats(tiles, ["test"] * len(tiles))
    kept = [window for window, name in zip(windows, splits, strict=False) if name is not None]
    assert {(window.top, window.left) for window in kept} >= {(0, 0), (0, 32), (32, 0), (32, 32)}
    seen = set()
    for window in kept:
        pixels = {(window.top + row, window.left + column) for row in range(32) for column in range(32)}
        assert not pixels & seen
        seen |= pixels
    assert splits[-1] == "test"  # of another image


def test_training_may_see_a_pixel_twice_and_splits_do_not_mind_each_other():
    tiles = [tile(), tile(), tile(), tile(only_text=True)]
    assert without_repeats(tiles, ["train", "train", "test", "test"]) == ("train", "train", "test", "test")
