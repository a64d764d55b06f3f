# SPDX-License-Identifier: Apache-2.0
"""A report compares the answers before and after question by question, and says what its figures are worth."""

import json
from dataclasses import replace

import pytest

from geodit.data.schema import Question
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.comparison import compare_answers
from geodit.evaluation.scoring import score_answers
from geodit.finetuning.comparison import Scores
from geodit.finetuning.report import FinetuneReport, report_of_seeds

DETECT = Question("detect", "ship", boxes=((2.0, 2.0, 12.0, 12.0),), labels=("ship",))


def record(image, question, text="", boxes=()):
    return AnswerRecord(image, (32, 32), question, text, boxes, ("ship",) * len(boxes), True, 1)


def scores(right, *, boxes=()):
    """Four questions with a short answer, of which the first `right` are answered right, and one about boxes."""
    answers = [
        record(f"{number}", Question("vqa", "Is there a ship?", answer="yes"), "yes" if number < right else "no")
        for number in range(4)
    ]
    answers.append(record("0", DETECT, boxes=boxes))
    return Scores(score_answers(answers, bootstrap=20), tuple(answers))


def report(folder, seed=0, *, right=4):
    before, after = scores(1), scores(right, boxes=DETECT.boxes)
    train = [record("9", Question("vqa", "Is there a ship?", answer="yes"), "yes")]
    return FinetuneReport(
        folder=folder,
        model="tiny",
        is_adapter=True,
        seed=seed,
        split="test",
        before=before,
        after=after,
        changes=compare_answers(before.answers, after.answers, resamples=20),
        baselines={"commonest": score_answers(train)},
        evaluations=(),
        metric="score",
        steps=6,
        planned_steps=6,
        commands={},
        mistakes=None,
    )


def rows_of(page, heading):
    """The cells of the first table after some text."""
    lines = page.partition(heading)[2].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    header, _, *rows = table
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_change_has_an_interval_and_p_values(tmp_path):
    made = report(tmp_path)
    detect, vqa = rows_of(made.to_markdown(), "# Fine-tuning report")
    assert vqa["before"].startswith("25.0 [")
    assert vqa["after"].startswith("100.0 [")
    assert vqa["difference"].startswith("75.0 [")
    assert (vqa["gained"], vqa["lost"], vqa["p (McNemar)"]) == ("3", "0", "0.25")  # 2 / 2 ** 3
    change = made.changes["vqa.accuracy"]
    assert float(vqa["p"]) == pytest.approx(change.p_value, rel=1e-2)
    assert (detect["figure"], detect["gained"]) == ("F1@0.5", "-")
    stored = json.loads(json.dumps(made.to_dict()))
    assert stored["changes"]["vqa.accuracy"] == {**change.to_dict(), "interval": list(change.interval)}
    line = made.described_change("vqa")
    assert line.startswith("vqa, accuracy: difference 75.0 [")
    assert line.endswith("gained 3, lost 0, p (McNemar) 0.25")


def test_a_figure_that_is_undefined_has_no_difference(tmp_path):
    made = report(tmp_path)
    undefined = replace(made, changes={name: one for name, one in made.changes.items() if name != "detect.f1"})
    assert rows_of(undefined.to_markdown(), "# Fine-tuning report")[0]["difference"] == "-"
    assert undefined.described_change("detect") == "detect, F1@0.5: undefined before or after"


def test_baselines_stand_beside_the_table(tmp_path):
    made = report(tmp_path)
    for page in (made.to_markdown(), report_of_seeds([made, report(tmp_path, 1)])):
        [row] = rows_of(page, "## Baselines")
        assert (row["name"], row["task"], row["value"]) == ("commonest", "vqa", "100.0")
        assert page.count("## Baselines") == 1
    assert "## Baselines" not in replace(made, baselines={}).to_markdown()
    assert made.to_dict()["baselines"]["commonest"]["figures"]["vqa"]["accuracy"] == 1.0


def test_each_seed_has_its_difference_and_seeds_are_told_apart_from_images(tmp_path):
    page = report_of_seeds([report(tmp_path / "a", 3, right=4), report(tmp_path / "b", 7, right=2)])
    detect, vqa = rows_of(page, "# Fine-tuning report")
    assert (detect["after"], vqa["after"]) == ("100.0 ± 0.0", "75.0 ± 35.4")
    of_vqa = [row for row in rows_of(page, "## By seed") if row["task"] == "vqa"]
    assert [(row["seed"], row["gained"]) for row in of_vqa] == [("3", "3"), ("7", "1")]
    assert [row["difference"].partition(" ")[0] for row in of_vqa] == ["75.0", "25.0"]
    assert "There are 2 training runs: intervals and p-values are over the images" in page
    assert "There is 1 training run: intervals" in report(tmp_path).to_markdown()
