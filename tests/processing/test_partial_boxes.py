# SPDX-License-Identifier: Apache-2.0
"""The boxes of an answer that is not finished."""

import pytest

import geodit
from geodit.processing.box_scores import get_box_score
from geodit.processing.partial_boxes import read_partial_boxes
from geodit.processing.processing_geodit import GeoDiTProcessor


@pytest.fixture(scope="module")
def processor():
    return GeoDiTProcessor.from_pretrained(geodit.bundled_checkpoint())


@pytest.fixture
def read(processor):
    mask = processor.tokenizer.convert_tokens_to_ids("<|mdm_mask|>")
    mask = processor.tokenizer.vocab_size + 10**6 if mask is None or mask < 0 else mask

    def read(text, tokens_per_box=4):
        parts = [part for part in text.split(" ") if part]
        ids = [mask if part == "M" else processor.tokenizer.convert_tokens_to_ids(f"<loc_{part}>") for part in parts]
        found = read_partial_boxes(
            processor,
            "detect",
            "ship",
            ids,
            (64, 64),
            [0.5] * len(ids),
            [0.0] * len(ids),
            mask_token_id=mask,
            rule=get_box_score("geometric_mean"),
            tokens_per_box=tokens_per_box,
        )
        assert all(one.label == "ship" for one in found)
        assert all(one.score == pytest.approx(0.5) for one in found)
        return [(one.start, one.stop) for one in found]

    return read


@pytest.mark.parametrize(
    ("canvas", "spans"),
    [
        ("M M M M M M M M", []),
        ("1 2 3 M 5 6 7 8", [(4, 8)]),
        ("1 2 8 9 M 6 7 8", [(0, 4)]),
        ("1 2 8 9 3 4 7 8", [(0, 4), (4, 8)]),
        ("M 2 8 9 3 M 7 8", []),  # four in a row, but of two boxes
        ("8 2 1 9 3 4 7 8", [(4, 8)]),  # x2 is left of x1
    ],
)
def test_boxes_of_four_tokens(read, canvas, spans):
    assert read(canvas) == spans


@pytest.mark.parametrize(
    ("canvas", "spans"),
    [("1 2 8 9 3 4 7 8", [(0, 4), (4, 8)]), ("1 2 8 9 3 M 7 8", [(0, 4)]), ("M 2 8 9 3 4 7 8", []), ("1 2 8", [])],
)
def test_where_boxes_begin_is_known_before_the_first_mask(read, canvas, spans):
    assert read(canvas, tokens_per_box=None) == spans
