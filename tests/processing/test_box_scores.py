# SPDX-License-Identifier: Apache-2.0
"""Scores of boxes from the probabilities of their tokens."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.processing.box_scores import BOX_SCORES, DEFAULT_BOX_SCORE, BoxTokens, get_box_score, read_box_tokens
from geodit.processing.processing_geodit import GeoDiTProcessor

SIZE = (64, 64)


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("geometric_mean", (0.9 * 0.4 * 0.9 * 0.9) ** 0.25),
        ("arithmetic_mean", 0.775),
        ("product", 0.9 * 0.4 * 0.9 * 0.9),
        ("least", 0.4),
        ("first", 0.9),
        ("existence", 0.7),
    ],
)
def test_rules_by_hand(name: str, score: float) -> None:
    assert get_box_score(name)(BoxTokens((0.9, 0.4, 0.9, 0.9), 0.3)) == pytest.approx(score)


def test_every_rule_has_a_case_and_the_default_is_one_of_them() -> None:
    assert set(BOX_SCORES) == {"geometric_mean", "arithmetic_mean", "product", "least", "first", "existence"}
    assert DEFAULT_BOX_SCORE in BOX_SCORES


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1))
def test_scores_are_probabilities_in_a_known_order(confidences: list[float], end_probability: float) -> None:
    tokens = BoxTokens(tuple(confidences), end_probability)
    scores = {name: rule(tokens) for name, rule in BOX_SCORES.items()}
    assert all(-1e-12 <= score <= 1 + 1e-12 for score in scores.values())
    ascending = [scores[name] for name in ("product", "least", "geometric_mean", "arithmetic_mean")]
    assert all(low <= high + 1e-9 for low, high in itertools.pairwise(ascending))


def test_a_probability_that_was_rounded_to_zero_is_taken() -> None:
    assert 0 < get_box_score("geometric_mean")(BoxTokens((0.0, 1.0), 0.0)) == pytest.approx(math.sqrt(1e-12))


def test_an_unknown_rule_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="unknown box_score 'median': choose one of geometric_mean, arithmetic_mean"):
        get_box_score("median")


def test_a_box_has_the_probabilities_of_its_own_tokens_and_one_that_is_refused_has_none(
    processor: GeoDiTProcessor,
) -> None:
    text = "<loc_4><loc_4><loc_9><loc_9><loc_9><loc_9><loc_4><loc_4><loc_20><loc_4><loc_30><loc_9>"
    ids = processor.encode_answer(text, 32)
    confidences = [place / 32 for place in range(32)]
    assert len(processor.box_codec.decode(text, SIZE).boxes) == 2
    of_end = [place / 64 for place in range(32)]
    assert read_box_tokens(processor, ids, SIZE, confidences, of_end) == [
        BoxTokens(tuple(confidences[:4]), 0.0),
        BoxTokens(tuple(confidences[8:12]), 8 / 64),
    ]


def test_boxes_that_are_written_with_many_tokens(processor: GeoDiTProcessor) -> None:
    integers = GeoDiTProcessor(
        processor.image_processor, processor.tokenizer, box_format="integers_100", num_image_tokens=16
    )
    text = integers.format_answer("detect", boxes=[(4, 6, 20, 22), (30, 40, 50, 56)], image_size=SIZE)
    ids = integers.encode_answer(text, 64)
    confidences = [place / 64 for place in range(64)]
    first, second = (tokens.confidences for tokens in read_box_tokens(integers, ids, SIZE, confidences, confidences))
    assert first + second == tuple(confidences[: len(first) + len(second)]), "each token belongs to one box, in order"
    for count in (len(first) - 1, len(first)):
        written = integers.decode_canvas(ids[:count])
        assert isinstance(written, str)
        assert len(integers.box_codec.box_ends(written)) == (count == len(first))


def test_text_without_boxes_has_none(processor: GeoDiTProcessor) -> None:
    assert read_box_tokens(processor, processor.encode_answer("none", 8), SIZE, [1.0] * 8, [0.0] * 8) == []


def test_there_must_be_one_probability_per_token(processor: GeoDiTProcessor) -> None:
    ids = processor.encode_answer("none", 8)
    with pytest.raises(ValueError, match="8 tokens but 7 confidences"):
        read_box_tokens(processor, ids, SIZE, [1.0] * 7, [0.0] * 8)
    with pytest.raises(ValueError, match="8 tokens but 9 end probabilities"):
        read_box_tokens(processor, ids, SIZE, [1.0] * 8, [0.0] * 9)
