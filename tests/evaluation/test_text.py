# SPDX-License-Identifier: Apache-2.0
import pytest

from geodit.evaluation.text import normalize_answer, tokenize_caption


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("Many planes are parked in the airport .", "many planes are parked in the airport"),
        ("Two ships, near two-storey buildings; one tank!", "two ships near two-storey buildings one tank"),
        ("3.5 km of 1,000 cars/trucks", "3.5 km of 1,000 cars/trucks"),
        ("café \u2013 naïve", "café naïve"),
        ('A "large"  field...\n', "a large field"),
        ("", ""),
    ],
)
def test_plain_captions_are_tokenised_as_the_ptb_tokenizer_does(caption, tokens):
    # The right-hand sides are what pycocoevalcap's PTBTokenizer gives.
    assert tokenize_caption(caption) == tokens


@pytest.mark.parametrize(
    ("caption", "tokens", "ptb"),
    [
        ("a ship's hull", "a ship's hull", "a ship 's hull"),
        ("near St. Louis", "near st louis", "near st. louis"),
        ("(about) 50%", "about 50", "-lrb- about -rrb- 50 %"),
    ],
)
def test_where_the_ptb_tokenizer_differs(caption, tokens, ptb):
    assert tokenize_caption(caption) == tokens != ptb


@pytest.mark.parametrize("answer", ["storage tanks", " Storage_Tanks. ", "storage  tanks!"])
def test_case_punctuation_and_spacing_of_answers_do_not_matter(answer):
    assert normalize_answer(answer) == "storage tanks"


def test_articles_and_number_words_of_answers_matter():
    assert normalize_answer("a ship") != normalize_answer("ship")
    assert normalize_answer("two") != normalize_answer("2")
