# SPDX-License-Identifier: Apache-2.0
import io

import pytest
from rich.console import Console

from geodit.configuration.decoding_options import DecodingOptions
from geodit.data.schema import Question
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.evaluate import EvaluationResult
from geodit.evaluation.scoring import score_answers
from geodit.evaluation.settings import evaluation_options
from geodit.evaluation.sweep import SweepCell, SweepResult
from geodit.evaluation.tables import sweep_table, sweep_tables

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
    return EvaluationResult(
        evaluation_options(DecodingOptions(seed=seed)), score_answers(answers, bootstrap=bootstrap), answers, 2.5
    )


def rendered(table):
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def sweep(seeds=(0, 1), dataset_seeds=None):
    cell = SweepCell(evaluation_options(), tuple(result(seed) for seed in seeds))
    return SweepResult("synthetic", (cell,), seeds, dataset_seeds, batch_size=4)


def test_a_sweep_shows_the_main_figures_of_every_task():
    table = sweep_table(sweep())
    tasks, figures, values = (list(column.cells) for column in table.columns)
    detect = ["detect", *[""] * 7]
    assert tasks == ["ground", "", "", *detect, "vqa", "", "", "vqa count", "vqa presence"]
    assert figures == [
        *("accuracy@0.5", "parsed", "steps made per answer"),
        *("precision@0.5", "recall@0.5", "F1@0.5", "F1@0.5, well-formed boxes kept"),
        *("mAP@0.5", "mAP@0.5, equal scores", "parsed", "steps made per answer"),
        *("accuracy", "parsed", "steps made per answer"),
        *("accuracy", "accuracy"),
    ]
    assert values[0] == "1.000 ± 0.000"


def test_the_caption_says_what_the_spread_is_over():
    assert "the same for every seed" in sweep_table(sweep()).caption
    assert "for each seed, not the same" in sweep_table(sweep(dataset_seeds=(5, 6))).caption
    assert "±" not in rendered(sweep_table(sweep(seeds=(3,))))


def test_intervals_stand_below_the_figures():
    runs = (result(0, bootstrap=20), result(1, bootstrap=20))
    cell = SweepCell(evaluation_options(), runs, runs[0].figures)
    table = sweep_table(SweepResult("synthetic", (cell,), (0, 1), None, batch_size=4))
    # Wilson's interval of one image.
    assert next(iter(table.columns[2].cells)) == "1.000 ± 0.000\n[0.207, 1.000]"
    assert "below, all answers pooled with 95% intervals" in table.caption
    assert "[0.207, 1.000]" in rendered(table)
    assert "intervals" not in sweep_table(sweep()).caption
    others = {task: figures | {"accuracy": 0.5} for task, figures in runs[0].figures.items()}
    pooled = SweepResult("synthetic", (SweepCell(evaluation_options(), runs, others),), (0, 1), None, 4)
    assert next(iter(sweep_table(pooled).columns[2].cells)) == "1.000 ± 0.000\npooled 0.500\n[0.207, 1.000]"
    single = SweepResult("synthetic", (SweepCell(evaluation_options(), runs[:1], runs[0].figures),), (0,), None, 4)
    assert next(iter(sweep_table(single).columns[2].cells)) == "1.000\n[0.207, 1.000]"
    assert "in brackets 95% intervals" in sweep_table(single).caption


def test_an_unknown_figure_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no figure is called detect.f2; there are .*detect.f1"):
        sweep_table(sweep(), ["detect.f2"])


def test_four_settings_fit_80_columns_without_a_broken_word():
    settings = [
        evaluation_options(DecodingOptions(max_denoising_steps=steps, remasking=remasking))
        for steps in (1, 8)
        for remasking in ("low_confidence", "random")
    ]
    cells = tuple(SweepCell(of_cell, (result(0), result(1))) for of_cell in settings)
    tables = sweep_tables(SweepResult("synthetic", cells, (0, 1), None, batch_size=4))
    assert len(tables) == 2
    for table in tables:
        console = Console(file=io.StringIO(), width=80)
        console.print(table)
        shown = set(console.file.getvalue().split())
        texts = [str(text) for column in table.columns for text in (column.header, *column.cells)]
        assert {word for text in texts for word in text.split()} <= shown
