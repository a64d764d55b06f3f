# SPDX-License-Identifier: Apache-2.0
"""What becomes of each tile: answered in pixels of the image, without data, or not readable; and asked again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodit.configuration.decoding_options import DecodingOptions
from geodit.data.windows import Window
from geodit.pipelines.answering import Answer, Answerer, Inquiry, NumberedAnswer
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.prediction import Denoising
from geodit.pipelines.tile_answers import (
    QueryAnswer,
    Tile,
    TileAnswers,
    answer_tiles,
    by_choice,
    detections_of,
    merge_tiles,
    tiled_prediction,
)
from geodit.pipelines.tiling import Box, Detection, Edges
from geodit.processing.asking import ImageQuestion
from geodit.rasters.image_source import GeoImage
from tiny_models import build_model

SIDE = 64
RETRY = DecodingOptions(max_denoising_steps=32)
SHIP = Inquiry("detect", ("ship",))


def an_answer(*boxes: Box, text: str = "a ship", parsed: bool = True) -> Answer:
    found = tuple(Detection(box, "ship", 0.9) for box in boxes)
    denoising = Denoising(("a", "[EOS]", "[EOS]"), (0, 0, 0), (0.81, 1.0, 0.1), 1)
    return Answer(text, parsed, (SIDE, SIDE), found, denoising, None)


UNCLEAR = an_answer(text="<loc_1><loc_2>", parsed=False)


class ScriptedAnswerer:
    """Says what it was told to, the last image first, and notes what it was asked.

    Args:
        answer: The answer about the tile of a number, to a query, with some number of denoising steps.
    """

    def __init__(self, answer: Callable[[int, str, int | None], Answer]) -> None:
        self._answer = answer
        self.asked: list[tuple[int, str, int | None]] = []

    def answer(
        self, images: Iterable[ImageQuestion], inquiry: Inquiry, batch_size: int = 8
    ) -> Iterator[NumberedAnswer]:
        """Answer as an [`Answerer`] does."""
        steps = inquiry.options.max_denoising_steps
        for image in reversed(list(images)):
            for query in inquiry.queries:
                self.asked.append((image.number, query, steps))
                yield NumberedAnswer(image.number, query, self._answer(image.number, query, steps))


def tile(number: int, window: Window, image_size: tuple[int, int] = (1000, 1000), valid: object = None) -> Tile:
    def read() -> GeoImage:
        return GeoImage(np.zeros((SIDE, SIDE, 3), np.uint8), valid=valid)

    return Tile(number, window, image_size, read)


def unreadable(number: int) -> Tile:
    def read() -> GeoImage:
        raise ValueError("block 3 is damaged")

    return Tile(number, Window(0, 0, SIDE, SIDE), (1000, 1000), read)


def in_row(count: int) -> list[Tile]:
    return [tile(number, Window(0, SIDE * number, SIDE, SIDE)) for number in range(count)]


# In JSON


boxes = st.tuples(*[st.floats(0, 1e6)] * 4)
answers = st.builds(
    QueryAnswer,
    st.text(),
    st.text(),
    st.booleans(),
    st.floats(0, 1),
    st.lists(
        st.builds(
            Detection, boxes, st.text(), st.floats(0, 1), st.builds(Edges, *[st.booleans()] * 4), st.integers(0)
        ),
        max_size=3,
    ).map(tuple),
    st.none() | st.lists(st.floats(0, 1), max_size=3).map(tuple),
    st.integers(1, 2),
)
windows = st.builds(Window, *[st.integers(0, 10**6)] * 4)


@given(
    st.builds(
        TileAnswers,
        st.integers(0),
        windows,
        st.sampled_from(["answered", "no data", "unreadable"]),
        st.lists(answers, max_size=3).map(tuple),
        st.text(),
    )
)
def test_comes_back_from_json_as_it_was(known: TileAnswers) -> None:
    assert TileAnswers.from_dict(json.loads(json.dumps(known.to_dict()))) == known


@pytest.mark.parametrize(
    "change",
    [{"number": "one"}, {"window": [1, 2, 3]}, {"status": "lost"}, {"answers": [{"query": "ship"}]}, {"answers": 3}],
)
def test_other_json_is_refused(change: dict[str, object]) -> None:
    known = TileAnswers(0, Window(0, 0, 1, 1), "answered", (QueryAnswer("ship", "", True, 0.5),)).to_dict()
    with pytest.raises((KeyError, TypeError, ValueError)):
        TileAnswers.from_dict(known | change)


# Asking


def test_answers_are_in_the_order_of_tiles_and_queries() -> None:
    answerer = ScriptedAnswerer(lambda number, query, steps: an_answer(text=f"{query} {number}"))
    known = answer_tiles(answerer, in_row(3), Inquiry("vqa", ("b", "a")))
    assert [(one.number, one.status) for one in known] == [(0, "answered"), (1, "answered"), (2, "answered")]
    assert [[answer.text for answer in one.answers] for one in known] == [
        ["b 0", "a 0"],
        ["b 1", "a 1"],
        ["b 2", "a 2"],
    ]


def test_boxes_are_in_pixels_of_the_image_and_know_their_tile() -> None:
    """Of a tile of 128 pixels that the model sees at half their size."""
    answerer = ScriptedAnswerer(
        lambda number, query, steps: an_answer((10.0, 20.0, 30.0, 40.0), (40.0, 0.0, 64.0, 8.0))
    )
    (known,) = answer_tiles(answerer, [tile(7, Window(100, 200, 128, 128))], SHIP)
    inner, at_edge = known.answers[0].detections
    assert inner == Detection((220.0, 140.0, 260.0, 180.0), "ship", 0.9, tile=7)
    assert at_edge.box == (280.0, 100.0, 328.0, 116.0)
    assert at_edge.cut_edges == Edges(top=True, right=True)


def test_a_tile_without_data_is_not_asked_about() -> None:
    nothing = np.zeros((SIDE, SIDE), bool)
    answerer = ScriptedAnswerer(lambda number, query, steps: an_answer())
    empty, full = answer_tiles(answerer, [tile(0, Window(0, 0, 64, 64), valid=nothing), *in_row(2)[1:]], SHIP)
    assert (empty.status, empty.answers, full.status) == ("no data", (), "answered")
    assert [number for number, *_ in answerer.asked] == [1]


def test_no_box_lies_where_there_is_no_data() -> None:
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, :32] = False
    answerer = ScriptedAnswerer(
        lambda number, query, steps: an_answer((4.0, 4.0, 20.0, 20.0), (28.0, 4.0, 40.0, 20.0))
    )
    (known,) = answer_tiles(answerer, [tile(0, Window(0, 0, SIDE, SIDE), valid=valid)], SHIP)
    assert [one.box for one in known.answers[0].detections] == [(32.0, 4.0, 40.0, 20.0)]


def test_a_tile_that_cannot_be_read_says_why_and_the_others_are_answered() -> None:
    answerer = ScriptedAnswerer(lambda number, query, steps: an_answer())
    known = answer_tiles(answerer, [unreadable(0), *in_row(3)[1:]], SHIP)
    assert [one.status for one in known] == ["unreadable", "answered", "answered"]
    assert [one.error for one in known] == ["block 3 is damaged", "", ""]


def test_progress_counts_all_tiles_once() -> None:
    nothing = np.zeros((SIDE, SIDE), bool)
    told: list[int] = []
    answerer = ScriptedAnswerer(lambda number, query, steps: an_answer())
    tiles = [unreadable(0), *in_row(4)[1:], tile(4, Window(0, 0, 64, 64), valid=nothing)]
    answer_tiles(answerer, tiles, SHIP, progress=told.append)
    assert told == sorted(set(told))
    assert told[-1] == len(tiles)


def test_progress_ends_where_nothing_is_asked_about() -> None:
    told: list[int] = []
    answer_tiles(ScriptedAnswerer(lambda *_: an_answer()), [unreadable(0), unreadable(1)], SHIP, progress=told.append)
    assert told == [2]


def test_what_was_not_understood_is_asked_again_and_nothing_else() -> None:
    def answer(number: int, query: str, steps: int | None) -> Answer:
        is_clear = steps == RETRY.max_denoising_steps or (number, query) != (1, "ship")
        return an_answer((1.0, 1.0, 9.0, 9.0)) if is_clear else UNCLEAR

    answerer = ScriptedAnswerer(answer)
    known = answer_tiles(answerer, in_row(3), Inquiry("detect", ("ship", "tank")), retry=RETRY)
    assert answerer.asked[6:] == [(1, "ship", RETRY.max_denoising_steps)]
    assert [[answer.attempts for answer in one.answers] for one in known] == [[1, 1], [2, 1], [1, 1]]
    assert all(answer.parsed for one in known for answer in one.answers)
    assert known[1].answers[0].detections[0].box == (65.0, 1.0, 73.0, 9.0)


def test_the_first_answer_stays_if_the_second_is_not_understood_either() -> None:
    def answer(number: int, query: str, steps: int | None) -> Answer:
        return an_answer(text="second" if steps == RETRY.max_denoising_steps else "first", parsed=False)

    (known,) = answer_tiles(ScriptedAnswerer(answer), in_row(1), SHIP, retry=RETRY)
    assert known.answers[0] == QueryAnswer("ship", "first", False, pytest.approx(0.9), attempts=2)


def test_without_a_retry_nothing_is_asked_twice() -> None:
    answerer = ScriptedAnswerer(lambda *_: UNCLEAR)
    (known,) = answer_tiles(answerer, in_row(1), SHIP)
    assert len(answerer.asked) == 1
    assert known.answers[0].attempts == 1


def test_the_score_is_the_mean_of_the_tokens_up_to_the_end() -> None:
    assert an_answer().score == pytest.approx(0.9)
    nothing = Answer("", True, (8, 8), (), Denoising((), (), (), 0), None)
    assert nothing.score == 0.0


# A model


class Encodings:
    """Counts the images that a model encodes."""

    def __init__(self, answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = 0
        encode = answerer.model.encode_image

        def counted(pixel_values: torch.Tensor, *args: object, **options: object) -> object:
            self.images += len(pixel_values)
            return encode(pixel_values, *args, **options)

        monkeypatch.setattr(answerer.model, "encode_image", counted)


@pytest.fixture(scope="module")
def answerer(device: torch.device) -> Answerer:
    """Of a network whose answers are arbitrary."""
    return GeoDiTPipeline(*build_model(), device).answerer


def picture(seed: int) -> GeoImage:
    return GeoImage(np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8))


def pictures(count: int) -> list[Tile]:
    return [Tile(number, Window(0, 0, 48, 48), (48, 48), partial(picture, number)) for number in range(count)]


@pytest.mark.parametrize(
    "inquiry",
    [
        Inquiry("detect", ("ship", "tank", "harbor")),
        Inquiry("vqa", ("Is it water?", "Is it a ship?"), choices=("two", "none")),
        Inquiry("vqa", ("Is it water?", "Is it a ship?")),
    ],
)
def test_an_image_is_encoded_once_for_all_queries_of_one_form(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch, inquiry: Inquiry
) -> None:
    encodings = Encodings(answerer, monkeypatch)
    known = answer_tiles(answerer, pictures(5), inquiry, batch_size=2)
    assert encodings.images == 5
    alone = [
        answer_tiles(answerer, pictures(5), Inquiry(inquiry.task, (query,), inquiry.choices), batch_size=2)
        for query in inquiry.queries
    ]
    for number, one in enumerate(known):
        assert [answer.query for answer in one.answers] == list(inquiry.queries)
        assert [answer.text for answer in one.answers] == [of_query[number].answers[0].text for of_query in alone]


def test_queries_of_several_forms_are_answered_in_their_order(answerer: Answerer) -> None:
    """A list of classes has labels in its answer, for which the form of boxes has no place."""
    inquiry = Inquiry("detect", ("ship", "ship, tank", "tank"), options=DecodingOptions(max_denoising_steps=2))
    known = answer_tiles(answerer, pictures(3), inquiry, batch_size=2)
    assert [[answer.query for answer in one.answers] for one in known] == [list(inquiry.queries)] * 3
    assert all(one.answers[0].parsed and one.answers[2].parsed for one in known)


@pytest.mark.parametrize(("queries", "message"), [((), "nothing to ask"), (("ship", "ship"), "twice")])
def test_queries_are_some_and_differ(queries: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Inquiry("detect", queries)


# All tiles together


def found_in(number: int, window: Window, *boxes: Box, parsed: bool = True, query: str = "ship") -> TileAnswers:
    detections = tuple(Detection(box, query, 0.9, tile=number) for box in boxes)
    return TileAnswers(number, window, "answered", (QueryAnswer(query, "text", parsed, 0.5, detections),))


LEFT, RIGHT = Window(0, 0, 64, 64), Window(0, 32, 64, 64)
WHOLE = Window(0, 0, 64, 96)
SIZE = (64, 96)
IN_BOTH = (40.0, 20.0, 48.0, 28.0)  # farther from the edges in the left tile: 16 pixels, and 8 in the right one
NEAR = (34.0, 20.0, 42.0, 28.0)


def test_what_the_better_tile_has_not_found_is_left_out() -> None:
    alone = [found_in(0, LEFT), found_in(1, RIGHT, NEAR)]
    both = [found_in(0, LEFT, NEAR), found_in(1, RIGHT, NEAR)]
    assert merge_tiles(alone, "ship", SIZE) == []
    assert [one.box for one in merge_tiles(both, "ship", SIZE)] == [NEAR]
    assert [one.box for one in merge_tiles(alone, "ship", SIZE, MergeOptions(confirm=False))] == [NEAR]
    assert [one.box for one in merge_tiles(alone, "ship", SIZE, MergeOptions("none"))] == [NEAR]


def test_a_tile_that_was_not_understood_denies_nothing() -> None:
    tiles = [found_in(0, LEFT, parsed=False), found_in(1, RIGHT, NEAR)]
    assert [one.box for one in merge_tiles(tiles, "ship", SIZE)] == [NEAR]


def test_a_tile_that_could_not_be_read_denies_nothing() -> None:
    tiles = [TileAnswers(0, LEFT, "unreadable", error="damaged"), found_in(1, RIGHT, NEAR)]
    assert [one.box for one in merge_tiles(tiles, "ship", SIZE)] == [NEAR]


def test_the_whole_image_seen_from_afar_finds_what_is_larger_than_a_tile() -> None:
    large = (4.0, 4.0, 92.0, 60.0)
    tiles = [found_in(0, LEFT), found_in(1, RIGHT), found_in(2, WHOLE, large)]
    assert [one.box for one in merge_tiles(tiles, "ship", SIZE)] == [large]


def test_the_whole_image_seen_from_afar_denies_nothing() -> None:
    tiles = [found_in(0, LEFT, NEAR), found_in(1, RIGHT, NEAR), found_in(2, WHOLE)]
    assert [one.box for one in merge_tiles(tiles, "ship", SIZE)] == [NEAR]


def test_queries_have_nothing_to_do_with_each_other() -> None:
    tiles = [found_in(0, LEFT, IN_BOTH), found_in(1, LEFT, IN_BOTH, query="tank")]
    assert [one.label for one in detections_of(tiles, "tank")] == ["tank"]
    assert [one.label for one in merge_tiles(tiles, "ship", SIZE)] == ["ship"]


def prediction_of(tiles: Sequence[TileAnswers], inquiry: Inquiry = SHIP) -> object:
    return tiled_prediction(tiles, inquiry, "ship", merge_tiles(tiles, "ship", SIZE), SIZE, None)


def test_texts_of_tiles_without_objects_are_no_news() -> None:
    nothing = TileAnswers(1, RIGHT, "answered", (QueryAnswer("ship", "none", True, 0.9),))
    assert prediction_of([found_in(0, LEFT, IN_BOTH), nothing]).text == "text"
    assert prediction_of([nothing, nothing]).text == "none"


def test_a_prediction_counts_what_was_not_understood() -> None:
    tiles = [found_in(0, LEFT, IN_BOTH), found_in(1, RIGHT, parsed=False), TileAnswers(2, LEFT, "no data")]
    prediction = prediction_of(tiles)
    assert (prediction.parsed, prediction.num_tiles, prediction.num_unparsed_tiles) == (False, 2, 1)


def test_probabilities_are_by_choice_where_there_is_one_answer() -> None:
    answer = QueryAnswer("ship", "yes", True, 0.9, choice_probabilities=(0.75, 0.25))
    inquiry = Inquiry("vqa", ("ship",), ("yes ", " no"))
    one = TileAnswers(0, LEFT, "answered", (answer,))
    assert prediction_of([one], inquiry).choice_probabilities == {"yes": 0.75, "no": 0.25}
    assert prediction_of([one, one], inquiry).choice_probabilities is None
    assert by_choice(None, None) is None
