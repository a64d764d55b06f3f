# SPDX-License-Identifier: Apache-2.0
"""Objects and answers with their place, and the layers of a map that are made of them and of the tiles behind them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geodit.configuration.types_geodit import JsonObject
from geodit.data.windows import Window
from geodit.pipelines.scenes.job import file_facts
from geodit.pipelines.scenes.layers import ColumnType, Layer, Value
from geodit.pipelines.tile_answers import TileAnswers
from geodit.pipelines.tiling import Box
from geodit.processing.polygons import is_clockwise
from geodit.processing.turned_boxes_geodit import Corners
from geodit.rasters.georeference import MapReference

__all__ = ["ModelName", "SceneObject", "found_layer", "tiles_layer", "window_box"]

_FOUND: dict[str, ColumnType] = {
    "label": str,
    "score": float,
    "query": str,
    "text": str,
    "tile": int,
    "parsed": bool,
    "x1": float,
    "y1": float,
    "x2": float,
    "y2": float,
    "model": str,
    "revision": str,
    "source": str,
}
_TILES: dict[str, ColumnType] = {
    "tile": int,
    "query": str,
    "status": str,
    "parsed": bool,
    "attempts": int,
    "boxes": int,
    "text": str,
    "error": str,
    "source": str,
}


@dataclass(frozen=True)
class ModelName:
    """What results say of the model.

    Args:
        name: Directory or Hub id.
        revision: Commit or branch, if it is known.
        folders: Local directories that it was loaded from.
    """

    name: str
    revision: str | None = None
    folders: tuple[str, ...] = ()

    def fingerprint(self) -> JsonObject:
        """Return what tells the model from another one, or from itself after more training."""
        weights = [str(path) for folder in self.folders for path in sorted(Path(folder).glob("*.safetensors"))]
        return {"model": self.name, "revision": self.revision, "weights": [file_facts(path) for path in weights]}


@dataclass(frozen=True)
class SceneObject:
    """Something that was found in a scene, or an answer about a part of it.

    Args:
        box: `(x1, y1, x2, y2)` in pixels of the image; of an answer, its tile.
        label: The class of an object; the text of an answer.
        score: 0 to 1, from the probabilities of the tokens.
        query: What was asked.
        text: The whole answer about the tile.
        tile: Number of the tile, counted from 0 in its image.
        parsed: Whether all of that answer was understood.
        probabilities: Of each of the choices, if the answer is one of them.
        corners: Of a turned box, in pixels of the image, which they may leave; `box` is the upright one around what of
            it lies in the image.
    """

    box: Box
    label: str
    score: float
    query: str
    text: str
    tile: int
    parsed: bool
    probabilities: dict[str, float] | None = None
    corners: Corners | None = None


def found_layer(
    name: str,
    objects: Iterable[SceneObject],
    image: str,
    georeference: MapReference | None,
    model: ModelName,
    choices: Sequence[str] = (),
) -> Layer:
    """Return objects or answers as polygons with properties: of turned boxes the turned rectangles.

    What the map of the image has no place for is left out.

    Args:
        name: Of the layer.
        objects: What was found.
        image: Path or address of the image.
        georeference: Where it is on Earth; without it the polygons are in pixels.
        model: The model.
        choices: The only answers that there are; the probability of each is a column.
    """
    names = _column_names(choices)

    def rows() -> Iterator[tuple[Box | Corners, list[Value]]]:
        for one in objects:
            given = one.probabilities or {}
            values: list[Value] = [one.label, one.score, one.query, one.text, one.tile, one.parsed, *one.box]
            yield (
                one.corners or one.box,
                [*values, model.name, model.revision, image, *(given.get(choice) for choice in choices)],
            )

    return _layer(name, rows(), georeference, {**_FOUND, **dict.fromkeys(names, float)})


def tiles_layer(
    tiles: Iterable[TileAnswers], queries: Sequence[str], image: str, georeference: MapReference | None
) -> Layer:
    """Return what became of each tile and query; a tile that was not asked about stands for all queries at once.

    Args:
        tiles: The tiles of an image, in order.
        queries: What was asked.
        image: Path or address of the image.
        georeference: Where it is on Earth.
    """

    def rows() -> Iterator[tuple[Box | Corners, list[Value]]]:
        first: int | None = None
        for tile in tiles:
            first = tile.number if first is None else first
            box, number = window_box(tile.window), tile.number - first
            if not tile.answers:
                yield box, [number, None, tile.status, None, 0, 0, None, tile.error or None, image]
            for answer in tile.answers:
                found = len(answer.detections)
                yield (
                    box,
                    [
                        number,
                        answer.query,
                        tile.status,
                        answer.parsed,
                        answer.attempts,
                        found,
                        answer.text,
                        None,
                        image,
                    ],
                )

    return _layer("tiles", rows(), georeference, _TILES)


def window_box(window: Window) -> Box:
    """Return a window as a box."""
    top, left, height, width = window
    return float(left), float(top), float(left + width), float(top + height)


def _layer(
    name: str,
    rows: Iterable[tuple[Box | Corners, list[Value]]],
    georeference: MapReference | None,
    types: dict[str, ColumnType],
) -> Layer:
    rings, kept = [], []
    for outline, values in rows:
        ring = _ring(outline, georeference)
        if np.isfinite(ring).all():
            rings.append(ring)
            kept.append(values)
    columns = {column: [values[index] for values in kept] for index, column in enumerate(types)}
    return Layer(name, None if georeference is None else georeference.crs, tuple(rings), columns, types)


def _ring(outline: Box | Corners, georeference: MapReference | None) -> NDArray[np.float64]:
    """Return the corners (4, 2) of a box, counter-clockwise as seen in the image."""
    points = np.array(outline, dtype=np.float64)
    if points.ndim == 1:
        x1, y1, x2, y2 = points.tolist()
        points = np.array([[x1, y1], [x1, y2], [x2, y2], [x2, y1]])
    elif is_clockwise(points.tolist()):
        points = points[[0, 3, 2, 1]]
    return points if georeference is None else georeference.to_map(points)


def _column_names(choices: Sequence[str]) -> list[str]:
    """Return a name for the probability of each choice, in letters that every format takes."""
    names: list[str] = []
    for choice in choices:
        plain = name = f"p_{re.sub(r'[^a-z0-9]+', '_', choice.lower()).strip('_')}"
        number = 1
        while name in names:
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names
