# SPDX-License-Identifier: Apache-2.0
import io

import pytest
from rich.console import Console

from geodit.data.schema import Question
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.evaluate import EvaluationResult
from geodit.evaluation.scoring import score_answers
from geodit.evaluation.settings import DecodingSettings
from geodit.evaluation.sweep import SweepCell, SweepResult
from geodit.evaluation.tables import benchmark_table, sweep_table

BOX = (0.0, 0.0, 10.0, 10.0)


def result(seed=0, bootstrap=0):
    questions = [
        (Question("ground", query="the ship", boxes=(BOX,), labels=("ship",)), (BOX,), ""),
        (Question("detect", query="ship", boxes=(BOX,), labels=("ship",)), (), ""),
        (Question("vqa", query="How many ships are there?", answer="2", kind="count"), (), "2"),
        (Question("vqa", query="Is there a ship?", answer="yes", kind="presence"), (), "no"),
    ]
    answers = tuple(
        AnswerRecord("a", (32, 32), question, text, boxes, ("ship",) * len(boxes), True, 8)
        for question, boxes, text in questions
    )
    return EvaluationResult(DecodingSettings(seed=seed), score_answers(answers, bootstrap=bootstrap), answers, 2.5)


def rendered(table):
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def test_a_run_has_a_row_for_every_figure():
    text = rendered(benchmark_table(result(), title="synthetic"))
    rows = [line.split("│")[1:-1] for line in text.splitlines() if "│" in line]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert ["ground", "accuracy@0.5", "1.000", "", "1"] in cells
    assert ["", "F1@0.5", "0.000", "", ""] in cells
    assert ["", "steps made per answer", "8.000", "", ""] in cells
    assert ["vqa count", "accuracy", "1.000", "", "1"] in cells
    assert ["", "accuracy, no object", "-", "", ""] in cells, "undefined figures show as such"
    assert "8 steps, low_confidence remasking, seed 0; 1 images, 4 questions in 2.5 s" in text


def test_boxes_of_an_answer_that_did_not_parse_count_in_a_figure_of_their_own():
    question = Question("detect", query="ship", boxes=(BOX,), labels=("ship",))
    answers = (AnswerRecord("a", (32, 32), question, "cut off", (BOX,), ("ship",), False, 8),)
    run = EvaluationResult(DecodingSettings(), score_answers(answers), answers, 2.5)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in rendered(benchmark_table(run)).splitlines()]
    assert ["", "F1@0.5", "0.000", "", ""] in rows
    assert ["", "F1@0.5, well-formed boxes kept", "1.000", "", ""] in rows
    assert ["", "recall@0.5, well-formed boxes kept", "1.000", "", ""] in rows


def test_intervals_are_shown_when_there_are_some():
    assert "0.000 to 1.000" not in rendered(benchmark_table(result()))
    assert "1.000 to 1.000" in rendered(benchmark_table(result(bootstrap=10)))


def sweep(seeds=(0, 1), dataset_seeds=None):
    cell = SweepCell(DecodingSettings(), tuple(result(seed) for seed in seeds))
    return SweepResult("synthetic", (cell,), seeds, dataset_seeds, batch_size=4)


def test_a_sweep_shows_the_main_figures_of_every_task():
    table = sweep_table(sweep())
    tasks, figures, values = (list(column.cells) for column in table.columns)
    assert tasks == ["ground", "", "", "detect", "", "", "", "", "", "vqa", "", "", "vqa count", "vqa presence"]
    assert figures == [
        *("accuracy@0.5", "parsed", "steps made per answer"),
        *("precision@0.5", "recall@0.5", "F1@0.5", "F1@0.5, well-formed boxes kept"),
        *("parsed", "steps made per answer"),
        *("accuracy", "parsed", "steps made per answer"),
        *("accuracy", "accuracy"),
    ]
    assert values[0] == "1.000 ± 0.000"


def test_the_caption_says_what_the_spread_is_over():
    assert "the same for every seed" in sweep_table(sweep()).caption
    assert "for each seed, not the same" in sweep_table(sweep(dataset_seeds=(5, 6))).caption
    assert "±" not in rendered(sweep_table(sweep(seeds=(3,))))


def test_an_unknown_figure_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no figure is called detect.f2; there are .*detect.f1"):
        sweep_table(sweep(), ["detect.f2"])
