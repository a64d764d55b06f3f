# SPDX-License-Identifier: Apache-2.0
"""Large annotated images are cut into tiles, and no tile says that something is absent which its edge has cut."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import example_rasters
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.enums import ColorInterp
from shapely.affinity import rotate

from geodit.annotations.records import BadRecord, LabeledImage, LabeledObject, TextAnswer
from geodit.annotations.tile_objects import ObjectsInWindows
from geodit.annotations.tiles import LabeledTile, TileCounts, TileOptions, TileReader, cut_tiles
from geodit.data.windows import Window
from geodit.rasters.georeference import GeoReference
from geodit.rasters.imagery import read_image

SIDE = 192
TURNED = rotate(shapely.box(20, 40, 80, 60), 30)


@pytest.fixture(scope="module")
def harbor(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(example_rasters.write_raster(tmp_path_factory.mktemp("tiles") / "a.tif", example_rasters.harbor()))


def thing(x1: float, y1: float, x2: float, y2: float, label: str = "ship", **more: Any) -> LabeledObject:
    return LabeledObject(label, (x1, y1, x2, y2), **more)


def cut(record: LabeledImage, counts: TileCounts | None = None, **options: Any) -> list[LabeledTile | BadRecord]:
    with TileReader() as reader:
        return list(cut_tiles([record], TileOptions(**options), reader, counts))


def tiles_of(record: LabeledImage, counts: TileCounts | None = None, **options: Any) -> list[LabeledTile]:
    tiles = [tile for tile in cut(record, counts, **options) if isinstance(tile, LabeledTile)]
    assert tiles
    return tiles


def test_tiles_cover_the_image_and_have_its_pixels(harbor: str) -> None:
    counts = TileCounts()
    tiles = tiles_of(LabeledImage(harbor, "a.json"), counts, size=96)
    assert [(tile.window.top, tile.window.left) for tile in tiles] == [(0, 0), (0, 96), (96, 0), (96, 96)]
    assert {tile.shape for tile in tiles} == {(96, 96)}
    assert {tile.group for tile in tiles} == {harbor}
    assert counts == TileCounts(images=1, tiles=4)
    with TileReader() as reader:
        last = reader.read(tiles[3])
        assert np.array_equal(last.pixels, example_rasters.harbor()[96:, 96:])
        with Image.open(io.BytesIO(reader.read_png(tiles[3]))) as picture:
            assert np.array_equal(np.asarray(picture), last.pixels)
        assert last.georeference == tiles[3].place


def test_an_image_no_larger_than_a_tile_is_one(harbor: str) -> None:
    record = LabeledImage(harbor, "a.json", captions=("a harbor",), split="test", group="port")
    (tile,) = tiles_of(replace(record, objects=(thing(1, 2, 3, 4),)), size=SIDE)
    assert tile.window == Window(0, 0, SIDE, SIDE)
    assert tile.captions == ("a harbor",)
    assert (tile.split, tile.group) == ("test", "port")
    assert not tile.only_text


def test_tiles_overlap_by_a_share(harbor: str) -> None:
    tiles = tiles_of(LabeledImage(harbor, "a.json"), size=96, overlap=0.5)
    assert sorted({tile.window.left for tile in tiles}) == [0, 48, 96]


def test_boxes_are_clipped_or_left_out_by_the_share_that_is_seen(harbor: str) -> None:
    counts = TileCounts()
    objects = (thing(90, 10, 100, 20, "ship"), thing(80, 30, 100, 40, "plane"), thing(92, 50, 100, 60, "car"))
    left, right, *_ = tiles_of(LabeledImage(harbor, "a.json", objects=objects), counts, size=96, min_visible=0.6)
    # Of the ship each tile shows less than 0.6, of the plane and the car one shows too little.
    assert [(one.label, one.box) for one in left.objects] == [
        ("ship", (90, 10, 96, 20)),
        ("plane", (80, 30, 96, 40)),
    ]
    assert left.partial_labels == {"car"}
    assert right.objects == ()
    assert right.partial_labels == {"ship", "plane", "car"}
    assert counts.cut_objects == 4


def test_classes_that_a_record_knows_in_part_stay_so_in_every_tile(harbor: str) -> None:
    record = LabeledImage(harbor, "a.json", partial_labels=frozenset({"car"}))
    assert {tile.partial_labels for tile in tiles_of(record, size=96)} == {frozenset({"car"})}


def test_turned_boxes_stay_turned(harbor: str) -> None:
    corners = tuple(TURNED.exterior.coords[:-1])
    objects = (thing(*TURNED.bounds, corners=corners),)
    (whole,) = tiles_of(LabeledImage(harbor, "a.json", objects=objects), size=SIDE)
    assert whole.objects[0].corners == corners
    left, right, *_ = tiles_of(LabeledImage(harbor, "a.json", objects=objects), size=64, min_visible=0.1)
    for tile in (left, right):
        window = tile.window
        frame = shapely.box(window.left, window.top, window.left + window.width, window.top + window.height)
        seen = shapely.transform(TURNED.intersection(frame), lambda points, at=window: points - (at.left, at.top))
        (one,) = tile.objects
        assert one.box == pytest.approx(seen.bounds)
        assert shapely.Polygon(one.corners).buffer(1e-6).contains(seen)
        assert shapely.Polygon(one.corners).area < TURNED.area


windows = st.builds(Window, *[st.integers(0, 60)] * 2, *[st.integers(1, 60)] * 2)
numbers = st.floats(0, 100)
upright = st.builds(
    lambda x, y, width, height, label: thing(x, y, x + width, y + height, label),
    *[numbers] * 2,
    *[st.floats(0.5, 60)] * 2,
    st.sampled_from("abc"),
)


def turn(one: LabeledObject, degrees: float) -> LabeledObject:
    shape = rotate(shapely.box(*one.box), degrees)
    return replace(one, box=shape.bounds, corners=tuple(shape.exterior.coords[:-1]))


@given(st.lists(upright | st.builds(turn, upright, st.floats(5, 85)), max_size=6), windows, st.floats(0.05, 1))
def test_each_object_is_kept_or_left_out_by_its_share_as_shapely_finds_it(
    objects: list[LabeledObject], window: Window, least: float
) -> None:
    frame = shapely.box(window.left, window.top, window.left + window.width, window.top + window.height)
    shown = ObjectsInWindows(objects, least).find(window)
    kept, left_out, close = 0, set(), set()
    for one in objects:
        shape = shapely.box(*one.box) if one.corners is None else shapely.Polygon(one.corners)
        share = shape.intersection(frame).area / shape.area
        if abs(share - least) < 1e-6 or 0 < share < 1e-6:
            close.add(one.label)
        elif share >= least:
            kept += 1
        elif share > 0:
            left_out.add(one.label)
    assert set(shown.left_out) - close == left_out - close
    if not close:
        assert len(shown.kept) == kept
    for one in shown.kept:
        x1, y1, x2, y2 = one.box
        assert -1e-9 <= x1 < x2 <= window.width + 1e-9
        assert -1e-9 <= y1 < y2 <= window.height + 1e-9


def test_tiles_without_data_are_left_out(tmp_path: Path) -> None:
    pixels = np.dstack([example_rasters.harbor(), np.full((SIDE, SIDE), 255, np.uint8)])
    pixels[:, :100, 3] = 0
    path = tmp_path / "a.tif"
    colors = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    example_rasters.write_raster(path, pixels, colors, photometric="RGB", alpha="YES")
    counts = TileCounts()
    # The first lies in the collar, the second reaches into it by more than half, the third by less.
    objects = (
        thing(10, 10, 20, 20, "ship"),
        thing(97, 10, 102, 20, "plane"),
        thing(98, 30, 110, 40, "car"),
    )
    tiles = tiles_of(LabeledImage(str(path), "a.json", objects=objects), counts, size=96)
    assert [tile.window.left for tile in tiles] == [96, 96]
    assert counts.without_data == 2
    assert [one.label for one in tiles[0].objects] == ["car"]
    assert tiles[0].partial_labels == {"plane"}
    assert counts.hidden_objects == 1
    assert len(tiles_of(LabeledImage(str(path), "a.json"), size=96, min_valid=0.0)) == 4


def test_tiles_are_read_at_a_ground_sampling_distance(harbor: str) -> None:
    objects = (thing(20, 40, 60, 80, corners=((20, 60), (40, 40), (60, 60), (40, 80))),)
    tiles = tiles_of(LabeledImage(harbor, "a.json", objects=objects), size=48, gsd=1.0)
    first = tiles[0]
    # Pixels of half a meter become pixels of one, up to the scale of the map.
    assert (first.window.height, first.shape) == (96, (48, 48))
    assert first.objects[0].box == pytest.approx((10, 20, 30, 40), rel=1e-3)
    assert first.objects[0].corners is not None
    assert np.array(first.objects[0].corners) == pytest.approx(
        np.array([(10, 30), (20, 20), (30, 30), (20, 40)]), rel=1e-3
    )
    assert isinstance(first.place, GeoReference)
    assert first.place.transform[0] == pytest.approx(1.0)
    with TileReader() as reader:
        assert reader.read(first).image_size == (48, 48)


def test_a_ground_sampling_distance_has_to_be_known_and_within_reason(harbor: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(example_rasters.harbor()).save(path)
    (bad,) = cut(LabeledImage(str(path), "a.json, image 3"), gsd=1.0)
    assert isinstance(bad, BadRecord)
    assert bad.origin == "a.json, image 3"
    assert "no place on Earth" in bad.reason
    (bad,) = cut(LabeledImage(harbor, "a.json"), size=64, gsd=0.01)
    assert isinstance(bad, BadRecord)
    assert "choose a larger gsd" in bad.reason


def test_crowded_tiles_are_cut_into_four_until_they_are_not(harbor: str) -> None:
    counts = TileCounts()
    crowd = tuple(thing(4 * x, 4 * y, 4 * x + 3, 4 * y + 3) for x in range(8) for y in range(8))
    others = tuple(thing(100 + 10 * index, 150, 105 + 10 * index, 155, "plane") for index in range(9))
    record = LabeledImage(harbor, "a.json", objects=(*crowd, *others))
    tiles = tiles_of(record, counts, size=SIDE, max_objects=20, min_size=8)
    assert max(sum(one.label == "ship" for one in tile.objects) for tile in tiles) <= 20
    places = [(tile.window.left + one.box[0], tile.window.top + one.box[1]) for tile in tiles for one in tile.objects]
    assert sorted(places) == sorted(one.box[:2] for one in record.objects)
    # Crowded are the whole, its first quarter, the first quarter of that, and the first of that, of 6 x 6 objects.
    assert sorted(tile.window.height for tile in tiles) == [12] * 4 + [24] * 3 + [48] * 3 + [96] * 3
    assert counts.crowded == 4


def test_pieces_of_a_crowded_tile_overlap_as_tiles_do(harbor: str) -> None:
    crowd = tuple(thing(4 * x, 4, 4 * x + 3, 7) for x in range(40))
    middle = thing(90, 90, 102, 102, "plane")
    record = LabeledImage(harbor, "a.json", objects=(*crowd, middle))
    for overlap, whole in ((0.0, 0), (0.25, 4)):
        tiles = tiles_of(record, size=SIDE, overlap=overlap, max_objects=39)
        assert len(tiles) == 4
        assert sum("plane" in [one.label for one in tile.objects] for tile in tiles) == whole
        assert all(("plane" in tile.partial_labels) == (not whole) for tile in tiles)


def test_what_stays_crowded_is_named(harbor: str) -> None:
    counts = TileCounts()
    crowd = tuple(thing(5, 5, 6 + index / 100, 6) for index in range(30))
    record = LabeledImage(harbor, "a.json", objects=crowd)
    bad = [one for one in cut(record, counts, size=SIDE, max_objects=20, min_size=40) if isinstance(one, BadRecord)]
    assert [one.origin for one in bad] == [f"{harbor}, tile at row 0 and column 0"]
    assert bad[0].reason.startswith("it has 30 objects of one class, more than 20")
    assert counts.too_crowded == 1
    # To a pixel, however small pieces may be.
    assert sum(isinstance(one, BadRecord) for one in cut(record, size=64, max_objects=20, min_size=1)) == 1


@given(st.integers(1, 70), st.integers(1, 70), st.floats(0, 0.99))
def test_pieces_cover_a_crowded_tile(height: int, width: int, overlap: float) -> None:
    from geodit.annotations.tiles import _pieces

    covered = np.zeros((height, width), bool)
    for piece in _pieces(Window(0, 0, height, width), min(overlap, 0.5)):
        part = covered[piece.top : piece.top + piece.height, piece.left : piece.left + piece.width]
        assert part.shape == (piece.height, piece.width)
        part[:] = True
    assert covered.all()


TEXTS: dict[str, Any] = {
    "captions": ("a harbor",),
    "answers": (TextAnswer("is it day?", "yes"),),
    "category": "harbor",
}


def test_text_about_the_whole_image_is_not_said_of_its_parts(harbor: str) -> None:
    record = LabeledImage(harbor, "a.json", objects=(thing(1, 2, 3, 4),), **TEXTS)
    *parts, whole = tiles_of(record, size=40)
    assert {(part.captions, part.answers, part.category, part.only_text) for part in parts} == {((), (), "", False)}
    assert whole.only_text
    assert whole.objects == ()
    assert (whole.captions, whole.answers, whole.category) == tuple(TEXTS.values())
    assert (whole.window, whole.shape) == (Window(0, 0, SIDE, SIDE), (160, 160))
    with TileReader() as reader:
        assert reader.read(whole).image_size == (160, 160)


@pytest.mark.parametrize("name", TEXTS)
def test_an_image_with_nothing_but_text_is_not_cut(harbor: str, name: str) -> None:
    (tile,) = tiles_of(LabeledImage(harbor, "a.json", **{name: TEXTS[name]}), size=64)
    assert tile.only_text
    assert tile.window == Window(0, 0, SIDE, SIDE)


def test_damaged_tiles_are_bad_records_and_the_others_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    example_rasters._write_damaged(path, example_rasters.harbor().astype(np.uint16) * 10 + 300)
    found = cut(LabeledImage(str(path), "a.json"), size=64)
    (bad,) = [one for one in found if isinstance(one, BadRecord)]
    assert bad.origin == f"{path}, tile at row 64 and column 64"
    assert "damaged" in bad.reason
    assert len(found) == 9


def test_bad_records_are_passed_on_and_missing_images_become_some(harbor: str, tmp_path: Path) -> None:
    first = BadRecord("a.json, record 1", "it has no image")
    records: Iterable[LabeledImage | BadRecord] = [first, LabeledImage(str(tmp_path / "none.png"), "a.json, record 2")]
    with TileReader() as reader:
        passed, missing = cut_tiles(records, TileOptions(), reader)
    assert passed == first
    assert isinstance(missing, BadRecord)
    assert missing.origin == "a.json, record 2"
    assert "there is no image" in missing.reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"min_size": 0},
        {"overlap": 1.0},
        {"overlap": float("nan")},
        {"min_visible": 0.0},
        {"min_valid": 1.5},
        {"gsd": float("inf")},
        {"max_objects": 0},
    ],
)
def test_options_have_ranges(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TileOptions(**wrong)


def test_bands_are_chosen_when_tiles_are_read(harbor: str) -> None:
    (tile,) = tiles_of(LabeledImage(harbor, "a.json"), size=SIDE)
    with TileReader((1,)) as reader:
        assert np.array_equal(reader.read(tile).pixels, read_image(harbor, (1,)).pixels)
