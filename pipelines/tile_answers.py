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
from geodit.pipelines.answering import Answer, ImageAnswerer, Inquiry
from geodit.pipelines.confirmation import leave_out_unconfirmed
from geodit.pipelines.merging import MergeOptions, merge_detections
from geodit.pipelines.no_data import clip_to_data
from geodit.pipelines.prediction import Prediction
from geodit.pipelines.tiling import Detection, Edges, as_box, corners_of_all, scaled, to_image
from geodit.processing.asking import ImageQuestion
from geodit.processing.turned_boxes_geodit import as_corners
from geodit.rasters.georeference import MapReference
from geodit.rasters.image_source import GeoImage

__all__ = [
    "QueryAnswer",
    "Tile",
    "TileAnswers",
    "TileStatus",
    "answer_tiles",
    "by_choice",
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
    answerer: ImageAnswerer,
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
    unclear: dict[int, ImageQuestion] = {}  # those that may be asked about again

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
            question = ImageQuestion(image.to_pil(), number=tile.number)
            seen[tile.number] = _Seen(tile, image.image_size, image.valid)
            if retry is not None:
                unclear[tile.number] = question
            yield question

    found: dict[int, dict[str, QueryAnswer]] = {}
    num_answered = num_done = 0
    for number, query, answer in answerer.answer(read(), inquiry, batch_size):
        of_tile = found.setdefault(number, {})
        of_tile[query] = seen[number].place(query, answer)
        if len(of_tile) == len(inquiry.queries):
            num_answered += 1
            if all(one.parsed for one in of_tile.values()):
                unclear.pop(number, None)
            num_done = num_answered + len(passed_over)
            if progress is not None:
                progress(num_done)
    if progress is not None and num_done < len(asked):
        progress(len(asked))
    if retry is not None:
        _ask_again(answerer, seen, unclear, found, replace(inquiry, options=retry), batch_size)
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


def merge_tiles(
    tiles: Sequence[TileAnswers], query: str, image_size: tuple[int, int], options: MergeOptions | None = None
) -> list[Detection]:
    """Return what was found of one query in all tiles of an image: every object once, best first.

    Args:
        tiles: Of the image.
        query: Which.
        image_size: `(height, width)` of the image.
        options: How to merge.
    """
    options = options or MergeOptions()
    found = detections_of(tiles, query)
    if options.confirm and options.merge != "none":
        # Neither a tile that was not understood nor the whole image, seen from afar, says that something is not there.
        seen = {
            tile.number: tile.window
            for tile in tiles
            for answer in tile.answers
            if answer.query == query and answer.parsed and (tile.window.height, tile.window.width) != image_size
        }
        found = leave_out_unconfirmed(found, seen, image_size, options)
    # Of a pass over the whole image, seen from afar, the window is larger than that of any tile.
    margin = min((_margin(tile.window) for tile in tiles), default=0.0)
    return merge_detections(found, options, margin)


def tiled_prediction(
    tiles: Iterable[TileAnswers],
    inquiry: Inquiry,
    query: str,
    found: Sequence[Detection],
    image_size: tuple[int, int],
    georeference: MapReference | None,
) -> Prediction:
    """Return the answer about an image that was seen in tiles, or in one.

    Args:
        tiles: What is known of each.
        inquiry: What was asked.
        query: Which of its queries.
        found: What was found in all tiles.
        image_size: `(height, width)` of the image.
        georeference: Where it is on Earth, if that is known.
    """
    answers = [answer for tile in tiles for answer in tile.answers if answer.query == query]
    unparsed = sum(not answer.parsed for answer in answers)
    probabilities = answers[0].choice_probabilities if len(answers) == 1 else None
    return Prediction(
        inquiry.task,
        query,
        _text_of(answers),
        image_size,
        boxes=tuple(detection.box for detection in found),
        labels=tuple(detection.label for detection in found),
        scores=tuple(detection.score for detection in found),
        corners=corners_of_all(found),
        parsed=unparsed == 0,
        num_tiles=len(answers),
        num_unparsed_tiles=unparsed,
        choice_probabilities=by_choice(inquiry.choices, probabilities),
        georeference=georeference,
    )


def by_choice(choices: Sequence[str] | None, probabilities: Sequence[float] | None) -> dict[str, float] | None:
    """Return the probability of each choice, if there are choices."""
    if choices is None or probabilities is None:
        return None
    return {choice.strip(): probability for choice, probability in zip(choices, probabilities, strict=True)}


def _text_of(answers: Sequence[QueryAnswer]) -> str:
    """Return the texts of answers, one a line; of tiles that say the same, one stands for all."""
    if any(answer.detections or not answer.parsed for answer in answers):
        # Where something was found elsewhere, that there is nothing here is no news.
        answers = [answer for answer in answers if answer.detections or not answer.parsed]
    return "\n".join(dict.fromkeys(answer.text for answer in answers))


@dataclass(frozen=True)
class _Seen:
    """A tile as the model saw it."""

    tile: Tile
    seen_size: tuple[int, int]
    valid: NDArray[np.bool_] | None

    def place(self, query: str, answer: Answer) -> QueryAnswer:
        """Move an answer to the pixels of the image."""
        window = self.tile.window
        factors = window.width / self.seen_size[1], window.height / self.seen_size[0]
        detections = tuple(
            replace(
                to_image(scaled(detection, *factors), window, self.tile.image_size, _margin(window)),
                tile=self.tile.number,
            )
            for detection in clip_to_data(answer.detections, self.valid)
        )
        return QueryAnswer(query, answer.text, answer.parsed, answer.score, detections, answer.choice_probabilities)


def _ask_again(
    answerer: ImageAnswerer,
    seen: dict[int, _Seen],
    unclear: dict[int, ImageQuestion],
    found: dict[int, dict[str, QueryAnswer]],
    inquiry: Inquiry,
    batch_size: int,
) -> None:
    """Ask for the answers that were not understood, query by query, and put those that now are in their place."""
    for query in inquiry.queries:
        images = [question for number, question in sorted(unclear.items()) if not found[number][query].parsed]
        for number, _, answer in answerer.answer(images, replace(inquiry, queries=(query,)), batch_size):
            placed = seen[number].place(query, answer) if answer.parsed else found[number][query]
            found[number][query] = replace(placed, attempts=2)


def _margin(window: Window) -> float:
    return _CUT_MARGIN * min(window.height, window.width)


def _answer_to_dict(answer: QueryAnswer) -> JsonObject:
    result: JsonObject = {
        "query": answer.query,
        "text": answer.text,
        "parsed": answer.parsed,
        "score": answer.score,
        "attempts": answer.attempts,
        "detections": [_detection_to_dict(detection) for detection in answer.detections],
    }
    if answer.choice_probabilities is not None:
        result["choice_probabilities"] = list(answer.choice_probabilities)
    return result


def _detection_to_dict(detection: Detection) -> JsonObject:
    result: JsonObject = {
        "box": list(detection.box),
        "label": detection.label,
        "score": detection.score,
        "cut": list(detection.cut_edges),
        "tile": detection.tile,
    }
    if detection.corners is not None:
        result["corners"] = [list(point) for point in detection.corners]
    return result


def _answer_from_dict(values: JsonObject) -> QueryAnswer:
    detections = tuple(
        Detection(
            as_box(one["box"]),
            str(one["label"]),
            float(one["score"]),
            Edges(*map(bool, one["cut"])),
            one["tile"],
            as_corners(one["corners"]) if "corners" in one else None,
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
