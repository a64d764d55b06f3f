# SPDX-License-Identifier: Apache-2.0
"""The answers about tiles of images: asked, moved to the pixels of the image, and merged to what was found there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.data.windows import Window
from geodit.pipelines.answering import Answer, Answerer, Inquiry
from geodit.pipelines.georeference import MapReference
from geodit.pipelines.image_source import GeoImage
from geodit.pipelines.merging import MergeOptions, merge_detections
from geodit.pipelines.no_data import clip_to_data
from geodit.pipelines.prediction import Prediction
from geodit.pipelines.tiling import Detection, Edges, as_box, to_image
from geodit.processing.asking import ImageQuestion

__all__ = [
    "QueryAnswer",
    "Tile",
    "TileAnswers",
    "TileStatus",
    "answer_tiles",
    "detections_of",
    "merge_tiles",
    "tiled_prediction",
]

TileStatus = Literal["answered", "no data", "unreadable"]

# A box may end this share of a tile's side before the tile's edge and still count as cut by it: the notations
# of boxes are coarse, and so is a small model.
_CUT_MARGIN = 0.02


@dataclass(frozen=True)
class Tile:
    """A part of an image that is asked about.

    Args:
        number: Of the tile among all of a job, which its random numbers depend on.
        window: Where it is, in pixels of the image.
        image_size: `(height, width)` of the image.
        read: Reads its pixels, at the resolution at which the model sees it.
    """

    number: int
    window: Window
    image_size: tuple[int, int]
    read: Callable[[], GeoImage]


@dataclass(frozen=True)
class QueryAnswer:
    """The answer to one query about a tile.

    Args:
        query: What was asked.
        text: The answer as the model wrote it.
        parsed: Whether all of it was understood.
        score: Geometric mean of the probabilities of its tokens.
        detections: Its boxes, in pixels of the image.
        choice_probabilities: Of each of the choices, if it is one of them.
        attempts: How often it was asked.
    """

    query: str
    text: str
    parsed: bool
    score: float
    detections: tuple[Detection, ...] = ()
    choice_probabilities: tuple[float, ...] | None = None
    attempts: int = 1


@dataclass(frozen=True)
class TileAnswers:
    """What is known of a tile.

    Args:
        number: Of the tile, as in [`Tile`].
        window: Where it is, in pixels of the image.
        status: Whether it was answered, has no data, or could not be read.
        answers: One a query, in their order, if it was answered.
        error: Why it could not be read.
    """

    number: int
    window: Window
    status: TileStatus
    answers: tuple[QueryAnswer, ...] = ()
    error: str = ""

    def to_dict(self) -> JsonObject:
        """Return it in types that JSON has; [`from_dict`] gives the same again."""
        result: JsonObject = {"number": self.number, "window": list(self.window), "status": self.status}
        if self.error:
            result["error"] = self.error
        if self.answers:
            result["answers"] = [_answer_to_dict(answer) for answer in self.answers]
        return result

    @classmethod
    def from_dict(cls, values: JsonObject) -> TileAnswers:
        """Read what [`to_dict`] returned.

        Raises:
            KeyError, TypeError, ValueError: If it is something else.
        """
        return cls(
            int(values["number"]),
            Window(*(int(value) for value in values["window"])),
            _as_status(values["status"]),
            tuple(_answer_from_dict(answer) for answer in values.get("answers", ())),
            str(values.get("error", "")),
        )


def answer_tiles(
    answerer: Answerer,
    tiles: Iterable[Tile],
    inquiry: Inquiry,
    *,
    batch_size: int = 8,
    retry: DecodingOptions | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[TileAnswers]:
    """Ask about tiles. Tiles are read while others are answered.

    Args:
        answerer: Whom to ask.
        tiles: What to ask about.
        inquiry: What to ask.
        batch_size: Tiles that are encoded at once, and questions that are answered at once.
        retry: Answers that were not understood are asked for again with these options; a second answer that is
            understood takes their place.
        progress: Called with the number of tiles that are done, whenever one is.

    Returns:
        What is known of each tile, in their order. A tile that has no data is not asked about, nor one that cannot be
        read.
    """
    seen: dict[int, _Seen] = {}
    passed_over: dict[int, TileAnswers] = {}
    asked: list[Tile] = []

    def read() -> Iterator[ImageQuestion]:
        for tile in tiles:
            asked.append(tile)
            try:
                image = tile.read()
            except ValueError as error:
                passed_over[tile.number] = TileAnswers(tile.number, tile.window, "unreadable", error=str(error))
                continue
            if image.valid is not None and not image.valid.any():
                passed_over[tile.number] = TileAnswers(tile.number, tile.window, "no data")
                continue
            seen[tile.number] = _Seen(tile, image.image_size, image.valid)
            yield ImageQuestion(image.to_pil(), number=tile.number)

    found: dict[int, dict[str, QueryAnswer]] = {}
    num_answered = 0
    for number, query, answer in answerer.answer(read(), inquiry, batch_size):
        of_tile = found.setdefault(number, {})
        of_tile[query] = seen[number].place(query, answer)
        if len(of_tile) == len(inquiry.queries):
            num_answered += 1
            if progress is not None:
                progress(num_answered + len(passed_over))
    if progress is not None and num_answered == 0:
        progress(len(passed_over))
    if retry is not None:
        _ask_again(answerer, seen, found, replace(inquiry, options=retry), batch_size)
    return [
        passed_over[tile.number]
        if tile.number in passed_over
        else TileAnswers(
            tile.number, tile.window, "answered", tuple(found[tile.number][query] for query in inquiry.queries)
        )
        for tile in asked
    ]


def detections_of(tiles: Iterable[TileAnswers], query: str) -> list[Detection]:
    """Return all that was found of one query, tile by tile."""
    return [
        detection
        for tile in sorted(tiles, key=lambda tile: tile.number)
        for answer in tile.answers
        if answer.query == query
        for detection in answer.detections
    ]


def merge_tiles(tiles: Sequence[TileAnswers], query: str, options: MergeOptions | None = None) -> list[Detection]:
    """Return what was found of one query in all tiles of an image: every object once, best first."""
    # Of a pass over the whole image, seen from afar, the window is larger than that of any tile.
    margin = min((_margin(tile.window) for tile in tiles), default=0.0)
    return merge_detections(detections_of(tiles, query), options, margin)


def tiled_prediction(
    tiles: Iterable[TileAnswers],
    task: str,
    query: str,
    merged: Sequence[Detection],
    image_size: tuple[int, int],
    georeference: MapReference | None,
) -> Prediction:
    """Return the answer about an image that was seen in tiles.

    Args:
        tiles: What is known of each.
        task: What was asked for.
        query: What was asked.
        merged: What was found in all tiles.
        image_size: `(height, width)` of the image.
        georeference: Where it is on Earth, if that is known.
    """
    answers = [answer for tile in tiles for answer in tile.answers if answer.query == query]
    unparsed = sum(not answer.parsed for answer in answers)
    # Of tiles in which there is nothing, one stands for all.
    told = [answer.text for answer in answers if answer.detections or not answer.parsed]
    return Prediction(
        task,
        query,
        "\n".join(told or [answer.text for answer in answers[:1]]),
        image_size,
        boxes=tuple(detection.box for detection in merged),
        labels=tuple(detection.label for detection in merged),
        scores=tuple(detection.score for detection in merged),
        parsed=unparsed == 0,
        num_tiles=len(answers),
        num_unparsed_tiles=unparsed,
        georeference=georeference,
    )


@dataclass(frozen=True)
class _Seen:
    """A tile as the model saw it."""

    tile: Tile
    seen_size: tuple[int, int]
    valid: NDArray[np.bool_] | None

    def place(self, query: str, answer: Answer) -> QueryAnswer:
        """Move an answer to the pixels of the image."""
        window = self.tile.window
        scale = window.width / self.seen_size[1], window.height / self.seen_size[0]
        detections = tuple(
            replace(
                to_image(_scaled(detection, scale), window, self.tile.image_size, _margin(window)),
                tile=self.tile.number,
            )
            for detection in clip_to_data(answer.detections, self.valid)
        )
        return QueryAnswer(query, answer.text, answer.parsed, answer.score, detections, answer.choice_probabilities)


def _ask_again(
    answerer: Answerer,
    seen: dict[int, _Seen],
    found: dict[int, dict[str, QueryAnswer]],
    inquiry: Inquiry,
    batch_size: int,
) -> None:
    """Ask for the answers that were not understood, query by query, and put those that now are in their place."""
    for query in inquiry.queries:
        numbers = sorted(number for number, answers in found.items() if not answers[query].parsed)
        images = (ImageQuestion(seen[number].tile.read().to_pil(), number=number) for number in numbers)
        for number, _, answer in answerer.answer(images, replace(inquiry, queries=(query,)), batch_size):
            placed = seen[number].place(query, answer) if answer.parsed else found[number][query]
            found[number][query] = replace(placed, attempts=2)


def _margin(window: Window) -> float:
    return _CUT_MARGIN * min(window.height, window.width)


def _scaled(detection: Detection, scale: tuple[float, float]) -> Detection:
    if scale == (1.0, 1.0):
        return detection
    x, y = scale
    x1, y1, x2, y2 = detection.box
    return replace(detection, box=(x1 * x, y1 * y, x2 * x, y2 * y))


def _answer_to_dict(answer: QueryAnswer) -> JsonObject:
    result: JsonObject = {
        "query": answer.query,
        "text": answer.text,
        "parsed": answer.parsed,
        "score": answer.score,
        "attempts": answer.attempts,
        "detections": [
            {
                "box": list(detection.box),
                "label": detection.label,
                "score": detection.score,
                "cut": list(detection.cut_edges),
                "tile": detection.tile,
            }
            for detection in answer.detections
        ],
    }
    if answer.choice_probabilities is not None:
        result["choice_probabilities"] = list(answer.choice_probabilities)
    return result


def _answer_from_dict(values: JsonObject) -> QueryAnswer:
    detections = tuple(
        Detection(
            as_box(one["box"]), str(one["label"]), float(one["score"]), Edges(*map(bool, one["cut"])), one["tile"]
        )
        for one in values["detections"]
    )
    probabilities = values.get("choice_probabilities")
    return QueryAnswer(
        str(values["query"]),
        str(values["text"]),
        bool(values["parsed"]),
        float(values["score"]),
        detections,
        None if probabilities is None else tuple(float(one) for one in probabilities),
        int(values["attempts"]),
    )


def _as_status(value: object) -> TileStatus:
    if value == "answered" or value == "no data" or value == "unreadable":
        return value
    raise ValueError(f"{value!r} is no status of a tile")
