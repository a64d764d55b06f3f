# SPDX-License-Identifier: Apache-2.0
"""What every metric promises as an `evaluate.Metric`, shown on the grounding metric."""

import doctest
from concurrent.futures import ThreadPoolExecutor

import evaluate
import pytest

from geodit.evaluation import metrics
from geodit.evaluation.metrics import (
    CaptioningMetric,
    DetectionMetric,
    ExactMatchMetric,
    GroundingMetric,
)

ALL_METRICS = [CaptioningMetric, DetectionMetric, ExactMatchMetric, GroundingMetric]
HIT = {"boxes": [[0, 0, 10, 10]], "parsed": True}
MISS = {"boxes": [[20, 20, 30, 30]], "parsed": True}
TRUTH = [0, 0, 10, 10]


@pytest.mark.parametrize("metric_class", ALL_METRICS)
def test_it_is_a_metric_with_a_description_and_a_citation(metric_class):
    metric = metric_class()
    assert isinstance(metric, evaluate.Metric)
    assert metric.description
    assert metric.citation


@pytest.mark.parametrize("metric_class", ALL_METRICS)
def test_the_example_in_its_description_is_right(metric_class):
    examples = doctest.DocTestParser().get_doctest(
        metric_class().inputs_description, vars(metrics).copy(), metric_class.__name__, None, None
    )
    assert examples.examples
    assert doctest.DocTestRunner().run(examples).failed == 0


@pytest.mark.parametrize("metric_class", ALL_METRICS)
def test_nothing_to_compute_is_an_error(metric_class):
    with pytest.raises(ValueError, match="nothing to compute"):
        metric_class().compute(predictions=[], references=[])
    with pytest.raises(ValueError, match="nothing to compute"):
        metric_class().compute()


@pytest.mark.parametrize("keep_in_memory", [True, False])
def test_batches_add_up(keep_in_memory):
    metric = GroundingMetric(keep_in_memory=keep_in_memory)
    metric.add_batch(predictions=[HIT, MISS], references=[TRUTH, TRUTH])
    metric.add_batch(predictions=[MISS], references=[TRUTH])
    metric.add(prediction=MISS, reference=TRUTH)
    assert metric.compute()["accuracy"] == 0.25
    assert metric.compute(predictions=[HIT], references=[TRUTH])["accuracy"] == 1, "compute() starts afresh"


def test_nothing_is_written_to_disk(metrics_cache):
    GroundingMetric().compute(predictions=[HIT], references=[TRUTH])
    assert not metrics_cache.exists()


def test_a_metric_on_disk_removes_its_data(metrics_cache):
    GroundingMetric(keep_in_memory=False).compute(predictions=[HIT], references=[TRUTH])
    assert not list(metrics_cache.rglob("*.arrow"))


def test_concurrent_metrics_do_not_meet():
    def accuracy(hits):
        metric = GroundingMetric()
        for hit in hits:
            metric.add_batch(predictions=[HIT if hit else MISS], references=[TRUTH])
        return metric.compute()["accuracy"]

    sets = [[True] * hits + [False] * (8 - hits) for hits in range(9)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(accuracy, sets)) == [hits / 8 for hits in range(9)]


def test_open_metrics_do_not_meet():
    first, second = GroundingMetric(), GroundingMetric()
    first.add_batch(predictions=[HIT], references=[TRUTH])
    second.add_batch(predictions=[MISS], references=[TRUTH])
    assert (first.compute()["accuracy"], second.compute()["accuracy"]) == (1, 0)


def test_a_prediction_that_does_not_say_whether_it_parsed_is_refused():
    with pytest.raises(ValueError, match="prediction 1 has no field 'parsed'"):
        GroundingMetric().compute(predictions=[HIT, {"boxes": []}], references=[TRUTH, TRUTH])


def test_a_misspelt_option_is_refused():
    with pytest.raises(TypeError, match="iou_treshold"):
        GroundingMetric().compute(predictions=[HIT], references=[TRUTH], iou_treshold=0.7)


def test_intervals_are_of_images_when_groups_are_given():
    # Two images: all four questions right on one, all wrong on the other.
    predictions, references = [HIT] * 4 + [MISS] * 4, [TRUTH] * 8
    images = ["a"] * 4 + ["b"] * 4
    by_image = GroundingMetric().compute(predictions=predictions, references=references, groups=images, bootstrap=200)
    by_question = GroundingMetric().compute(predictions=predictions, references=references, bootstrap=200)
    assert by_image["confidence_intervals"]["accuracy"] == (0, 1)
    low, high = by_question["confidence_intervals"]["accuracy"]
    assert 0 < low < 0.5 < high < 1


def test_groups_of_the_wrong_number_are_refused():
    with pytest.raises(ValueError, match="1 samples but 2 groups"):
        GroundingMetric().compute(predictions=[HIT], references=[TRUTH], groups=["a", "b"])
