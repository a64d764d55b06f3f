# SPDX-License-Identifier: Apache-2.0
"""One detection for each object, whatever the number of tiles that saw it or a part of it.

The choices have the names that users of SAHI and supervision know: [`MergeOptions`].
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geodit.pipelines.tiling import Box, Detection, Edges
from geodit.processing.box_ops import as_boxes, box_area
from geodit.processing.polygons import box_corners, clip_polygon, polygon_area, shared_area, surrounding_rectangle
from geodit.processing.turned_boxes_geodit import Corners

__all__ = [
    "MATCHES",
    "MERGES",
    "Match",
    "Merge",
    "MergeOptions",
    "areas_of",
    "merge_detections",
    "overlapping_detections",
    "overlapping_pairs",
]

Merge = Literal["nms", "nmm", "soft-nms", "none"]
Match = Literal["ios", "iou"]

MERGES: tuple[Merge, ...] = get_args(Merge)
"""How detections of one object become one: the best is kept, all are joined, others lose score, or nothing is done."""

MATCHES: tuple[Match, ...] = get_args(Match)
"""What two boxes have in common: the share of the smaller one, or intersection over union."""

# The first and the second box of each pair, and something about the two.
_Pairs: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]

# Candidates of so many pairs are held at once.
_PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class MergeOptions:
    """How the detections of all tiles are merged.

    Args:
        merge: `"nms"` keeps the best box of each object. `"nmm"` replaces it by the box around all that match it.
            `"soft-nms"` lowers the score of what matches a better box by as much as it matches (Bodla et al., 2017,
            linear). `"none"` keeps everything, pieces included.
        match: `"ios"`, intersection over the smaller box, or `"iou"`, intersection over union. A tile that sees a part
            of an object gives a box that lies within the whole: only `"ios"` takes them for one.
        threshold: From which match on two boxes are of one object; above 0 and at most 1.
        min_score: Detections with a lower score are left out, with `"soft-nms"` also what falls below it.
        min_size: Boxes whose shorter side, in pixels of the image, is less are left out; of a turned box its own side.
        confirm: Whether detections are left out that the tile which sees their place best has not found; see
            [`~geodit.pipelines.confirmation`].

    Raises:
        ValueError: If a value is out of range.
    """

    merge: Merge = "nms"
    match: Match = "ios"
    threshold: float = 0.5
    min_score: float = 0.0
    min_size: float = 0.0
    confirm: bool = True

    def __post_init__(self) -> None:
        if self.merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(MERGES)}, got {self.merge!r}")
        if self.match not in MATCHES:
            raise ValueError(f"match must be one of {', '.join(MATCHES)}, got {self.match!r}")
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold must be above 0 and at most 1, got {self.threshold}")
        if not 0.0 <= self.min_score <= 1.0:
            raise ValueError(f"min_score must be from 0 to 1, got {self.min_score}")
        if not 0.0 <= self.min_size < float("inf"):
            raise ValueError(f"min_size must be a number of pixels of at least 0, got {self.min_size}")

    def keeps(self, detection: Detection) -> bool:
        """Return whether a detection has the least score and the least size."""
        if detection.corners is not None:
            first, second, third, _ = detection.corners
            sides = math.dist(first, second), math.dist(second, third)
        else:
            x1, y1, x2, y2 = detection.box
            sides = x2 - x1, y2 - y1
        return detection.score >= self.min_score and min(sides) >= self.min_size


def merge_detections(
    detections: Sequence[Detection], options: MergeOptions | None = None, margin: float = 0.0
) -> list[Detection]:
    """Keep one detection of each object that several tiles have found.

    Detections with different labels have nothing to do with each other. For each label:

    1. A piece that lies in the box of an object which some tile saw whole is left out: see [`Detection.cut`].
    2. Pieces of an object that no tile saw whole are joined. Two pieces are of one object if one ends at the right
       edge of its tile, the other begins at the left edge of its own, and both cover all that the tiles have in
       common there; likewise from top to bottom. Chains of pieces are joined to one box.
    3. What is left is merged as `options.merge` says, whole boxes before pieces and higher scores before lower ones.

    Where one of two boxes is turned they match by the area that they themselves have in common, not the upright boxes
    around them, and pieces cover what lies in the strip that both tiles see. Boxes that are joined become one that is
    turned as the largest turned one of them.

    Args:
        detections: Of all tiles, in pixels of the image.
        options: How to merge; with `"none"` nothing of this is done.
        margin: How far from an edge, in pixels, a box may end and still count as ending there.

    Returns:
        The detections kept, by falling score. A joined one has the greatest score of its pieces.

    Raises:
        ValueError: If a score is not finite, or a box has corners in the wrong order.
    """
    options = options or MergeOptions()
    kept: list[Detection] = []
    for label in dict.fromkeys(detection.label for detection in detections):
        group = [detection for detection in detections if detection.label == label]
        as_boxes([detection.box for detection in group])  # raises for corners in the wrong order
        if not np.isfinite([detection.score for detection in group]).all():
            raise ValueError("scores must be finite numbers")
        group = [detection for detection in group if options.keeps(detection)]
        if options.merge != "none":
            group = _join_pieces(_without_seen_pieces(group, options), options, margin)
            group = _MERGE[options.merge](group, options)
        kept += group
    return sorted(kept, key=lambda detection: -detection.score)


def overlapping_pairs(boxes: ArrayLike) -> Iterator[_Pairs]:
    """Find all pairs of boxes that share an area.

    Boxes are taken in the order of their left sides; each is compared with those that begin before it ends, a few
    million pairs at a time.

    Args:
        boxes: `(K, 4)` `[x1, y1, x2, y2]`.

    Yields:
        Of some pairs the first boxes, the second ones, and the areas they share. Each pair comes once.
    """
    corners = as_boxes(boxes)
    order = np.argsort(corners[:, 0], kind="stable")
    sides = corners[order]
    stops = np.searchsorted(sides[:, 0], sides[:, 2], side="left")
    counts = np.maximum(stops - np.arange(len(sides)) - 1, 0)
    ends = np.cumsum(counts)
    start = 0
    while start < len(sides):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, side="right")))
        some = counts[start:stop]
        first = np.repeat(np.arange(start, stop), some)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(some) - some, some)
        shared = np.minimum(sides[first, 3], sides[second, 3]) - np.maximum(sides[first, 1], sides[second, 1])
        chosen = shared > 0
        first, second, height = first[chosen], second[chosen], shared[chosen]
        width = np.minimum(sides[first, 2], sides[second, 2]) - sides[second, 0]
        chosen = width > 0
        yield order[first[chosen]], order[second[chosen]], (width * height)[chosen]
        start = stop


def overlapping_detections(detections: Sequence[Detection]) -> Iterator[_Pairs]:
    """Find all pairs of detections that share an area; see [`overlapping_pairs`].

    Where one of a pair is turned the area is that of the turned boxes, which may reach out of the image.
    """
    turned = np.array([detection.corners is not None for detection in detections], dtype=bool)
    for first, second, shared in overlapping_pairs(_boxes_of(detections)):
        (exact,) = np.nonzero(turned[first] | turned[second])
        for pair in exact.tolist():
            one, other = (_outline(detections[index]) for index in (first[pair], second[pair]))
            shared[pair] = shared_area(one, other)
        chosen = shared > 0
        yield first[chosen], second[chosen], shared[chosen]


def areas_of(detections: Sequence[Detection]) -> NDArray[np.float64]:
    """Return the area of each detection (K,), of turned ones that of the turned box."""
    areas = box_area(_boxes_of(detections))
    for index, detection in enumerate(detections):
        if detection.corners is not None:
            areas[index] = polygon_area(detection.corners)
    return areas


def _outline(detection: Detection) -> Corners:
    return detection.corners or box_corners(detection.box)


def _matches(detections: Sequence[Detection], options: MergeOptions) -> _Pairs:
    """Return the pairs of detections that match, and how much, as first, second and values."""
    area = areas_of(detections)
    found: list[_Pairs] = []
    for first, second, shared in overlapping_detections(detections):
        smaller = np.minimum(area[first], area[second])
        whole = smaller if options.match == "ios" else area[first] + area[second] - shared
        # As a product: the quotient of two numbers may round down to below the threshold.
        chosen = shared >= options.threshold * whole
        found.append((first[chosen], second[chosen], (shared / whole)[chosen]))
    if not found:
        return np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)
    firsts, seconds, values = zip(*found, strict=True)
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(values)


class _Neighbors:
    """The detections that match each detection, and how much."""

    def __init__(self, detections: Sequence[Detection], options: MergeOptions) -> None:
        first, second, values = _matches(detections, options)
        ends = np.concatenate([first, second])
        order = np.argsort(ends, kind="stable")
        self._others = np.concatenate([second, first])[order]
        self._values = np.concatenate([values, values])[order]
        self._starts = np.searchsorted(ends[order], np.arange(len(detections) + 1))

    def __getitem__(self, index: int) -> NDArray[np.intp]:
        return self._others[self._starts[index] : self._starts[index + 1]]

    def values(self, index: int) -> NDArray[np.float64]:
        """Return how much each of them matches."""
        return self._values[self._starts[index] : self._starts[index + 1]]


def _boxes_of(detections: Sequence[Detection]) -> NDArray[np.float64]:
    return as_boxes([detection.box for detection in detections])


def _in_order(detections: Sequence[Detection]) -> list[int]:
    """Whole boxes before pieces, higher scores before lower ones, the first before the next."""
    return sorted(range(len(detections)), key=lambda index: (detections[index].cut, -detections[index].score, index))


def _without_seen_pieces(group: list[Detection], options: MergeOptions) -> list[Detection]:
    """Leave out pieces of objects that another tile saw whole."""
    if not any(detection.cut for detection in group):
        return group
    neighbors = _Neighbors(group, replace(options, match="ios"))
    return [
        detection
        for index, detection in enumerate(group)
        if not (detection.cut and any(not group[other].cut for other in neighbors[index].tolist()))
    ]


def _join_pieces(group: list[Detection], options: MergeOptions, margin: float) -> list[Detection]:
    """Replace the pieces of each object by the box around them."""
    pieces = [index for index, detection in enumerate(group) if detection.cut]
    root = {index: index for index in pieces}

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    boxes = _boxes_of([group[index] for index in pieces])
    # What only touches, where tiles have nothing in common, shares an area with boxes that are a little larger.
    grown = boxes + np.array([-1.0, -1.0, 1.0, 1.0]) * (margin + 0.5)
    for first, second, _ in overlapping_pairs(grown):
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            pair = pieces[one], pieces[other]
            if any(
                _continues(group[before], group[after], axis, options, margin)
                for before, after in itertools.permutations(pair)
                for axis in (0, 1)
            ):
                root[find(pair[0])] = find(pair[1])
    joined: dict[int, Detection] = {}
    for index in pieces:
        top = find(index)
        joined[top] = _joined(joined[top], group[index], margin) if top in joined else group[index]
    return [*(detection for detection in group if not detection.cut), *joined.values()]


def _continues(before: Detection, after: Detection, axis: int, options: MergeOptions, margin: float) -> bool:
    """Return whether a piece goes on in another one, to the right (axis 0) or downwards (axis 1)."""
    if not (before.cut_edges[axis + 2] and after.cut_edges[axis]):
        return False
    begin, end = axis, axis + 2
    # Both cover all that their tiles have in common: an object that begins there is whole in the tile after it.
    if before.box[begin] > after.box[begin] + margin or before.box[end] > after.box[end] + margin:
        return False
    # Of pieces that lie aslant, only what lies in the strip that both see is at the same place.
    ends = sorted((after.box[begin], before.box[end]))
    strip = ends[0] - margin - 0.5, ends[1] + margin + 0.5
    sides = [_extent(one, axis, strip) for one in (before, after)]
    shared = min(high for _, high in sides) - max(low for low, _ in sides)
    shorter = min(high - low for low, high in sides)
    return shared > 0 and shared >= options.threshold * shorter


def _extent(detection: Detection, axis: int, strip: tuple[float, float]) -> tuple[float, float]:
    """Return from where to where a detection reaches across an axis; if it is turned, within a strip of that axis."""
    across = 1 - axis
    if detection.corners is not None:
        low, high = strip
        seen = clip_polygon(detection.corners, (lambda point: point[axis] - low, lambda point: high - point[axis]))
        if seen:
            return min(point[across] for point in seen), max(point[across] for point in seen)
    return detection.box[across], detection.box[across + 2]


def _joined(one: Detection, other: Detection, margin: float) -> Detection:
    """Return the box around two pieces; it is cut where the piece that reaches farthest is."""
    box = _around((one.box, other.box))
    cut: list[bool] = []
    for edge in range(4):
        at_edge = [piece for piece in (one, other) if abs(piece.box[edge] - box[edge]) <= margin]
        cut.append(all(piece.cut_edges[edge] for piece in at_edge))
    best = max(one, other, key=lambda piece: piece.score)
    return replace(best, box=box, cut_edges=Edges(*cut), corners=_corners_around((one, other)))


def _around(boxes: Sequence[Box]) -> Box:
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def _corners_around(detections: Sequence[Detection]) -> Corners | None:
    """Return the smallest rectangle around detections that is turned as the largest turned one, if there is one."""
    turned = [detection.corners for detection in detections if detection.corners is not None]
    if not turned or len(detections) == 1:
        return detections[0].corners
    points = [point for detection in detections for point in _outline(detection)]
    return surrounding_rectangle(points, max(turned, key=polygon_area))


def _keep_best(group: list[Detection], options: MergeOptions) -> list[Detection]:
    neighbors = _Neighbors(group, options)
    open_ = np.ones(len(group), dtype=bool)
    kept = []
    for index in _in_order(group):
        if open_[index]:
            kept.append(group[index])
            open_[neighbors[index]] = False
    return kept


def _join_matches(group: list[Detection], options: MergeOptions) -> list[Detection]:
    neighbors = _Neighbors(group, options)
    open_ = np.ones(len(group), dtype=bool)
    kept = []
    for index in _in_order(group):
        if not open_[index]:
            continue
        open_[index] = False
        others = [group[other] for other in neighbors[index].tolist() if open_[other]]
        open_[neighbors[index]] = False
        # A piece adds nothing to a box that was seen whole.
        around = [group[index], *(other for other in others if group[index].cut or not other.cut)]
        box = _around([one.box for one in around])
        kept.append(replace(group[index], box=box, corners=_corners_around(around)))
    return kept


def _lower_scores(group: list[Detection], options: MergeOptions) -> list[Detection]:
    neighbors = _Neighbors(group, options)
    scores = [detection.score for detection in group]
    waiting = [(group[index].cut, -scores[index], index) for index in range(len(group))]
    heapq.heapify(waiting)
    done = [False] * len(group)
    kept = []
    while waiting:
        _, negative, index = heapq.heappop(waiting)
        if done[index] or -negative != scores[index]:
            continue  # it is in the heap again, with a lower score
        done[index] = True
        kept.append(replace(group[index], score=scores[index]))
        for other, value in zip(neighbors[index].tolist(), neighbors.values(index).tolist(), strict=True):
            if not done[other]:
                scores[other] *= max(0.0, 1.0 - value)
                heapq.heappush(waiting, (group[other].cut, -scores[other], other))
    return [detection for detection in kept if detection.score > 0 and detection.score >= options.min_score]


_MERGE = {"nms": _keep_best, "nmm": _join_matches, "soft-nms": _lower_scores}
