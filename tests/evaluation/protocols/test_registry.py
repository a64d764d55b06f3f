# SPDX-License-Identifier: Apache-2.0
"""Protocols are found by name, and each accounts for its tasks, its sources and its quirks."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from answer_records import detected, grounded, replied
from geodit.data.schema import TASKS
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.protocols import PROTOCOLS, get_protocol
from geodit.evaluation.scoring import score_answers

ANSWERS = [
    AnswerRecord.from_dict(json.loads(line))
    for line in (Path(__file__).parents[2] / "fixtures/protocols/answers.jsonl").read_text().splitlines()
]
WITHOUT_CAPTIONS = [answer for answer in ANSWERS if answer.question.task != "caption"]
FOREIGN = [name for name in PROTOCOLS if name != "ours"]


def test_ours_is_the_default_and_gives_the_figures_of_the_metrics():
    assert list(PROTOCOLS) == ["ours", "vrsbench", "geochat", "vhm", "earthdial", "rs_tester", "rscovlm"]
    assert get_protocol() is PROTOCOLS["ours"]
    assert get_protocol().score(WITHOUT_CAPTIONS, bootstrap=2) == score_answers(WITHOUT_CAPTIONS, bootstrap=2)


def test_an_unknown_name_is_told_in_one_line_with_those_there_are():
    with pytest.raises(ValueError, match=r"^unknown protocol 'coco'; the protocols are ours, vrsbench, .*, rscovlm$"):
        get_protocol("coco")


@pytest.mark.parametrize("name", FOREIGN)
def test_every_task_is_scored_or_has_a_reason(name):
    protocol = get_protocol(name)
    assert protocol.name == name
    assert sorted([*protocol.scorers, *protocol.not_scored]) == sorted(TASKS)


@pytest.mark.parametrize("name", FOREIGN)
def test_sources_and_quirks_are_complete(name):
    protocol = get_protocol(name)
    assert protocol.sources
    for source in protocol.sources:
        assert re.fullmatch(r"[\w-]+/[\w-]+", source.repository)
        assert re.fullmatch("[0-9a-f]{40}", source.commit)
        assert str(source) == f"{source.repository} at {source.commit[:10]}: {', '.join(source.paths)}"
    names = [quirk.name for quirk in protocol.quirks]
    assert len({*names}) == len(names) > 0
    for quirk in protocol.quirks:
        assert quirk.tasks
        assert {*quirk.tasks} <= {*protocol.scorers}


@pytest.mark.parametrize("name", FOREIGN)
def test_scores_are_plain_and_do_not_ask_whether_an_answer_parsed(name):
    scores = get_protocol(name).score(WITHOUT_CAPTIONS)
    assert json.loads(json.dumps(scores)) == scores
    assert scores == get_protocol(name).score([replace(answer, parsed=False) for answer in WITHOUT_CAPTIONS])
    for task, figures in scores.items():
        assert figures["num_samples"] == sum(answer.question.task == task for answer in ANSWERS)


@pytest.mark.parametrize("name", FOREIGN)
def test_intervals_hold_the_figures(name):
    for figures in get_protocol(name).score(WITHOUT_CAPTIONS, bootstrap=100).values():
        intervals = figures.pop("confidence_intervals")
        del figures["num_samples"]
        assert intervals.keys() == figures.keys()
        for figure, value in figures.items():
            if intervals[figure] is not None:
                low, high = intervals[figure]
                assert low <= value <= high
                assert low < high
            else:
                assert value in (None, 0, 1)


@pytest.mark.parametrize("name", FOREIGN)
def test_shares_are_figures_of_their_tasks(name):
    protocol = get_protocol(name)
    scores = protocol.score(WITHOUT_CAPTIONS)
    assert {*protocol.shares} <= {*protocol.scorers}
    for task, shares in protocol.shares.items():
        assert {*shares} <= {*scores[task]}


def test_a_share_of_all_or_none_has_wilsons_interval_of_the_images_that_it_is_about():
    small, large = (0, 0, 20, 20), (0, 0, 200, 200)
    answers = [grounded(small, small, image_id="1"), grounded(large, large, image_id="1")]
    answers += [grounded(small, small, image_id=str(image)) for image in range(2, 6)]
    intervals = get_protocol("vhm").score(answers, bootstrap=20)["ground"]["confidence_intervals"]
    # Of n without a failure Wilson's interval begins at n / (n + z^2).
    z = 1.959964
    assert intervals["precision_50"] == pytest.approx((5 / (5 + z**2), 1))
    assert intervals["precision_50_large"] == pytest.approx((1 / (1 + z**2), 1))
    assert intervals["precision_50_medium"] is None
    wrong = [replace(answer, boxes=()) for answer in answers]
    intervals = get_protocol("vhm").score(wrong, bootstrap=20)["ground"]["confidence_intervals"]
    assert intervals["precision_50"] == pytest.approx((0, z**2 / (5 + z**2)))


def test_what_is_no_share_of_questions_has_no_interval_if_nothing_varies():
    answers = [grounded((0, 0, 20, 20), (0, 0, 20, 20), image_id=str(image)) for image in range(3)]
    assert get_protocol("earthdial").score(answers, bootstrap=20)["ground"]["confidence_intervals"] == {
        "precision_50": None,
        "precision_50_single": None,
        "precision_50_multiple": None,
    }
    of_rs_tester = get_protocol("rs_tester").score(answers, bootstrap=20)["ground"]["confidence_intervals"]
    assert of_rs_tester["mean_iou"] is None
    assert of_rs_tester["accuracy_50"][0] < 1
    # Half of the questions of one image: there is one resample.
    two = [replied("yes", "yes"), replied("yes", "no")]
    assert get_protocol("vhm").score(two, bootstrap=20)["vqa"]["confidence_intervals"] == {"accuracy": None}


def test_tasks_that_a_protocol_does_not_score_are_left_out():
    answers = [grounded((0, 0, 9, 9), (0, 0, 9, 9)), replied("forest", "forest", "classify")]
    assert list(get_protocol("geochat").score(answers)) == ["classify"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_answers_are_an_error(name):
    with pytest.raises(ValueError, match=r"^there are no answers to score$"):
        get_protocol(name).score([])


@pytest.mark.parametrize("name", ["vrsbench", "vhm", "rs_tester", "rscovlm"])
def test_a_phrase_needs_one_true_box(name):
    answer = detected([(0, 0, 9, 9), (20, 20, 29, 29)], [(0, 0, 9, 9)])
    answer = replace(answer, question=replace(answer.question, task="ground", kind="ground"))
    with pytest.raises(ValueError, match=r"^image 'image': grounding 'ship' needs exactly one true box, but has 2$"):
        get_protocol(name).score([answer])


@pytest.mark.parametrize("name", ["vrsbench", "vhm", "rs_tester", "rscovlm"])
def test_an_answer_without_a_box_is_wrong(name):
    figures = get_protocol(name).score([grounded((0, 0, 90, 90), None), grounded((0, 0, 90, 90), (0, 0, 90, 90))])
    (accuracy,) = (value for figure, value in figures["ground"].items() if re.fullmatch(r"\w+_50", figure))
    assert accuracy == 1 / 2
