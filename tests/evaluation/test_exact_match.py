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
    assert set(result["confidence_intervals"]) == {"accuracy", "parse_rate"}
    assert result["by_kind"]["presence"]["confidence_intervals"]["accuracy"] == (0, 1)
