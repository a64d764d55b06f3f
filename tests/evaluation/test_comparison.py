# SPDX-License-Identifier: Apache-2.0
"""Answers compared question by question, and the answers of several runs together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from geodit.data.schema import Question
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.comparison import compare_answers, mcnemar
from geodit.evaluation.scoring import iterate_figures, pool_runs, score_answers

BOX, FAR = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)


def count(image, truth, text, place=0, parsed=True):
    question = Question("vqa", query=f"How many ships in part {place}?", answer=str(truth), kind="count")
    return AnswerRecord(f"image-{image}", (96, 96), question, str(text), (), (), parsed, 8)


def detect(image, found):
    question = Question("detect", query="ship", boxes=(BOX,), labels=("ship",))
    return AnswerRecord(f"image-{image}", (96, 96), question, "", (found,), ("ship",), True, 8)


def test_gained_and_lost_questions_by_hand():
    before = [count(image, 1, 1 if image < 4 else 0) for image in range(10)]
    after = [count(image, 1, 0 if image == 0 else 1) for image in range(10)]
    change = compare_answers(before, after, resamples=200)["vqa.accuracy"]
    assert (change.before, change.after, change.difference) == (0.4, 0.9, pytest.approx(0.5))
    assert (change.mcnemar.gained, change.mcnemar.lost) == (6, 1)
    # Of 7 fair coins at most 1 or at least 6 heads: 2 * (1 + 7) / 2^7.
    assert change.mcnemar.p_value == pytest.approx(16 / 128)
    low, high = change.interval
    assert low < 0.5 < high
    assert 0 < change.p_value < 0.2


def test_the_order_of_the_second_set_does_not_matter():
    rng = np.random.default_rng(0)
    before = [count(i // 2, 1, rng.integers(2), place=i % 2) for i in range(20)]
    after = [count(i // 2, 1, rng.integers(2), place=i % 2) for i in range(20)]
    assert compare_answers(before, after, resamples=50) == compare_answers(before, after[::-1], resamples=50)


def test_the_same_answers_do_not_differ():
    answers = [*(count(image, 1, image % 2) for image in range(6)), *(detect(image, BOX) for image in range(6))]
    for change in compare_answers(answers, answers, resamples=20).values():
        assert (change.difference, change.interval, change.p_value) == (0, (0, 0), 1)
        assert change.mcnemar is None or change.mcnemar.p_value == 1


def test_all_figures_of_both_sets_are_compared_with_their_names():
    before = [count(0, 1, 1), count(1, 2, 1), detect(0, BOX), detect(1, FAR)]
    after = [count(0, 1, 1), count(1, 2, 2, parsed=False), detect(0, BOX), detect(1, BOX)]
    changes = compare_answers(before, after, resamples=20)
    for name, value in iterate_figures(score_answers(after)):
        if name.rpartition(".")[2] not in ("mean_steps", "majority_accuracy"):
            assert changes[name].after == pytest.approx(value)
    assert changes["vqa.count.accuracy"].mcnemar.gained == 0
    assert changes["detect.f1"].mcnemar is None, "it is not a share of the questions"
    assert (changes["vqa.parse_rate"].mcnemar.lost, changes["vqa.parse_rate"].difference) == (1, -0.5)
    assert changes["detect.f1"].to_dict()["difference"] == 0.5


def test_the_bootstrap_is_paired():
    # Half of the images are hard for both; the second is better by one question in each image.
    before = [count(i, 1, int(i % 2 and place), place=place) for i in range(20) for place in range(4)]
    after = [count(i, 1, int((i % 2 and place) or place == 0), place=place) for i in range(20) for place in range(4)]
    change = compare_answers(before, after, resamples=200)["vqa.accuracy"]
    assert change.interval == (pytest.approx(0.25), pytest.approx(0.25)), "each image alone has that difference"
    assert change.p_value == pytest.approx(2 / 201)


def test_repeated_questions_are_paired_in_their_order():
    before = [count(0, 1, 1), count(0, 1, 0)]
    after = [count(0, 1, 0), count(0, 1, 1)]
    change = compare_answers(before, after, resamples=5)["vqa.accuracy"]
    assert (change.mcnemar.gained, change.mcnemar.lost) == (1, 1)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([], [], "there are no answers"),
        ([count(0, 1, 1)], [count(0, 2, 1)], "1 of 1 answers of the first have no counterpart .* and 1 of 1 of"),
        ([count(0, 1, 1)], [count(0, 1, 1)] * 3, "0 of 1 answers .* and 2 of 3 of the second none"),
    ],
)
def test_other_questions_are_refused(before, after, message):
    with pytest.raises(ValueError, match=message):
        compare_answers(before, after)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_mcnemar_is_the_exact_binomial_test(pairs):
    before, after = (np.asarray([pair[side] for pair in pairs], dtype=bool) for side in (0, 1))
    result = mcnemar(before, after)
    changed = result.gained + result.lost
    expected = stats.binomtest(result.lost, changed).pvalue if changed else 1
    assert result.p_value == pytest.approx(expected)
    assert result == replace(mcnemar(after, before), gained=result.gained, lost=result.lost)


def test_runs_with_the_same_answers_are_one():
    run = [count(image, 1, image % 2) for image in range(4)]
    pooled = pool_runs([run, list(run), list(run)])
    assert (pooled.num_runs, len(pooled.answers)) == (1, 4)


def test_the_same_images_in_two_runs_are_drawn_together_and_other_images_of_the_same_name_are_not():
    run = [count(image, 1, image % 2) for image in range(4)]
    repeated = [count(image, 1, 1) for image in range(4)]
    others = [count(image, 2, 2) for image in range(4)]
    pooled = pool_runs([run, repeated, others])
    assert pooled.num_runs == 3
    assert len(set(pooled.images)) == 8
    assert pooled.images[:4] == pooled.images[4:8]


def test_an_interval_over_pooled_runs_is_of_all_images():
    # Three sets of 20 images, half of them right: the interval is that of 60 images.
    runs = [[count(f"{seed}-{image}", 1, image % 2) for image in range(20)] for seed in range(3)]
    pooled = pool_runs(runs)
    figures = score_answers(pooled.answers, images=pooled.images, bootstrap=400)["vqa"]
    low, high = figures["confidence_intervals"]["accuracy"]
    assert figures["num_samples"] == 60
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 60) ** 0.5, rel=0.2)


def test_the_number_of_images_is_checked():
    with pytest.raises(ValueError, match="there are 1 answers but 2 images"):
        score_answers([count(0, 1, 1)], images=["a", "b"])
    with pytest.raises(ValueError, match="no answers to pool"):
        pool_runs([])
