# SPDX-License-Identifier: Apache-2.0
"""When two short answers are the same, by each rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.evaluation.answer_rules import ANSWER_RULES, get_answer_rule, lenient_answer


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("two", "2"),
        ("Twenty-one", "21"),
        ("two hundred and three", "203"),
        ("one thousand two hundred", "1200"),
        ("1,000", "1000"),
        ("1,234,567", "1234567"),
        ("none", "0"),
        ("zero", "0"),
        ("the harbor", "harbor"),
        ("a storage tank", "storage tanks"),
        ("storage-tanks", "storage_tank"),
        ("Dense_Residential", "dense-residential"),
        ("buses", "bus"),
        ("houses", "house"),
        ("factories", "factory"),
        ("people", "person"),
        ("two ships", "2 ship"),
        ("yes, there is", "yes"),
        ("Yes, there is a ship.", "yes"),
        ("no, there are none", "no"),
        ("yes there are", "yes"),
        ("no it is not", "no"),
        ("yes,there is", "yes"),
        ("No. There are none.", "no"),
        ("no - not one", "no"),
        ("boxes", "box"),
        ("churches", "church"),
        ("planes", "plane"),
        ("toes", "toe"),
        ("volcanoes", "volcano"),
    ],
)
def test_wording_does_not_matter_to_the_lenient_rule_and_does_to_the_strict_one(answer, truth):
    strict = get_answer_rule("strict")
    assert lenient_answer(answer) == lenient_answer(truth)
    assert strict(answer) != strict(truth)


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("2", "3"),
        ("twenty one", "20 and 1"),
        ("yes", "no"),
        ("no parking", "no"),
        ("yes or no", "yes"),
        ("bus", "bush"),
        ("grass", "gras"),
        ("1.000", "1000"),
        ("1,00", "100"),
        ("none", ""),
        ("a", ""),
        ("north", "south"),
        ("No. 5", "no"),
        ("No.5", "no"),
        ("no. of ships", "no"),
        ("plane", "plan"),
        ("planes", "plans"),
        ("care", "car"),
        ("cares", "cars"),
        ("cane", "can"),
        ("12,3456", "123456"),
    ],
)
def test_what_differs_in_meaning_stays_different(answer, truth):
    assert lenient_answer(answer) != lenient_answer(truth)


@pytest.mark.parametrize(
    ("words", "number"), [("ten eleven", "10 11"), ("one two", "1 2"), ("five and six", "5 and 6")]
)
def test_numbers_that_follow_each_other_stay_apart(words, number):
    assert lenient_answer(words) == number


@given(st.integers(0, 9999))
def test_numbers_in_words_are_their_digits(number):
    units = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    units = [*units.split(), "seventeen", "eighteen", "nineteen"]
    tens = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]

    def words(value):
        if value < 20:
            return units[value]
        if value < 100:
            return tens[value // 10] + (f"-{units[value % 10]}" if value % 10 else "")
        high, rest, name = (*divmod(value, 100), "hundred") if value < 1000 else (*divmod(value, 1000), "thousand")
        joined = " and " if name == "hundred" else " "
        return f"{words(high)} {name}" + (f"{joined}{words(rest)}" if rest else "")

    assert lenient_answer(words(number)) == str(number)
    assert lenient_answer(f"{number:,}") == str(number)


@given(st.text(max_size=30))
def test_any_text_has_a_form_that_spaces_and_a_full_stop_do_not_change(text):
    for rule in ANSWER_RULES.values():
        assert rule(f"  {text} ") == rule(text)
        assert rule(f"ship {text}x.") == rule(f"Ship  {text}x")


@pytest.mark.parametrize("rule", ["rsvqa_lr", "rsvqa_hr"])
def test_a_number_of_thousands_of_digits_is_in_the_last_range(rule):
    assert ANSWER_RULES[rule]("9" * 5000 + "m2") == "more than 1000m2"
    assert ANSWER_RULES["rsvqa_lr"]("0" * 5000 + "12") == "between 10 and 100"


@pytest.mark.parametrize(
    ("answer", "low", "high"),
    [
        # The edges of VQA_model/VocabEncoder.py: above 0 up to 10, above 10 up to 100, up to 1000, above.
        ("0", "0", "0"),
        ("1", "between 0 and 10", "1"),
        ("10", "between 0 and 10", "10"),
        ("11", "between 10 and 100", "11"),
        ("100", "between 10 and 100", "100"),
        ("101", "between 100 and 1000", "101"),
        ("1000", "between 100 and 1000", "1000"),
        ("1001", "more than 1000", "1001"),
        ("0m2", "0m2", "0m2"),
        ("10m2", "between 0m2 and 10m2", "between 0m2 and 10m2"),
        ("1001 m²", "more than 1000m2", "more than 1000m2"),
        ("between 0 and 10", "between 0 and 10", "between 0 and 10"),
        ("-3", "-3", "-3"),
        ("\u22123.", "-3", "-3"),
        ("-35m2", "-35m2", "-35m2"),
        ("1,234", "more than 1000", "1234"),
        ("1,000 m2", "between 100m2 and 1000m2", "between 100m2 and 1000m2"),
        ("Yes.", "yes", "yes"),
        ("three", "three", "three"),
    ],
)
def test_ranges_of_rsvqa(answer, low, high):
    assert ANSWER_RULES["rsvqa_lr"](answer) == low
    assert ANSWER_RULES["rsvqa_hr"](answer) == high


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="unknown answer rule 'loose'; the rules are strict, lenient, rsvqa_lr"):
        get_answer_rule("loose")
