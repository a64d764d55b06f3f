# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import re
from typing import Any

import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geodit.processing.boxes_geodit import (
    BOX_FORMATS,
    BoxCodec,
    BoxParse,
    GeoChatBoxCodec,
    IntegerBoxCodec,
    LocationTokenBoxCodec,
    PaddedSquareBoxCodec,
    get_box_codec,
)
from geodit.processing.turned_boxes_geodit import Corners, OrientedBox, corners_of, oriented_box_of

CODECS = [get_box_codec(name, location_bins=64) for name in BOX_FORMATS]
codecs = st.sampled_from(CODECS)
labels = st.sampled_from(["ship", "storage tank", "747 aircraft", "Schiff", "飞机", "T-shaped pier"])
each_codec = pytest.mark.parametrize("codec", CODECS, ids=BOX_FORMATS)

SIZE = (200, 400)  # height, width
BOX = [40.0, 20.0, 120.0, 60.0]
WRITTEN = {
    "location_tokens": "<loc_6><loc_6><loc_19><loc_19>",
    "integers_100": "[10, 10, 30, 30]",
    "integers_1000": "[100, 100, 300, 300]",
    "geochat": "{<10><10><30><30>|<0>}",
    "padded_square_2": "[0.10, 0.30, 0.30, 0.40]",
    "padded_square_3": "[0.100, 0.300, 0.300, 0.400]",
}


def quantum(codec: BoxCodec, size: tuple[int, int]) -> tuple[float, float]:
    """The step of x and of y in pixels."""
    height, width = size
    if isinstance(codec, PaddedSquareBoxCodec):
        step = max(height, width) / 10**codec.decimals
        return step, step
    steps = codec.bins if isinstance(codec, LocationTokenBoxCodec) else codec.scale  # type: ignore[attr-defined]
    return width / steps, height / steps


@st.composite
def image_sizes(draw: st.DrawFn) -> tuple[int, int]:
    # No narrower than 1 : 10, below which two decimals on the square cannot tell coordinates apart.
    side = draw(st.integers(30, 3000))
    return side, draw(st.integers(max(side // 10, 1), side * 10))


@st.composite
def representable_boxes(draw: st.DrawFn, codec: BoxCodec, size: tuple[int, int]) -> list[float]:
    """Boxes inside the image with sides of at least one quantum."""
    ends = []
    for step, length in zip(quantum(codec, size), (size[1], size[0]), strict=True):
        low = draw(st.floats(0, length - step))
        high = draw(st.floats(min(low + step, length), length))
        ends.append((low, high))
    (x1, x2), (y1, y2) = ends
    return [x1, y1, x2, y2]


def ends(length: int) -> st.SearchStrategy[tuple[float, float]]:
    """The two ends of a side, which may be as thin as can be."""
    return st.tuples(st.floats(0, length), st.floats(0, length)).filter(lambda pair: pair[0] < pair[1])


def assert_valid(parse: BoxParse, size: tuple[int, int]) -> None:
    height, width = size
    assert len(parse.boxes) == len(parse.labels)
    for x1, y1, x2, y2 in parse.boxes:
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height


class TestEncode:
    @each_codec
    def test_notation(self, codec: BoxCodec) -> None:
        assert codec.encode([BOX], SIZE) == WRITTEN[codec.name]

    @each_codec
    def test_no_boxes_are_none(self, codec: BoxCodec) -> None:
        assert codec.encode([], SIZE) == "none"

    @each_codec
    def test_a_label_is_written_where_it_changes(self, codec: BoxCodec) -> None:
        text = codec.encode([BOX, BOX, BOX, BOX], SIZE, [None, "ship", "ship", "harbor"])
        assert text.count("ship") == text.count("harbor") == 1
        assert codec.decode(text, SIZE).labels == [None, "ship", "ship", "harbor"]

    @each_codec
    @pytest.mark.parametrize(
        "box",
        [
            [-0.1, 0, 10, 10],
            [0, -0.1, 10, 10],
            [0, 0, 400.1, 10],
            [0, 0, 10, 200.1],
            [10, 10, 10, 20],
            [10, 20, 20, 20],
            [20, 10, 10, 20],
            [math.nan, 0, 10, 10],
            [0, 0, math.inf, 10],
            [0, 0, 10],
            [0, 0, 10, 10, 10],
        ],
    )
    def test_refuses_a_box_that_is_none(self, codec: BoxCodec, box: list[float]) -> None:
        with pytest.raises(ValueError, match=r"[Bb]ox"):
            codec.encode([box], SIZE)

    @each_codec
    @pytest.mark.parametrize("label", ["", " ship", "ship,", "12", "none", "a[1, 2], {<3><loc_4>"])
    def test_refuses_a_label_that_could_not_be_read_back(self, codec: BoxCodec, label: str) -> None:
        with pytest.raises(ValueError, match=re.escape(repr(label))):
            codec.encode([BOX], SIZE, [label])

    @given(codecs, st.text() | st.lists(st.sampled_from([*WRITTEN.values(), "a", "1", " ", ","])).map("".join))
    def test_any_label_is_read_back_or_refused(self, codec: BoxCodec, label: str) -> None:
        try:
            text = codec.encode([BOX, BOX], SIZE, ["ship", label])
        except ValueError:
            return
        parse = codec.decode(text, SIZE)
        assert parse.labels == ["ship", label]
        assert parse.parsed

    @each_codec
    def test_refuses_an_unlabelled_box_after_a_label(self, codec: BoxCodec) -> None:
        with pytest.raises(ValueError, match="label all"):
            codec.encode([BOX, BOX], SIZE, ["ship", None])

    @each_codec
    def test_refuses_too_few_labels(self, codec: BoxCodec) -> None:
        with pytest.raises(ValueError, match="1 labels for 2 boxes"):
            codec.encode([BOX, BOX], SIZE, ["ship"])

    @pytest.mark.parametrize("size", [(0, 10), (10, -1), (math.nan, 10), (10,), None, ("a", "b")])
    def test_refuses_an_image_size_that_is_none(self, size: Any) -> None:
        for act in (lambda: CODECS[0].encode([], size), lambda: CODECS[0].decode("none", size)):
            with pytest.raises(ValueError, match=r"\(height, width\)"):
                act()


class TestRoundTrip:
    @given(st.data(), codecs, image_sizes())
    def test_within_half_a_quantum(self, data: st.DataObject, codec: BoxCodec, size: tuple[int, int]) -> None:
        boxes = data.draw(st.lists(representable_boxes(codec, size), min_size=1, max_size=4))
        names = data.draw(st.none() | st.lists(labels, min_size=len(boxes), max_size=len(boxes)))

        parse = codec.decode(codec.encode(boxes, size, names), size)

        assert parse.parsed
        assert parse.labels == (names or [None] * len(boxes))
        assert_valid(parse, size)
        for box, decoded in zip(boxes, parse.boxes, strict=True):
            for value, back, step in zip(box, decoded, quantum(codec, size) * 2, strict=True):
                assert abs(value - back) <= step / 2 + 1e-6

    @given(st.data(), codecs, image_sizes())
    def test_written_boxes_are_stable(self, data: st.DataObject, codec: BoxCodec, size: tuple[int, int]) -> None:
        """What was decoded is encoded to the same text."""
        text = codec.encode([data.draw(representable_boxes(codec, size))], size)
        assert codec.encode(codec.decode(text, size).boxes, size) == text

    @given(st.data(), codecs, st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
    def test_a_box_thinner_than_a_quantum_is_widened(
        self, data: st.DataObject, codec: BoxCodec, size: tuple[int, int]
    ) -> None:
        """However thin the box or narrow the image, it stays a box near its place."""
        x1, x2 = data.draw(ends(size[1]))
        y1, y2 = data.draw(ends(size[0]))
        parse = codec.decode(codec.encode([[x1, y1, x2, y2]], size), size)
        assert parse.parsed
        assert_valid(parse, size)
        for value, back, step in zip([x1, y1, x2, y2], parse.boxes[0], quantum(codec, size) * 2, strict=True):
            assert abs(value - back) <= 1.5 * step + 1e-6


class TestDecodeAnyText:
    pieces = st.one_of(
        st.sampled_from([*WRITTEN.values(), "ship", "none", " ", ",", "\n"]),
        st.sampled_from(list("[]{}<>|,.0123456789-loc_ \n\u0663")),  # the last is an Arabic digit
        st.from_regex(r"<loc_[0-9]{1,3}>", fullmatch=True),
        st.from_regex(r"\[[0-9., ]{5,20}\]", fullmatch=True),
        st.text(max_size=5),
    )

    @given(codecs, st.text(), image_sizes())
    def test_any_text(self, codec: BoxCodec, text: str, size: tuple[int, int]) -> None:
        assert_valid(codec.decode(text, size), size)

    @given(codecs, st.lists(pieces, max_size=12).map("".join), image_sizes())
    @settings(max_examples=200)
    def test_fragments_and_noise(self, codec: BoxCodec, text: str, size: tuple[int, int]) -> None:
        parse = codec.decode(text, size)
        assert_valid(parse, size)
        if parse.parsed and not parse.boxes:
            assert text.strip().strip(" \t\r\n,;:.").lower() == "none"

    @given(st.data(), codecs)
    def test_a_box_that_lost_a_mark_is_not_understood(self, data: st.DataObject, codec: BoxCodec) -> None:
        text = WRITTEN[codec.name]
        marks = [index for index, character in enumerate(text) if character in "[]{}<>|,"]
        lost = data.draw(st.sampled_from(marks))
        parse = codec.decode(text[:lost] + text[lost + 1 :], SIZE)
        assert not parse.parsed
        assert parse.boxes == []

    @given(st.data(), codecs)
    def test_a_broken_box_does_not_hide_the_whole_ones(self, data: st.DataObject, codec: BoxCodec) -> None:
        whole = WRITTEN[codec.name]
        broken = whole[: data.draw(st.integers(1, len(whole) - 1))]
        for text in (whole + broken, f"{whole} ship {broken}"):
            parse = codec.decode(text, SIZE)
            assert len(parse.boxes) == 1
            assert not parse.parsed

    @each_codec
    @pytest.mark.parametrize(
        "unit", ["[", "[1,", "{<1>", "{ ", "<loc_1>", "<loc_1> ", "1 ,", "9", "[[0.", " ", "a", "<p>"]
    )
    def test_time_grows_with_the_length_of_the_text(self, codec: BoxCodec, unit: str) -> None:
        """Backtracking over 300,000 characters would take minutes."""
        assert not codec.decode(unit * (300_000 // len(unit)), SIZE).boxes

    @each_codec
    @pytest.mark.parametrize("text", ["none", "None.", " none\n"])
    def test_none_means_no_boxes(self, codec: BoxCodec, text: str) -> None:
        assert codec.decode(text, SIZE) == BoxParse(parsed=True)

    @each_codec
    @pytest.mark.parametrize("text", ["", " ", "ship", "there is none", "none none", "0", "."])
    def test_words_alone_are_not_understood(self, codec: BoxCodec, text: str) -> None:
        assert codec.decode(text, SIZE) == BoxParse(parsed=False)

    @each_codec
    def test_words_after_the_last_box_are_not_understood(self, codec: BoxCodec) -> None:
        parse = codec.decode(f"{WRITTEN[codec.name]} harbor", SIZE)
        assert len(parse.boxes) == 1
        assert not parse.parsed

    @each_codec
    def test_none_beside_a_box_is_not_understood(self, codec: BoxCodec) -> None:
        assert not codec.decode(f"none {WRITTEN[codec.name]}", SIZE).parsed


class TestRejection:
    """A box that cannot be is left out and reported; it is never repaired or moved into the image."""

    @pytest.mark.parametrize(
        ("name", "box"),
        [
            ("integers_100", "[30, 10, 10, 30]"),
            ("integers_100", "[10, 30, 30, 30]"),
            ("integers_100", "[10, 10, 101, 30]"),
            ("integers_100", "[10, 10, 99999999999999999999, 30]"),
            ("integers_100", "[-1, 10, 30, 30]"),
            ("integers_100", "[1.5, 10, 30, 30]"),
            ("integers_100", "[10, 10, 30]"),
            ("integers_100", "[10, 10, 30, 30, 40]"),
            ("integers_100", "[\u0661, 10, 30, 30]"),  # an Arabic 1
            ("integers_1000", "[10, 10, 1001, 30]"),
            ("geochat", "{<30><10><10><30>|<0>}"),
            ("geochat", "{<10><10><101><30>|<0>}"),
            ("geochat", "{<10><10><30><30>|<361>}"),
            ("geochat", "{<10><10><30><30>}"),
            ("padded_square_3", "[0.5, 0.3, 0.4, 0.5]"),
            ("padded_square_3", "[0.1, 0.1, 0.4, 0.5]"),  # y1 in the padding above
            ("padded_square_3", "[0.1, 0.3, 0.4, 0.9]"),  # y2 in the padding below
            ("padded_square_3", "[0.1, 0.3, 1.01, 0.5]"),
            ("padded_square_3", "[1e-1, 0.3, 0.4, 0.5]"),
            ("location_tokens", "<loc_19><loc_6><loc_6><loc_19>"),
            ("location_tokens", "<loc_6><loc_6><loc_6><loc_19>"),
            ("location_tokens", "<loc_6><loc_6><loc_64><loc_19>"),
            ("location_tokens", "<loc_6><loc_6><loc_9999999999><loc_19>"),
            ("location_tokens", "<loc_6><loc_6><loc_19>"),
            ("location_tokens", "<loc_6><loc_6> ship <loc_19><loc_19>"),
        ],
    )
    def test_the_good_box_is_kept(self, name: str, box: str) -> None:
        codec = get_box_codec(name, location_bins=64)
        assert codec.decode(box, SIZE).boxes == []
        assert not codec.decode(box, SIZE).parsed
        parse = codec.decode(f"{WRITTEN[name]} ship{box}", SIZE)
        assert len(parse.boxes) == 1
        assert not parse.parsed

    def test_a_fifth_location_token_is_left_over(self) -> None:
        parse = get_box_codec("location_tokens", 64).decode("<loc_6><loc_6><loc_19><loc_19><loc_2>", SIZE)
        assert len(parse.boxes) == 1
        assert not parse.parsed


class TestFormats:
    def test_integers_allow_loose_spacing(self) -> None:
        parse = IntegerBoxCodec(100).decode(" ship : [10,10 ,30,  30];[ 10, 10, 30, 30 ].", SIZE)
        assert parse == BoxParse([BOX, BOX], ["ship", "ship"], parsed=True)

    def test_location_tokens_are_read_at_the_middle_of_their_bin(self) -> None:
        parse = LocationTokenBoxCodec(10).decode("<loc_0><loc_1><loc_8><loc_9>", (100, 200))
        assert parse.boxes == [[10.0, 15.0, 170.0, 95.0]]

    def test_the_far_border_belongs_to_the_last_bin(self) -> None:
        assert LocationTokenBoxCodec(10).encode([[0, 0, 200, 100]], (100, 200)) == ("<loc_0><loc_0><loc_9><loc_9>")

    def test_padding_is_taken_off(self) -> None:
        """A 400 x 200 image stands in a 400 x 400 square, 100 pixels from its top."""
        codec = PaddedSquareBoxCodec(2)
        assert codec.encode([[0, 0, 400, 200]], SIZE) == "[0.00, 0.25, 1.00, 0.75]"
        assert codec.decode("[0.00, 0.25, 1.00, 0.75]", SIZE).boxes == [[0, 0, 400, 200]]
        assert codec.encode([[0, 0, 200, 400]], (400, 200)) == "[0.25, 0.00, 0.75, 1.00]"

    def test_a_coordinate_in_the_padding_is_moved_by_a_quantum_at_most(self) -> None:
        codec = PaddedSquareBoxCodec(2)
        assert codec.decode("[0.10, 0.24, 0.30, 0.40]", SIZE).boxes == [[40, 0, 120, 60]]
        assert codec.decode("[0.10, 0.23, 0.30, 0.40]", SIZE).boxes == []

    def test_geochat_reads_its_own_marks(self) -> None:
        text = "<p>ship</p> {<10><10><30><30>|<0>}<delim>{<10><10><30><30>|<0>}"
        assert GeoChatBoxCodec().decode(text, SIZE).labels == ["ship", "ship"]
        assert GeoChatBoxCodec().decode(text, SIZE).parsed

    def test_geochat_turns_a_rectangle_about_its_centre(self) -> None:
        codec = GeoChatBoxCodec()
        text = codec.encode([[160, 80, 240, 120]], SIZE, angles=[90])
        parse = codec.decode(text, SIZE)
        assert parse.boxes[0] == pytest.approx([180, 60, 220, 140])
        assert parse.oriented_boxes == [(200, 100, 80, 40, 90)]

    def test_geochat_cuts_a_turned_rectangle_off_at_the_border(self) -> None:
        codec = GeoChatBoxCodec()
        parse = codec.decode(codec.encode([[0, 0, 400, 200]], SIZE, angles=[45]), SIZE)
        assert parse.boxes == [[0, 0, 400, 200]]
        assert parse.parsed

    @given(st.integers(-360, 360), st.data(), image_sizes())
    def test_geochat_at_any_angle(self, angle: int, data: st.DataObject, size: tuple[int, int]) -> None:
        codec = GeoChatBoxCodec()
        box = data.draw(representable_boxes(codec, size))
        parse = codec.decode(codec.encode([box], size, angles=[angle]), size)
        assert parse.parsed
        assert_valid(parse, size)
        (x1, y1, x2, y2), (oriented,) = parse.boxes[0], parse.oriented_boxes
        assert x1 < oriented.center_x < x2
        assert y1 < oriented.center_y < y2
        assert oriented.angle == angle

    @pytest.mark.parametrize("angles", [[math.nan], [400], [1, 2]])
    def test_geochat_refuses_wrong_angles(self, angles: list[float]) -> None:
        with pytest.raises(ValueError, match="angle"):
            GeoChatBoxCodec().encode([BOX], SIZE, angles=angles)

    @each_codec
    def test_box_ends(self, codec: BoxCodec) -> None:
        text = codec.encode([BOX, BOX], SIZE, ["ship", "harbor"])
        ends = codec.box_ends(text)
        assert len(ends) == 2
        assert codec.decode(text[: ends[0]], SIZE).labels == ["ship"]
        assert ends[1] == len(text)


@st.composite
def turned_boxes(draw: st.DrawFn, size: tuple[int, int]) -> OrientedBox:
    """Rectangles in an image whose extents before the turn lie in it as well."""
    height, width = size
    center_x, center_y = draw(st.floats(width * 0.1, width * 0.9)), draw(st.floats(height * 0.1, height * 0.9))
    most = 2 * min(center_x, width - center_x), 2 * min(center_y, height - center_y)
    least = 0.03 * width, 0.03 * height
    sides = draw(st.floats(least[0], most[0])), draw(st.floats(least[1], most[1]))
    return OrientedBox(center_x, center_y, *sides, draw(st.floats(-44.4, 44.4)))


def box_around(corners: Corners, size: tuple[int, int]) -> list[float]:
    """The upright box around what of a turned one lies in an image."""
    shape = shapely.Polygon(corners).intersection(shapely.box(0, 0, size[1], size[0]))
    return list(shape.bounds)


class TestTurnedBoxes:
    """Boxes with corners: GeoChat's notation keeps their angle, the others the upright box around them."""

    @given(st.data(), st.sampled_from([(200, 200), (200, 400), (900, 300)]))
    def test_geochat_gives_angle_and_extent_back(self, data: st.DataObject, size: tuple[int, int]) -> None:
        box = data.draw(turned_boxes(size))
        corners = corners_of(box)
        codec = GeoChatBoxCodec()
        parse = codec.decode(codec.encode([box_around(corners, size)], size, corners=[corners]), size)
        (found,) = parse.oriented_boxes
        assert parse.parsed
        assert abs(found.angle - box.angle) <= 0.5
        for center, side, step in ((0, 2, size[1] / 100), (1, 3, size[0] / 100)):
            for sign in (-1, 1):
                end, expected = (one[center] + sign * one[side] / 2 for one in (found, box))
                assert abs(end - expected) <= step / 2 + 1e-9

    @given(st.data())
    def test_what_was_written_is_written_again(self, data: st.DataObject) -> None:
        codec = GeoChatBoxCodec()
        corners = corners_of(data.draw(turned_boxes(SIZE)))
        text = codec.encode([box_around(corners, SIZE)], SIZE, corners=[corners])
        parse = codec.decode(text, SIZE)
        assert codec.encode(parse.boxes, SIZE, corners=parse.corners) == text

    @given(st.data(), image_sizes(), st.floats(-360, 360))
    def test_any_rectangle_that_is_seen_can_be_written(
        self, data: st.DataObject, size: tuple[int, int], angle: float
    ) -> None:
        height, width = size
        center = data.draw(st.floats(0, width)), data.draw(st.floats(0, height))
        sides = data.draw(st.tuples(st.floats(1, 2 * width), st.floats(1, 2 * height)))
        corners = corners_of(OrientedBox(*center, *sides, angle))
        box = box_around(corners, size)
        assume(box and box[2] - box[0] > 1e-3 and box[3] - box[1] > 1e-3)
        codec = GeoChatBoxCodec()
        text = codec.encode([box], size, corners=[corners])
        assert codec.decode(text, size).parsed
        assert re.fullmatch(codec.answer_expression, text)

    @pytest.mark.parametrize(
        ("box", "written"),
        [
            (OrientedBox(100, 100, 80, 20, 30), "{<30><45><70><55>|<30>}"),
            (OrientedBox(100, 100, 80, 20, -150), "{<30><45><70><55>|<30>}"),
            (OrientedBox(100, 100, 20, 80, -60), "{<30><45><70><55>|<30>}"),
            (OrientedBox(100, 100, 80, 20, 45), "{<30><45><70><55>|<45>}"),
            (OrientedBox(100, 100, 80, 20, -44.8), "{<45><30><55><70>|<45>}"),
            (OrientedBox(100, 100, 80, 20, 0.4), "{<30><45><70><55>|<0>}"),
            # At the left edge there is no room for its length along x, but there is along y.
            (OrientedBox(20, 100, 80, 6, 41), "{<9><30><12><70>|<-49>}"),
            # No room either way: nearly all of the length that fits about its center.
            (OrientedBox(30, 30, 80, 6, 40), "{<0><14><30><17>|<40>}"),
            # Less than half would fit.
            (OrientedBox(15, 15, 80, 6, 45), "{<0><0><23><23>|<0>}"),
        ],
    )
    def test_how_geochat_writes_them(self, box: OrientedBox, written: str) -> None:
        size = (200, 200)
        corners = corners_of(box)
        assert GeoChatBoxCodec().encode([box_around(corners, size)], size, corners=[corners]) == written

    def test_angles_are_read_as_corners(self) -> None:
        parse = GeoChatBoxCodec().decode("{<30><45><70><55>|<30>}{<10><10><20><20>|<90>}", (200, 200))
        turned, upright = parse.corners
        assert upright is None
        assert turned is not None
        assert oriented_box_of(turned) == pytest.approx((100, 100, 80, 20, 30))
        assert parse.boxes[0] == pytest.approx(box_around(turned, (200, 200)))

    @each_codec
    def test_without_an_angle_the_box_around_is_written(self, codec: BoxCodec) -> None:
        corners = corners_of(OrientedBox(80, 40, 60, 20, 30))
        box = box_around(corners, SIZE)
        text = codec.encode([box, BOX], SIZE, corners=[corners, None])
        upright = codec.encode([box, BOX], SIZE)
        assert (text == upright) == (not codec.has_angle)
        parse = codec.decode(text, SIZE)
        assert [one is not None for one in parse.corners] == [codec.has_angle, False]

    @each_codec
    def test_upright_boxes_are_written_as_ever(self, codec: BoxCodec) -> None:
        assert codec.encode([BOX], SIZE, corners=[None]) == codec.encode([BOX], SIZE) == WRITTEN[codec.name]

    def test_corners_without_an_area_are_written_upright(self) -> None:
        corners = [(40.0, 20.0), (120.0, 60.0), (120.0, 60.0), (40.0, 20.0)]
        assert GeoChatBoxCodec().encode([BOX], SIZE, corners=[corners]) == WRITTEN["geochat"]

    def test_wrong_corners_are_refused(self) -> None:
        corners = corners_of(OrientedBox(80, 40, 60, 20, 30))
        with pytest.raises(ValueError, match="2 of them for 1 boxes"):
            GeoChatBoxCodec().encode([BOX], SIZE, corners=[corners, None])
        with pytest.raises(ValueError, match="four corners"):
            GeoChatBoxCodec().encode([BOX], SIZE, corners=[corners[:3]])
        with pytest.raises(ValueError, match="give one of them"):
            GeoChatBoxCodec().encode([BOX], SIZE, angles=[3], corners=[corners])


class TestGetBoxCodec:
    @pytest.mark.parametrize("name", BOX_FORMATS)
    def test_every_name(self, name: str) -> None:
        assert get_box_codec(name, location_bins=64).name == name

    def test_an_unknown_name_lists_those_there_are(self) -> None:
        with pytest.raises(ValueError, match=r"'xyxy'.*location_tokens.*integers_100.*geochat.*padded_square"):
            get_box_codec("xyxy")

    def test_location_tokens_need_their_number(self) -> None:
        with pytest.raises(ValueError, match="location_bins"):
            get_box_codec("location_tokens")

    @pytest.mark.parametrize(
        ("codec", "value"),
        [
            (LocationTokenBoxCodec, 1),
            (LocationTokenBoxCodec, 2.0),
            (IntegerBoxCodec, 10),
            (PaddedSquareBoxCodec, 1),
        ],
    )
    def test_wrong_steps(self, codec: Any, value: Any) -> None:
        with pytest.raises(ValueError, match=str(value)):
            codec(value)


class TestAnswerExpression:
    @each_codec
    @settings(max_examples=25)
    @given(data=st.data())
    def test_all_that_is_written_without_labels_matches(self, codec: BoxCodec, data: st.DataObject) -> None:
        size = data.draw(image_sizes())
        sides = data.draw(st.lists(st.tuples(ends(size[1]), ends(size[0])), max_size=4))
        boxes = [[x1, y1, x2, y2] for (x1, x2), (y1, y2) in sides]
        text = codec.encode(boxes, size)
        if isinstance(codec, GeoChatBoxCodec):
            angles = st.lists(st.floats(-360, 360), min_size=len(boxes), max_size=len(boxes))
            text = codec.encode(boxes, size, angles=data.draw(angles))
        assert re.fullmatch(codec.answer_expression, text), text

    @each_codec
    @settings(max_examples=25)
    @given(data=st.data())
    def test_all_that_matches_is_understood_but_for_boxes_without_area(
        self, codec: BoxCodec, data: st.DataObject
    ) -> None:
        text = data.draw(st.from_regex(codec.answer_expression, fullmatch=True))
        parse = codec.decode(text, (SIZE[1], SIZE[1]))  # a square has no padding
        assert parse.parsed or "none" not in text
        numbers = [float(number) for number in re.findall(r"-?[0-9]+(?:\.[0-9]+)?", text)]
        boxes = [numbers[start : start + 4] for start in range(0, len(numbers), 5 if codec.name == "geochat" else 4)]
        assert len(codec.box_ends(text)) == len(boxes)
        with_area = [x1 < x2 and y1 < y2 for x1, y1, x2, y2 in boxes]
        assert parse.parsed == all(with_area), text
        assert len(parse.boxes) == sum(with_area)

    @pytest.mark.parametrize("bins", [2, 7, 10, 11, 64, 100, 101, 999, 1000, 1001, 2360])
    def test_the_numbers_of_location_tokens_are_those_of_the_bins(self, bins: int) -> None:
        expression = LocationTokenBoxCodec(bins).answer_expression
        matching = [n for n in range(12_000) if re.fullmatch(expression, f"<loc_{n}>" * 4)]
        assert matching == list(range(bins))
        assert not re.fullmatch(expression, "<loc_01>" * 4)

    @pytest.mark.parametrize("angle", ["-0", "361", "-361", "090", "1000", ""])
    def test_an_angle_is_a_whole_turn_at_most(self, angle: str) -> None:
        expression = GeoChatBoxCodec().answer_expression
        assert re.fullmatch(expression, "{<0><0><100><100>|<-360>}")
        assert not re.fullmatch(expression, f"{{<0><0><100><100>|<{angle}>}}")

    @each_codec
    @pytest.mark.parametrize("change", ["{} ", " {}", "ship{}", "{0}, {0}", "{0}{0}]", "None", "", "none {}"])
    def test_nothing_stands_beside_the_boxes(self, codec: BoxCodec, change: str) -> None:
        assert not re.fullmatch(codec.answer_expression, change.format(WRITTEN[codec.name]))
