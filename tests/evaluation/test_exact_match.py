# SPDX-License-Identifier: Apache-2.0
import pytest

from geodit.evaluation.metrics import ExactMatchMetric


def score(*answers, **options):
    """Score (answer, truth, kind) triples; an answer of `None` did not parse."""
    return ExactMatchMetric().compute(
        predictions=[{"text": text or "", "parsed": text is not None} for text, _, _ in answers],
        references=[{"answer": truth, "kind": kind} for _, truth, kind in answers],
        **options,
    )


ANSWERS = [
    ("2", "2", "count"),
    ("3", "2", "count"),
    ("1", "1", "count"),
    ("Yes.", "yes", "presence"),
    ("no", "yes", "presence"),
]


def test_accuracy_over_all_and_by_kind():
    result = score(*ANSWERS)
    assert result["accuracy"] == pytest.approx(3 / 5)
    assert result["num_samples"] == 5
    assert result["by_kind"]["count"]["accuracy"] == pytest.approx(2 / 3)
    assert result["by_kind"]["count"]["num_samples"] == 3
    assert result["by_kind"]["presence"]["accuracy"] == 0.5


def test_the_commonest_answer_as_a_baseline():
    result = score(*ANSWERS)
    assert result["by_kind"]["count"]["majority_accuracy"] == pytest.approx(2 / 3)
    assert result["by_kind"]["presence"]["majority_accuracy"] == 1
    assert result["majority_accuracy"] == pytest.approx(4 / 5)


def test_an_unparsed_answer_is_wrong_even_if_the_truth_is_empty():
    result = score((None, "", "count"), ("2", "2", "count"))
    assert (result["accuracy"], result["parse_rate"]) == (0.5, 0.5)


def test_intervals_of_every_kind():
    result = score(*ANSWERS, bootstrap=100, groups=["a", "a", "b", "a", "b"])
    names = {"accuracy", "average_accuracy", "accuracy_lenient", "average_accuracy_lenient", "parse_rate"}
    assert set(result["confidence_intervals"]) == names
    assert result["by_kind"]["presence"]["confidence_intervals"]["accuracy"] == (0, 1)


def test_the_average_is_over_kinds_and_the_overall_accuracy_over_questions():
    # As in RSVQA: 2 of 3 counts and 1 of 2 presences are right.
    result = score(*ANSWERS)
    assert result["average_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert result["accuracy"] == pytest.approx(3 / 5)


def test_the_lenient_figures_stand_beside_the_strict_ones():
    answers = [("two", "2", "count"), ("Yes, there is.", "yes", "presence"), ("no", "no", "presence")]
    result = score(*answers)
    assert (result["accuracy"], result["accuracy_lenient"]) == (pytest.approx(1 / 3), 1)
    assert (result["average_accuracy"], result["average_accuracy_lenient"]) == (0.25, 1)
    assert result["by_kind"]["count"]["accuracy_lenient"] == 1
    assert score((None, "0", "count"))["accuracy_lenient"] == 0, "an answer that did not parse is wrong"


def test_ranges_of_rsvqa_when_asked_for():
    answers = [("7", "between 0 and 10", "count"), ("35m2", "between 10m2 and 100m2", "area"), ("3", "2", "count")]
    result = score(*answers, rules=["rsvqa_lr", "rsvqa_hr"])
    assert result["accuracy"] == 0
    assert result["accuracy_rsvqa_lr"] == 1, "3 and 2 are in the same range"
    assert result["accuracy_rsvqa_hr"] == pytest.approx(1 / 3), "counts are exact at high resolution"
    assert result["average_accuracy_rsvqa_hr"] == 0.5
    assert "accuracy_rsvqa_lr" not in score(*answers)
    with pytest.raises(ValueError, match="unknown answer rule 'rsvqa'"):
        score(*answers, rules=["rsvqa"])


def test_an_accuracy_of_one_has_an_interval():
    result = score(("2", "2", "count"), ("3", "3", "count"), ("1", "1", "count"), bootstrap=20, groups=["a", "a", "b"])
    low, high = result["confidence_intervals"]["accuracy"]
    # Wilson's, of two images: z^2 / (n + z^2) below 1.
    assert (low, high) == (pytest.approx(1 - 1.959964**2 / (2 + 1.959964**2)), 1)
