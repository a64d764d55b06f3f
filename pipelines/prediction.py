# SPDX-License-Identifier: Apache-2.0
"""What a pipeline answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodit.configuration.types_geodit import JsonObject
from geodit.processing.turned_boxes_geodit import Corners
from geodit.rasters.georeference import MapReference

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Denoising:
    """How an answer came about, for each of the L positions of the canvas.

    Args:
        tokens: the tokens as text; the end of the answer and all after it is `"[EOS]"`.
        commit_steps: the step, counted from 0, at which each token was committed; -1 for what never was, after the
            end of the answer.
        confidences: the probability that the network gave the token at that step.
        num_steps: how many steps the answer took.
        alternatives: where they were asked for, the most probable tokens of each position and their probabilities, in
            the step that committed it, or in the last one if none has; empty where the network was not asked.
    """

    tokens: tuple[str, ...]
    commit_steps: tuple[int, ...]
    confidences: tuple[float, ...]
    num_steps: int
    alternatives: tuple[tuple[tuple[str, float], ...], ...] = ()

    def to_dict(self) -> JsonObject:
        """Return it in types that JSON has."""
        result: JsonObject = {
            "tokens": list(self.tokens),
            "commit_steps": list(self.commit_steps),
            "confidences": list(self.confidences),
            "num_steps": self.num_steps,
        }
        if self.alternatives:
            result["alternatives"] = [[list(pair) for pair in row] for row in self.alternatives]
        return result


@dataclass(frozen=True)
class Prediction:
    """The answer to a question about one image.

    Args:
        task: what was asked for.
        query: what the user asked.
        text: the answer as the model wrote it. Of an image seen in tiles a line for
            each different answer; of those by boxes only where something was found, or an answer not understood.
        image_size: (height, width) of the image in pixels.
        boxes: `(x1, y1, x2, y2)` in pixels of the image.
        labels: one a box.
        scores: one a box, 0 to 1, from the probabilities of its tokens; see `geodit.processing.box_scores`.
        parsed: whether the whole answer was understood; of a tiled image, the answers of all tiles.
        num_tiles: in how many tiles the image was seen; 1 for all at once.
        num_unparsed_tiles: how many of their answers were not, or not wholly, understood.
        choice_probabilities: where the answer is one of some choices, the probability of each, which sum to 1. They
            are those of the first denoising step; later steps may decide otherwise.
        georeference: where the image is on Earth, if that is known.
        denoising: how the answer came about, if that was asked for.
        corners: the four corners `(x, y)` of each box that is turned, in pixels of the image, which they may leave,
            and `None` for each upright one; empty if all are upright. `boxes` has the upright box around what of a
            turned one lies in the image.
    """

    task: str
    query: str
    text: str
    image_size: tuple[int, int]
    boxes: tuple[Box, ...] = ()
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    parsed: bool = True
    num_tiles: int = 1
    num_unparsed_tiles: int = 0
    choice_probabilities: dict[str, float] | None = None
    georeference: MapReference | None = None
    denoising: Denoising | None = None
    corners: tuple[Corners | None, ...] = ()

    @property
    def map_boxes(self) -> tuple[Box, ...] | None:
        """The boxes as `(left, bottom, right, top)` in map coordinates; None without a georeference."""
        if self.georeference is None:
            return None
        return tuple(self.georeference.bounds(box) for box in self.boxes)

    @property
    def map_corners(self) -> tuple[Corners | None, ...] | None:
        """The corners of turned boxes in map coordinates; None without a georeference."""
        if self.georeference is None:
            return None
        to_map = self.georeference.to_map
        return tuple(one and _as_corners(to_map(np.array(one, dtype=np.float64))) for one in self.corners)

    def to_dict(self) -> JsonObject:
        """Return the prediction in types that JSON has.

        A georeferenced image has `crs` and `map_boxes` as well. Where a box is turned there are `corners`, and
        `map_corners`.
        """
        result: JsonObject = {
            "task": self.task,
            "query": self.query,
            "text": self.text,
            "image_size": list(self.image_size),
            "boxes": [list(box) for box in self.boxes],
            "labels": list(self.labels),
            "scores": list(self.scores),
            "parsed": self.parsed,
            "num_tiles": self.num_tiles,
            "num_unparsed_tiles": self.num_unparsed_tiles,
        }
        if self.choice_probabilities is not None:
            result["choice_probabilities"] = dict(self.choice_probabilities)
        if self.georeference is not None:
            result["crs"] = self.georeference.crs
            result["map_boxes"] = [list(box) for box in self.map_boxes or ()]
        if self.corners:
            result["corners"] = _corners_to_lists(self.corners)
            if self.georeference is not None:
                result["map_corners"] = _corners_to_lists(self.map_corners or ())
        if self.denoising is not None:
            result["denoising"] = self.denoising.to_dict()
        return result


def _as_corners(points: NDArray[np.float64]) -> Corners:
    """Return four points as corners; those that have no place on the map are NaN."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points.tolist()
    return (ax, ay), (bx, by), (cx, cy), (dx, dy)


def _corners_to_lists(corners: Sequence[Corners | None]) -> list[list[list[float]] | None]:
    return [None if one is None else [list(point) for point in one] for one in corners]
