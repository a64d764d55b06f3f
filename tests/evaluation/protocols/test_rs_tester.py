# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of RS_Tester's quirks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answer_records import captioned, detected, grounded, replied
from geodit.evaluation.protocols import get_protocol
from geodit.evaluation.protocols.rs_tester import (
    character_bleu,
    eleven_point_precision,
    greedy_scores,
    misread_iou,
    ngram_similarity,
)

RS_TESTER, OURS = get_protocol("rs_tester"), get_protocol("ours")


def test_a_box_shifted_by_its_own_side_is_a_hit_in_92_percent_of_places():
    # A box of 20 pixels and its right neighbor lie in 761 places of a row of 800. From (x, 2x + 20) and
    # (x + 20, 2x + 60), as they are read, follows the IoU x / (x + 60), which is at least 1/2 from x = 60 on.
    answers = [grounded((x, 300, x + 20, 320), (x + 20, 300, x + 40, 320)) for x in range(761)]
    assert RS_TESTER.score(answers)["ground"]["accuracy_50"] == 701 / 761
    assert round(100 * 701 / 761) == 92
    assert OURS.score(answers)["ground"]["accuracy"] == 0
    assert misread_iou((60, 300, 80, 320), (80, 300, 100, 320)) == 60 / 120


def test_a_box_at_the_origin_is_read_as_it_is():
    assert misread_iou((0, 0, 10, 10), (0, 0, 10, 5)) == 1 / 2
    assert misread_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_accuracy_has_three_thresholds_from_the_iou_on():
    answers = [grounded((0, 0, 100, 100), (0, 0, 100, height)) for height in (50, 75, 95, 49)]
    assert RS_TESTER.score(answers)["ground"] == {
        "accuracy_50": 3 / 4,
        "accuracy_75": 2 / 4,
        "accuracy_95": 1 / 4,
        "mean_iou": pytest.approx((0.5 + 0.75 + 0.95 + 0.49) / 4),
        "num_samples": 4,
    }


def test_ap_depends_on_the_order_of_writing():
    right, wrong = (0, 0, 10, 10), (0, 0, 1, 1)
    assert eleven_point_precision([right, wrong], [right], 0.5) == pytest.approx(1)
    assert eleven_point_precision([wrong, right], [right], 0.5) == pytest.approx(1 / 2)
    # One of two: precision 1 at the levels 0 to 0.5, which are six of eleven.
    assert eleven_point_precision([right, wrong], [right, (0, 0, 200, 200)], 0.5) == pytest.approx(6 / 11)


def test_ap_takes_an_iou_above_the_threshold_and_f1_at_least_that():
    answers = [detected([(0, 0, 10, 10)], [(0, 0, 10, 5)])]
    figures = RS_TESTER.score(answers)["detect"]
    assert (figures["ap_50"], figures["f1_50"]) == (0, 1)
    assert (figures["ap_25"], figures["f1_75"]) == (pytest.approx(1), 0)


def test_a_question_with_one_object_weighs_as_much_as_one_with_ten():
    # Powers of two from the origin: no two of them overlap by a half, read either way.
    ten = [(0, 0, 2**power, 2**power) for power in range(10)]
    answers = [detected(ten, []), detected([(0, 0, 10, 10)], [(0, 0, 10, 10)])]
    figures = RS_TESTER.score(answers)["detect"]
    assert figures["ap_50"] == pytest.approx(1 / 2)
    assert figures["recall_50"] == figures["f1_50"] == 1 / 2
    assert OURS.score(answers)["detect"]["recall"] == 1 / 11


def test_a_question_without_objects_counts_as_zero_when_answered_rightly():
    figures = RS_TESTER.score([detected([], [])])["detect"]
    assert (figures["ap_50"], figures["f1_50"]) == (0, 0)
    ours = OURS.score([detected([], [])])["detect"]
    assert (ours["f1"], ours["empty_accuracy"]) == (1, 1)


def test_the_class_is_not_compared():
    figures = RS_TESTER.score([detected([(0, 0, 9, 9)], [(0, 0, 9, 9)], labels=["plane"])])["detect"]
    assert (figures["ap_75"], figures["f1_75"]) == (pytest.approx(1), 1)


def test_f1_gives_the_next_best_object_where_ap_gives_none():
    truths = [(0, 0, 10, 10), (0, 0, 10, 14)]
    found = [(0, 0, 10, 11), (0, 0, 10, 11)]
    assert greedy_scores(found, truths, 0.5) == (1, 1, 1)
    # The second box overlaps the first truth most, which is taken: a recall of a half at six of eleven levels.
    assert eleven_point_precision(found, truths, 0.5) == pytest.approx(6 / 11)


def test_what_is_called_cider_is_one_for_equal_captions_of_four_words():
    assert ngram_similarity("two white ships moored", "two white ships moored") == pytest.approx(1)


def test_what_is_called_cider_is_zero_for_equal_captions_of_three_words():
    assert ngram_similarity("two white ships", "two white ships") == 0


def test_what_is_called_cider_is_a_mean_of_eight():
    # In common are 3 of 4 words, 2 of 3 pairs, 1 of 2 triples and nothing of four. A group of both texts weighs 1, one
    # of a single text 1 + ln 1.5; all but the first in the text are as many, so that the cosine of k common ones and
    # one other is k / (k + w).
    other = (1 + math.log(3 / 2)) ** 2
    cosines = 3 / (3 + other) + 2 / (2 + other) + 1 / (1 + other) + 0
    expected = (3 / 4 + 2 / 3 + 1 / 2 + 0 + cosines) / 8
    assert ngram_similarity("two white ships moored", "two white ships sail") == pytest.approx(expected)


def test_bleu_counts_characters():
    # "abcd" against "abxd": 3 of 4 characters, 1 of 3 pairs, no triple.
    one, two, three, four = character_bleu("abcd", ["abxd"])
    assert one == pytest.approx(3 / 4)
    assert two == pytest.approx(math.sqrt(3 / 4 * 1 / 3))
    assert three < 1e-100
    assert four < 1e-70
    # A character less than the closest reference.
    assert character_bleu("abc", ["abcd", "abcdefgh"])[0] == pytest.approx(math.exp(1 - 4 / 3))
    assert character_bleu("", ["abc"]) == character_bleu("xyz", ["abc"]) == (0, 0, 0, 0)


def test_the_weights_of_bleu_3_sum_to_99_hundredths():
    text = "abcdefgh"
    # 7 of 8 characters, 6 of 7 pairs and 5 of 6 triples: 5 / 8 in all.
    assert character_bleu(text, [text[:-1] + "x"])[2] == pytest.approx((5 / 8) ** 0.33)


def test_scattered_words_have_a_high_bleu_of_characters():
    answers = [captioned(["many boats in the port"], "port in many the boats", image_id="1")]
    assert RS_TESTER.score(answers)["caption"]["character_bleu1"] == 1
    assert OURS.score(answers)["caption"]["bleu4"] < 1e-3


def test_only_the_first_reference_counts_for_rouge_and_what_is_called_cider():
    pytest.importorskip("rouge_score")
    references = ["two white ships moored", "some trees near the road"]
    figures = RS_TESTER.score([captioned(references, references[0])])["caption"]
    swapped = RS_TESTER.score([captioned(references[::-1], references[0])])["caption"]
    assert (figures["rouge_l"], figures["ngram_similarity"]) == (1, pytest.approx(1))
    assert (swapped["rouge_l"], swapped["ngram_similarity"]) == (0, 0)
    assert figures["character_bleu4"] == swapped["character_bleu4"] == 1


def test_markup_is_removed_from_captions():
    figures = RS_TESTER.score([captioned(["two white ships moored"], "two white <p>ships{1} moored")])["caption"]
    assert figures["character_bleu1"] == 1


@pytest.mark.parametrize(
    ("truth", "text"), [("1", "11"), ("1", "None."), ("0", "north"), ("12", "Twelve"), ("yes", "Yes, there is")]
)
def test_an_answer_that_contains_the_true_one_or_its_word_is_right(truth, text):
    assert RS_TESTER.score([replied(truth, text)])["vqa"]["accuracy"] == 1
    assert OURS.score([replied(truth, text)])["vqa"]["accuracy"] == 0


def test_words_of_numbers_end_at_twelve():
    assert RS_TESTER.score([replied("13", "thirteen"), replied("ten", "10")])["vqa"]["accuracy"] == 0


def test_a_class_is_right_inside_of_any_answer():
    answers = [
        replied("Dense_Residential", "a dense-residential area", "classify"),
        replied("port", "airport", "classify"),
    ]
    assert RS_TESTER.score(answers)["classify"]["accuracy"] == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    st.text("ab c", max_size=8),
    st.lists(st.text("ab c", min_size=1, max_size=8), min_size=1, max_size=2),
)
def test_bleu_is_that_of_nltk_over_characters(caption, references):
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    for weights, ours in zip(
        [(1, 0, 0, 0), (0.5, 0.5, 0, 0), (0.33, 0.33, 0.33, 0), (0.25,) * 4],
        character_bleu(caption, references),
        strict=True,
    ):
        assert ours == pytest.approx(nltk.sentence_bleu(references, caption, weights=weights), abs=1e-12)
