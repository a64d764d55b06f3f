# SPDX-License-Identifier: Apache-2.0
"""Splits do not leak: what belongs together stays together, and by area no pixel is in two splits."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geodit.annotations.footprints import locate_tiles, shared_area
from geodit.annotations.records import LabeledObject
from geodit.annotations.splits import SplitAssignment, assign_splits
from geodit.annotations.tiles import LabeledTile
from geodit.data.windows import Window, window_grid
from geodit.rasters.georeference import GeoReference

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
SHIP = LabeledObject("ship", (1, 1, 2, 2))
UTM = GeoReference("EPSG:32631", (0.5, 0.0, 590000.0, 0.0, -0.5, 5755000.0))


FIRST = Window(0, 0, 32, 32)


def tile(image: str = "a.tif", window: Window = FIRST, **more: Any) -> LabeledTile:
    return LabeledTile(image, "a.json", window, (window.height, window.width), **{"group": image, **more})


def grid(
    image: str, size: tuple[int, int], side: int, stride: int, place: GeoReference | None = None
) -> list[LabeledTile]:
    return [
        tile(image, window, place=None if place is None else place.window(window))
        for window in window_grid(size, side, stride)
    ]


def by_split(tiles: Sequence[LabeledTile], found: SplitAssignment) -> dict[str, list[LabeledTile]]:
    result = defaultdict(list)
    for one, name in zip(tiles, found.splits, strict=True):
        if name is not None:
            result[name].append(one)
    return result


def test_tiles_of_an_image_stay_together_and_shares_are_met() -> None:
    tiles = [one for number in range(50) for one in grid(f"{number}.tif", (64, 64), 32, 32)]
    found = assign_splits(tiles, SHARES)
    images = {name: {one.image for one in some} for name, some in by_split(tiles, found).items()}
    assert {name: len(some) for name, some in images.items()} == {"train": 40, "validation": 5, "test": 5}
    assert sum(len(some) for some in images.values()) == 50
    assert found.report.tiles == {"train": 160, "validation": 20, "test": 20}
    assert found.report.images == {"train": 40, "validation": 5, "test": 5}
    assert found.report.shared_images == 0


def test_one_image_by_two_names_is_one() -> None:
    tiles = [tile("a/b.tif"), tile("a/./b.tif"), tile("a/c/../b.tif"), tile("c.tif")]
    found = assign_splits(tiles, {"train": 0.5, "test": 0.5})
    assert len(set(found.splits[:3])) == 1
    assert set(found.splits) == {"train", "test"}


weights = st.lists(st.integers(1, 12), min_size=3, max_size=25)
some_shares = st.sampled_from([SHARES, {"train": 0.5, "test": 0.5}, {"train": 0.7, "validation": 0.0, "test": 0.3}])


@given(weights, some_shares, st.integers(0, 3), st.randoms(use_true_random=False))
def test_splits_by_group_keep_groups_whole_and_do_not_depend_on_the_order(
    sizes: list[int], shares: dict[str, float], seed: int, shuffler: random.Random
) -> None:
    tiles = [
        tile(f"{number}-{part}.tif", group=f"site {number}")
        for number, size in enumerate(sizes)
        for part in range(size)
    ]
    found = assign_splits(tiles, shares, by="group", seed=seed)
    places = {one.group: set() for one in tiles}
    for one, name in zip(tiles, found.splits, strict=True):
        places[one.group].add(name)
    assert all(len(names) == 1 for names in places.values())
    wanted = {name: share for name, share in shares.items() if share}
    assert set(found.splits) == set(wanted)
    counts = Counter(found.splits)
    assert all(counts[name] <= share * len(tiles) + max(sizes) for name, share in wanted.items())

    order = list(range(len(tiles)))
    shuffler.shuffle(order)
    again = assign_splits([tiles[index] for index in order], shares, by="group", seed=seed)
    assert again.splits == tuple(found.splits[index] for index in order)
    assert again.report == found.report


def test_an_image_in_two_groups_joins_them() -> None:
    tiles = [tile("a.tif", group="1"), tile("a.tif", group="2"), tile("b.tif", group="2"), tile("c.tif", group="3")]
    found = assign_splits(tiles, {"train": 0.5, "test": 0.5}, by="group")
    assert len(set(found.splits[:3])) == 1
    assert found.splits[3] != found.splits[0]


def test_seeds_choose_other_images() -> None:
    tiles = [tile(f"{number}.tif") for number in range(30)]
    chosen = {assign_splits(tiles, SHARES, seed=seed).splits for seed in range(4)}
    assert len(chosen) == 4


@st.composite
def cut_images(draw: st.DrawFn) -> list[LabeledTile]:
    tiles = []
    for number in range(draw(st.integers(1, 2))):
        side = draw(st.integers(10, 30))
        size = (draw(st.integers(20, 120)), draw(st.integers(20, 120)))
        tiles += grid(f"{number}.png", size, side, draw(st.integers(side // 2, side)))
    return tiles


def gap(first: Window, second: Window) -> float:
    """The distance of two windows in pixels."""
    down = max(first.top - second.top - second.height, second.top - first.top - first.height, 0)
    across = max(first.left - second.left - second.width, second.left - first.left - first.width, 0)
    return float(np.hypot(down, across))


@given(cut_images(), st.integers(15, 50), st.sampled_from([0.0, 1.0, 7.0]), st.integers(0, 3), st.booleans())
def test_by_area_no_pixel_is_in_two_splits(
    tiles: list[LabeledTile], block_size: int, margin: float, seed: int, on_map: bool
) -> None:
    if on_map:
        # Two rasters of one place, as two dates are; half a meter to a pixel.
        tiles = [LabeledTile(**(vars(one) | {"place": UTM.window(one.window)})) for one in tiles]
    scale = 0.5 if on_map else 1.0
    shares = {"train": 0.6, "test": 0.4}
    try:
        found = assign_splits(
            tiles, shares, by="area", seed=seed, block_size=block_size * scale, margin=margin * scale
        )
    except ValueError as error:
        assume("choose a" not in str(error))
        raise
    assert set(found.splits) >= set(shares)
    # Pixels of one place: two rasters of the map, as two dates are, or one image.
    seen: dict[tuple[str, str], NDArray[np.bool_]] = defaultdict(lambda: np.zeros((130, 130), bool))
    kept = [(one, name) for one, name in zip(tiles, found.splits, strict=True) if name is not None]
    for one, name in kept:
        top, left, height, width = one.window
        seen["map" if on_map else one.image, name][top : top + height, left : left + width] = True
    for frame, _ in list(seen):
        assert not (seen[frame, "train"] & seen[frame, "test"]).any()
    for one, name in kept:
        for other, other_name in kept:
            if name != other_name and (on_map or one.image == other.image):
                assert gap(one.window, other.window) >= margin * (1 - 1e-5)
    assert shared_area(tiles, found.splits) == pytest.approx(0.0, abs=1e-9)
    assert found.report.left_out == found.splits.count(None)
    order = np.random.default_rng(seed).permutation(len(tiles)).tolist()
    again = assign_splits(
        [tiles[index] for index in order],
        shares,
        by="area",
        seed=seed,
        block_size=block_size * scale,
        margin=margin * scale,
    )
    assert again.splits == tuple(found.splits[index] for index in order)


def test_of_tiles_that_overlap_those_of_the_smaller_split_are_kept() -> None:
    # Two blocks with the middles of three tiles each, which overlap by half.
    tiles = grid("a.tif", (64, 224), 64, 32)
    found = assign_splits(tiles, {"train": 0.6, "test": 0.4}, by="area", block_size=97)
    assert [one.window.left for one in tiles] == [0, 32, 64, 96, 128, 160]
    one_way = ("train", "train", None, "test", "test", "test")
    assert found.splits in (one_way, one_way[::-1])
    assert found.report.left_out == 1
    assert found.report.shared_images == 1


def test_tiles_that_fit_into_blocks_are_all_kept() -> None:
    tiles = grid("a.tif", (256, 256), 32, 32, UTM)
    found = assign_splits(tiles, SHARES, by="area", block_size=32)  # meters: 64 pixels
    assert found.report.left_out == 0
    assert found.report.on_map
    # Sixteen blocks of four tiles.
    assert found.report.tiles == {"train": 52, "validation": 8, "test": 4}


def test_without_a_block_size_one_is_four_tiles_long() -> None:
    tiles = grid("a.tif", (512, 512), 32, 32)
    assert assign_splits(tiles, SHARES, by="area").report.block_size == 128
    on_map = grid("a.tif", (512, 512), 32, 32, UTM)
    assert assign_splits(on_map, SHARES, by="area").report.block_size == pytest.approx(64)


def test_a_whole_image_gives_way_to_the_tiles_of_other_splits() -> None:
    tiles = [*grid("a.tif", (256, 256), 32, 32), tile("a.tif", Window(0, 0, 256, 256), only_text=True)]
    found = assign_splits(tiles, SHARES, by="area", block_size=64)
    assert found.splits[-1] is None
    assert None not in found.splits[:-1]


def test_rasters_in_other_reference_systems_of_one_place_share_pixels() -> None:
    """Two zones of UTM, and degrees: the same ground is in one split."""
    import geopandas

    side = 32
    tiles = grid("a.tif", (256, 256), side, side, UTM)
    corner = geopandas.GeoSeries([shapely.Point(590000, 5755000)], crs="EPSG:32631")
    for crs, scale in (("EPSG:32632", 0.5), ("EPSG:4326", 5e-6)):
        point = corner.to_crs(crs)[0]
        place = GeoReference(crs, (scale, 0.0, point.x, 0.0, -scale, point.y))
        tiles += grid(f"{crs}.tif", (256, 256), side, side, place)
    found = assign_splits(tiles, {"train": 0.5, "test": 0.5}, by="area", block_size=32)
    assert found.report.left_out > 0
    assert shared_area(tiles, found.splits) == pytest.approx(0.0, abs=1e-5)
    # The same cut by image would leak.
    assert shared_area(tiles, assign_splits(tiles, {"train": 0.5, "test": 0.5}).splits) > 0.3


def test_distances_in_degrees_and_web_mercator_are_meters_on_the_ground() -> None:
    # At 60 degrees north Web Mercator has two meters to one on the ground.
    place = GeoReference("EPSG:3857", (1.0, 0.0, 1e6, 0.0, -1.0, 8399737.9))
    shapes = locate_tiles(grid("a.tif", (200, 200), 100, 100, place)).shapes
    assert np.sqrt(shapely.area(shapes)) == pytest.approx(np.full(4, 50.0), rel=5e-3)


def test_a_random_split_of_overlapping_tiles_leaks_and_its_share_is_measured() -> None:
    tiles = [tile("a.tif", Window(0, 0, 32, 32)), tile("a.tif", Window(0, 16, 32, 32)), tile("b.tif")]
    assert shared_area(tiles, ("train", "test", "test")) == pytest.approx(0.25)
    assert shared_area(tiles, ("train", None, "test")) == 0.0
    assert shared_area(tiles, ("train", "train", "train")) == 0.0
    # What two tiles show twice counts once.
    assert shared_area([*tiles, tiles[0]], ("train", "test", None, "train")) == pytest.approx(0.5)


def test_splits_of_the_source_are_kept() -> None:
    tiles = [
        tile("a.tif", split="test", objects=(SHIP, SHIP)),
        tile("b.tif", split="train"),
        tile("b.tif", split="test"),
    ]
    found = assign_splits(tiles, {}, by="source")
    assert found.splits == ("test", "train", "test")
    assert found.report.objects == {"test": {"ship": 2}, "train": {}}
    assert found.report.shared_images == 1
    assert "as the source says, so that they leak: 1" in "\n".join(found.report.lines())
    with pytest.raises(ValueError, match=r"of 2 tiles 1, such as of c\.tif, have no split"):
        assign_splits([tiles[0], tile("c.tif")], {}, by="source")


def test_the_report_says_what_was_done() -> None:
    tiles = grid("a.tif", (256, 256), 32, 24, UTM)
    lines = assign_splits(tiles, SHARES, by="area", block_size=32, margin=2).report.lines()
    assert lines[0] == "Split by area in blocks of 32 m with a margin of 2 m."
    assert [line.partition(":")[0] for line in lines[1:4]] == list(SHARES)
    assert "tiles left out" in lines[4]
    assert lines[5] == "images in several splits, in parts that share no pixel: 1"
    found = assign_splits([tile(f"{number}.tif", objects=(SHIP,)) for number in range(10)], SHARES)
    assert found.report.lines()[:2] == ["Split by image.", "train: tiles: 8, images: 8, ship: 8"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": {"train": 0.5, "test": 0.6}}, "add up to 1"),
        ({"shares": {"train": 1.5, "test": -0.5}}, "from 0 to 1"),
        ({"shares": {"train": float("nan")}}, "add up to 1"),
        ({"by": "date"}, "by must be one of image, group, area, source"),
        ({"tiles": []}, "no tiles"),
        (
            {"tiles": [tile()]},
            "there is 1 image for 3 splits: split images into blocks by --split-by area",
        ),
        ({"by": "area", "tiles": [tile()]}, "there is 1 block for 3 splits: choose a smaller --block-size"),
        ({"by": "area", "block_size": 0.0}, "block_size must be"),
        ({"by": "area", "margin": -1.0}, "margin must be"),
        ({"by": "area", "block_size": 32, "margin": 500.0}, "no tile is left for train"),
        ({"by": "image", "margin": 5.0}, 'for by="area"'),
        ({"by": "area", "tiles": [tile(), tile("b.tif", place=UTM)]}, "split them by image or group"),
    ],
)
def test_what_cannot_be_done_is_said(options: dict[str, Any], message: str) -> None:
    arguments = {"tiles": grid("a.tif", (256, 256), 32, 32), "shares": SHARES} | options
    with pytest.raises(ValueError, match=message):
        assign_splits(arguments.pop("tiles"), arguments.pop("shares"), **arguments)


def test_images_that_are_held_out_are_in_their_split_alone() -> None:
    tiles = [one for number in range(20) for one in grid(f"{number}.tif", (64, 64), 32, 32)]
    found = assign_splits(tiles, SHARES, held_out={"3.tif": "test", "5.tif": "test"})
    images = {name: {one.image for one in some} for name, some in by_split(tiles, found).items()}
    assert images["test"] == {"3.tif", "5.tif"}
    assert {name: len(some) for name, some in images.items()} == {"train": 16, "validation": 2, "test": 2}


def test_by_area_what_is_held_out_shares_no_pixel_with_the_rest() -> None:
    # Two rasters of one place on the map.
    tiles = [*grid("a.tif", (256, 256), 32, 16, UTM), *grid("b.tif", (64, 64), 32, 32, UTM)]
    found = assign_splits(tiles, {"train": 1.0}, by="area", held_out={"b.tif": "test"})
    assert all(name == "test" for name in found.splits[-4:])
    assert "train" in found.splits
    assert shared_area(tiles, found.splits) < 1e-9


def test_a_group_goes_with_an_image_that_is_held_out() -> None:
    tiles = [tile("a.tif", group="harbor"), tile("b.tif", group="harbor"), tile("c.tif"), tile("d.tif")]
    found = assign_splits(tiles, {"train": 0.5, "validation": 0.5}, by="group", held_out={"a.tif": "test"})
    assert found.splits[:2] == ("test", "test")
    assert sorted(str(name) for name in found.splits[2:]) == ["train", "validation"]
    with pytest.raises(ValueError, match="images of one group are held out for test and for validation"):
        assign_splits(tiles, SHARES, by="group", held_out={"a.tif": "test", "b.tif": "validation"})


def test_held_out_images_leave_a_split_to_the_others() -> None:
    with pytest.raises(ValueError, match="held out for every split that has a share"):
        assign_splits([tile("a.tif"), tile("b.tif")], {"train": 1.0}, held_out={"a.tif": "train"})
    with pytest.raises(ValueError, match='not for by="source"'):
        assign_splits([tile(split="train")], SHARES, by="source", held_out={"a.tif": "test"})
