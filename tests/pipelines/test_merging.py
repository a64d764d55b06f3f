# SPDX-License-Identifier: Apache-2.0
"""One detection for each object, whatever the number of tiles that saw it or a part of it."""

import itertools
from dataclasses import replace

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geodit.pipelines.merging import (
    MERGES,
    MergeOptions,
    areas_of,
    merge_detections,
    overlapping_detections,
    overlapping_pairs,
)
from geodit.pipelines.tiling import Detection, Edges, tile_windows, to_image
from geodit.processing.polygons import surrounding_box, surrounding_rectangle
from geodit.processing.turned_boxes_geodit import OrientedBox, corners_of, moved_corners, oriented_box_of

corners = st.integers(0, 12)
boxes = st.builds(
    lambda a, b, c, d: (float(min(a, c)), float(min(b, d)), float(max(a, c)), float(max(b, d))),
    *[corners] * 4,
)
scores = st.integers(0, 4).map(lambda value: value / 4)
detections = st.lists(st.builds(Detection, boxes, st.just("ship"), scores), max_size=12)


def common(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def matches(one, other, match, threshold):
    shared = common(one, other)
    whole = min(area(one), area(other)) if match == "ios" else area(one) + area(other) - shared
    return shared > 0 and shared >= threshold * whole


@given(st.lists(boxes, max_size=20))
def test_pairs_are_those_that_share_an_area(found):
    pairs = [
        (min(i, j), max(i, j), shared)
        for first, second, areas in overlapping_pairs(found)
        for i, j, shared in zip(first.tolist(), second.tolist(), areas.tolist(), strict=True)
    ]
    expected = [(i, j, common(found[i], found[j])) for i in range(len(found)) for j in range(i + 1, len(found))]
    assert sorted(pairs) == [pair for pair in expected if pair[2] > 0]


@given(detections, st.sampled_from([0.25, 0.5, 1.0]), st.sampled_from(["ios", "iou"]))
def test_suppression_agrees_with_its_definition(found, threshold, match):
    """A box stays if no better box that stays matches it."""
    kept = []
    for one in sorted(found, key=lambda one: -one.score):
        if not any(matches(one.box, other.box, match, threshold) for other in kept):
            kept.append(one)
    assert merge_detections(found, MergeOptions(match=match, threshold=threshold)) == kept


@given(detections, st.sampled_from([0.25, 0.5, 1.0]))
def test_boxes_around_what_matches_cover_everything(found, threshold):
    merged = merge_detections(found, MergeOptions("nmm", threshold=threshold))
    assert len(merged) == len(merge_detections(found, MergeOptions("nms", threshold=threshold)))
    for x1, y1, x2, y2 in (one.box for one in found):
        assert any(one.box[0] <= x1 and one.box[1] <= y1 and one.box[2] >= x2 and one.box[3] >= y2 for one in merged)


def test_matching_boxes_lose_score_in_the_order_of_what_is_left():
    found = [
        Detection((0, 0, 10, 10), "ship", 0.9),
        Detection((0, 0, 10, 8), "ship", 0.8),  # 0.8 in common with the first
        Detection((100, 0, 110, 10), "ship", 0.5),
    ]
    soft = MergeOptions("soft-nms", match="iou")
    assert [round(one.score, 6) for one in merge_detections(found, soft)] == [0.9, 0.5, 0.16]
    assert len(merge_detections(found, replace(soft, min_score=0.2))) == 2


def test_nothing_is_merged_if_so_asked():
    piece = Detection((0, 0, 24, 20), "ship", 0.9, Edges(right=True))
    found = [piece, Detection((0, 0, 40, 20), "ship", 0.6)]
    assert merge_detections(found, MergeOptions("none")) == found


def test_small_and_unsure_boxes_are_left_out():
    found = [Detection((0, 0, 40, 3), "ship", 0.9), Detection((0, 50, 40, 70), "ship", 0.2)]
    assert merge_detections(found, MergeOptions(min_size=4)) == found[1:]
    assert merge_detections(found, MergeOptions(min_score=0.3)) == found[:1]


def test_a_whole_object_wins_over_its_surer_part():
    whole = Detection((0, 0, 40, 20), "ship", 0.6)
    part = Detection((0, 0, 24, 20), "ship", 0.9, Edges(right=True))
    for merge in ("nms", "nmm"):
        assert merge_detections([part, whole], MergeOptions(merge)) == [whole]


def test_labels_do_not_suppress_each_other():
    ship, dock = Detection((0, 0, 40, 20), "ship", 0.6), Detection((0, 0, 40, 20), "dock", 0.9)
    assert merge_detections([ship, dock]) == [dock, ship]


# Two ships that lie side by side, from the upper left to the lower right: most of the boxes around them is common.
SIDE_BY_SIDE = [
    OrientedBox(50, 50, 80, 10, 45),
    OrientedBox(60, 40, 80, 10, 45),
]


def turned(box, score=0.5, **fields):
    corners = corners_of(box)
    return Detection(surrounding_box(corners), "ship", score, corners=corners, **fields)


@pytest.mark.parametrize("merge", ["nms", "nmm"])
@pytest.mark.parametrize("match", ["ios", "iou"])
def test_turned_boxes_match_by_the_area_that_they_have_in_common(merge, match):
    found = [turned(SIDE_BY_SIDE[0], 0.9), turned(SIDE_BY_SIDE[1], 0.8)]
    options = MergeOptions(merge, match)
    assert merge_detections(found, options) == found
    assert len(merge_detections([replace(one, corners=None) for one in found], options)) == 1
    # The same ship from another tile, a little off; and as an upright box, which shares little with a turned one.
    again = turned(OrientedBox(51, 51, 80, 10, 47), 0.7)
    assert len(merge_detections([*found, again], options)) == 2
    assert len(merge_detections([found[0], replace(again, corners=None)], MergeOptions(merge, "iou"))) == 2


@given(
    st.lists(
        st.builds(
            turned, st.builds(OrientedBox, *[st.integers(20, 80)] * 2, *[st.integers(2, 40)] * 2, st.integers(-90, 90))
        ),
        max_size=8,
    )
)
def test_shared_areas_of_turned_boxes_are_those_of_shapely(found):
    shapes = [shapely.Polygon(one.corners) for one in found]
    areas = {
        (min(i, j), max(i, j)): shared
        for first, second, values in overlapping_detections(found)
        for i, j, shared in zip(first.tolist(), second.tolist(), values.tolist(), strict=True)
    }
    for i, j in itertools.combinations(range(len(found)), 2):
        assert areas.get((i, j), 0.0) == pytest.approx(shapes[i].intersection(shapes[j]).area, abs=1e-6)
    assert areas_of(found).tolist() == pytest.approx([shape.area for shape in shapes])


def test_joined_boxes_are_turned_as_the_largest_of_them():
    one, other = turned(OrientedBox(50, 50, 40, 10, 30), 0.6), turned(OrientedBox(52, 51, 60, 10, 31), 0.5)
    (joined,) = merge_detections([one, other], MergeOptions("nmm"))
    box = oriented_box_of(joined.corners)
    assert box.angle == pytest.approx(31)
    shape = shapely.Polygon(joined.corners).buffer(1e-9)
    assert all(shape.contains(shapely.Polygon(part.corners)) for part in (one, other))


def test_pieces_of_a_turned_object_are_joined():
    # Two tiles of 100 pixels, next to each other, with half of a ship each.
    left = turned(OrientedBox(85, 52, 30, 10, 8), 0.6, tile=0)
    right = turned(OrientedBox(115, 56, 30, 10, 8), 0.5, tile=1)
    pieces = [
        replace(left, box=(*left.box[:2], 100.0, left.box[3]), cut_edges=Edges(right=True)),
        replace(right, box=(100.0, *right.box[1:]), cut_edges=Edges(left=True)),
    ]
    (ship,) = merge_detections(pieces, margin=2.0)
    found = oriented_box_of(ship.corners)
    assert found.angle == pytest.approx(8)
    assert found.width == pytest.approx(60, abs=1)
    assert not ship.cut


@pytest.mark.parametrize("overlap", [0.0, 0.25])
@pytest.mark.parametrize("angle", [45, -45, 30])
def test_pieces_that_lie_aslant_are_joined(angle, overlap):
    # What tiles show of a ship that is longer than any of them is the part of it between two edges.
    ship = OrientedBox(100, 80, 150, 8, angle)
    outline, found = shapely.Polygon(corners_of(ship)), []
    for number, window in enumerate(tile_windows((200, 200), 100, overlap)):
        top, left, height, width = window
        seen = outline.intersection(shapely.box(left, top, left + width, top + height))
        if seen.area < 20:
            continue
        corners = surrounding_rectangle(list(seen.exterior.coords), corners_of(ship))
        x1, y1, x2, y2 = seen.bounds
        detection = Detection(
            (x1 - left, y1 - top, x2 - left, y2 - top),
            "ship",
            0.5,
            tile=number,
            corners=moved_corners(corners, -left, -top),
        )
        found.append(to_image(detection, window, (200, 200), margin=2.0))
    assert len(found) > 1
    (joined,) = merge_detections(found, MergeOptions("nms"), margin=2.0)
    whole = shapely.Polygon(joined.corners)
    assert whole.intersection(outline).area / whole.union(outline).area > 0.95


def test_the_size_of_a_turned_box_is_its_own():
    thin = turned(OrientedBox(50, 50, 80, 4, 45))
    assert merge_detections([thin], MergeOptions(min_size=3.9)) == [thin]
    assert merge_detections([thin], MergeOptions(min_size=4.1)) == []


@pytest.mark.parametrize("merge", MERGES)
def test_nothing_to_merge(merge):
    assert merge_detections([], MergeOptions(merge)) == []


def seen_in_tiles(objects, image_size, tile_size, overlap=0.25):
    """What a perfect model says of each tile: the visible part of every object."""
    found = []
    for window in tile_windows(image_size, tile_size, overlap):
        for x1, y1, x2, y2 in objects:
            box = (
                max(x1 - window.left, 0),
                max(y1 - window.top, 0),
                min(x2 - window.left, window.width),
                min(y2 - window.top, window.height),
            )
            if box[0] < box[2] and box[1] < box[3]:
                found.append(to_image(Detection(box, "ship", 0.5), window, image_size, margin=0.0))
    return found


@given(st.data())
def test_objects_of_any_size_come_back_whole_and_once(data):
    """Larger ones than a tile, across the corners of four, and in no tile whole."""
    side = st.integers(1, 150)
    objects = []
    for column in range(2):
        for row in range(2):
            width, height = data.draw(side), data.draw(side)
            left, top = data.draw(st.integers(0, 160 - width)), data.draw(st.integers(0, 160 - height))
            left, top = left + 200 * column, top + 200 * row  # apart from each other
            objects.append((float(left), float(top), float(left + width), float(top + height)))
    found = merge_detections(seen_in_tiles(objects, (400, 400), 64))
    assert sorted(one.box for one in found) == sorted(objects)
    assert not any(one.cut for one in found)


def test_tiles_without_overlap_meet_too():
    objects = [(50.0, 10.0, 80.0, 20.0)]
    assert [one.box for one in merge_detections(seen_in_tiles(objects, (64, 128), 64, overlap=0.0))] == objects


def test_two_objects_at_one_edge_are_not_joined():
    objects = [(50.0, 10.0, 80.0, 20.0), (50.0, 30.0, 80.0, 40.0)]
    found = merge_detections(seen_in_tiles(objects, (64, 128), 64, overlap=0.0))
    assert sorted(one.box for one in found) == objects


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"merge": "max"}, "merge must be one of nms, nmm, soft-nms, none"),
        ({"match": "giou"}, "match must be one of ios, iou"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"min_score": -0.1}, "min_score"),
        ({"min_size": float("nan")}, "min_size"),
    ],
)
def test_options_out_of_range_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        MergeOptions(**options)


@pytest.mark.parametrize(
    ("detection", "named"),
    [
        (Detection((0, 0, 1, 1), "ship", float("nan")), "finite"),
        (Detection((1, 0, 0, 1), "ship", 0.5), "x1 <= x2"),
    ],
)
def test_impossible_detections_are_refused(detection, named):
    with pytest.raises(ValueError, match=named):
        merge_detections([detection])
