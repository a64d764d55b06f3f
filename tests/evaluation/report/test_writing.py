# SPDX-License-Identifier: Apache-2.0
"""Reports from a model to their files, and again from the answers that were kept."""

import csv
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from geodit.configuration.decoding_options import DecodingOptions
from geodit.evaluation.answer_store import KeptAnswers
from geodit.evaluation.report.comparisons import OtherRuns, compare_settings, compare_with_answers, read_other_answers
from geodit.evaluation.report.contents import sweep_report
from geodit.evaluation.report.figures import figure_rows
from geodit.evaluation.report.plots import can_plot
from geodit.evaluation.report.writing import write_report
from geodit.evaluation.sweep import run_sweep

pytest.importorskip("matplotlib")


def sweep(model, processor, dataset, folder, name="tiny", **changes):
    options = {
        "dataset_name": "four images",
        "max_denoising_steps": (1, 3),
        "remasking": ("random",),
        "seeds": (0, 1),
        "bootstrap": 10,
        "model_name": name,
        "settings": DecodingOptions(structured=False),
        "command": ["geodit", "evaluate", "--report", "/home/someone/report"],
    }
    return run_sweep(
        model, processor, lambda seed: dataset, keep=KeptAnswers(folder / "answers", name), **{**options, **changes}
    )


def write(folder, result, dataset):
    report = sweep_report(result)
    return write_report(folder, report, lambda cell: dataset, list(compare_settings(report)))


@pytest.fixture(scope="module")
def written(model, processor, dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    result = sweep(model, processor, dataset, folder)
    write(folder, result, dataset)
    return folder, result


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_report_has_tables_plots_and_sheets(written):
    folder, _ = written
    text = (folder / "report.md").read_text()
    assert "geodit evaluate --report report\n" in text, "without the folders of whoever ran it"
    assert "| four images | N = 3, random, boxes of any form | detect | F1@0.5 |" in text
    assert "| task | figure | strict | well-formed boxes kept | one wrong box | parsed | answers |" in text
    assert "Decoding seeds: 0, 1" in text
    for name in ("quality_steps", "quality_time", "commit_order"):
        assert f"(plots/{name}.png)" in text
        with Image.open(folder / "plots" / f"{name}.png") as picture:
            assert picture.format == "PNG"
    sheets = sorted((folder / "sheets").iterdir())
    assert sheets
    assert all(f"(sheets/{sheet.name})" in text for sheet in sheets)
    assert {path.name for path in (folder / "answers").iterdir()} == {
        f"n{steps}-random-seed{seed}" for steps in (1, 3) for seed in (0, 1)
    }


def test_runs_are_pooled_and_questions_counted_once(written, dataset):
    folder, result = written
    (one_step, cell) = sweep_report(result).cells
    assert one_step.num_runs == 1, "in one step nothing is left to chance"
    assert cell.num_runs == 2
    assert cell.num_images("caption") == 4
    assert cell.num_questions("detect") == 8
    assert cell.figures["detect"]["num_samples"] == 16
    lines = (folder / "report.md").read_text().splitlines()
    summary = [line for line in lines if line.startswith("| four images |") and "| detect | F1@0.5 |" in line]
    assert [line[-11:] for line in summary] == ["8 | 4 | 1 |", "8 | 4 | 2 |"]


def test_figures_are_the_same_in_all_files(written):
    folder, result = written
    rows = list(csv.DictReader((folder / "figures.csv").open()))
    pooled = result.cells[1].pooled
    (row,) = (
        row
        for row in rows
        if row["setting"].startswith("N = 3") and row["task"] == "vqa.count" and row["figure"] == "accuracy"
    )
    of_count = pooled["vqa"]["by_kind"]["count"]
    assert float(row["value"]) == pytest.approx(of_count["accuracy"] * 100)
    assert float(row["low"]) == pytest.approx(of_count["confidence_intervals"]["accuracy"][0] * 100)
    rules = {row["rule"] for row in rows if (row["task"], row["figure"]) == ("detect", "precision")}
    assert rules == {"strict", "well-formed boxes kept", "one wrong box"}
    assert not any(row["figure"].endswith(("_keep_wellformed", "_one_wrong_box")) for row in rows)


def test_the_scale_is_that_of_papers(written):
    (cell, _) = sweep_report(written[1]).cells
    rows = {(row.task, row.figure): row for row in figure_rows(cell)}
    assert rows["caption", "cider"].values[""].value == pytest.approx(cell.figures["caption"]["cider"] * 100)
    assert rows["caption", "cider"].title == "CIDEr (0 to 1,000)"
    assert rows["detect", "count_error"].values[""].value == cell.figures["detect"]["count_error"]


class Unasked:
    """Stands for a model that must not be asked; by its weights it is known."""

    training = False

    def __init__(self, model):
        self.state_dict = model.state_dict

    def __getattr__(self, name):
        raise AssertionError(f"the model was used: {name}")

    def train(self, mode):
        return self


def test_again_the_bytes_are_the_same_and_nothing_is_asked(written, model, processor, dataset):
    folder, _ = written
    before = contents(folder)
    told = []
    result = sweep(Unasked(model), processor, dataset, folder, progress=lambda *progress: told.append(progress[1:]))
    write(folder, result, dataset)
    assert contents(folder) == before
    assert told == [(28 * run, 112) for run in (1, 2, 3, 4)], "runs that are there count as done"


def test_stopped_and_gone_on_the_answers_are_the_same(written, model, processor, dataset, tmp_path):
    left = [3]

    def stop(description, done, total):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(model, processor, dataset, tmp_path, progress=stop)
    again = sweep(model, processor, dataset, tmp_path)
    assert [cell.pooled for cell in again.cells] == [cell.pooled for cell in written[1].cells]


def test_answers_of_another_model_or_other_settings_are_not_mixed(written, model, processor, dataset):
    folder, _ = written
    with pytest.raises(ValueError, match="with another model"):
        run_sweep(
            Unasked(model),
            processor,
            lambda seed: dataset,
            dataset_name="four images",
            max_denoising_steps=(1,),
            remasking=("random",),
            settings=DecodingOptions(structured=False),
            keep=KeptAnswers(folder / "answers", "another"),
        )
    with pytest.raises(ValueError, match="with another settings"):
        sweep(Unasked(model), processor, dataset, folder, settings=DecodingOptions())


def test_processes_share_the_questions(written, model, processor, dataset, tmp_path):
    def run(process):
        keep = KeptAnswers(tmp_path, "tiny", (process, 2))
        return run_sweep(
            model,
            processor,
            lambda seed: dataset,
            dataset_name="four images",
            max_denoising_steps=(3,),
            remasking=("random",),
            settings=DecodingOptions(structured=False),
            keep=keep,
        )

    run(1)
    (cell,) = run(0).cells
    assert [answer.text for answer in cell.runs[0].answers] == [
        answer.text for answer in written[1].cells[1].runs[0].answers
    ]


def test_without_matplotlib_there_are_no_plots_and_one_line_says_so(written, dataset, monkeypatch, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name))
    assert not can_plot()
    write(tmp_path, written[1], dataset)
    text = (tmp_path / "report.md").read_text()
    assert text.count("Matplotlib is not installed") == 1
    assert "plots/" not in text
    assert list((tmp_path / "plots").iterdir()) == []


def test_pictures_of_an_older_report_are_removed(written, dataset, tmp_path):
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "old-detect-right.png").write_bytes(b"")
    write(tmp_path, written[1], dataset)
    assert not (tmp_path / "sheets" / "old-detect-right.png").exists()


def test_settings_are_compared_question_by_question(written):
    folder, _ = written
    (comparison,) = json.loads((folder / "comparisons.json").read_text())
    assert comparison["before"].startswith("N = 1")
    change = comparison["changes"]["vqa.accuracy"]
    assert change["difference"] == pytest.approx(change["after"] - change["before"])
    assert change["mcnemar"] is None, "two answers to a question are not two questions"
    text = (folder / "report.md").read_text()
    assert "### four images: compared with N = 1, random, boxes of any form" in text
    assert "| N = 3, random, boxes of any form | vqa | accuracy | " in text


def test_one_answer_to_each_question_has_mcnemars_test(model, processor, dataset, tmp_path):
    result = sweep(model, processor, dataset, tmp_path, seeds=(0,), tasks=["vqa"])
    (comparison,) = compare_settings(sweep_report(result))
    assert comparison.changes["vqa.accuracy"].mcnemar is not None
    assert list(comparison.main_changes) == ["vqa.accuracy"]


def test_runs_of_images_of_their_own_have_mcnemars_test(written):
    _, result = written
    first, second = sweep_report(result).cells
    renamed = tuple(
        tuple(replace(answer, image_id=f"{number} {answer.image_id}") for answer in run)
        for number, run in enumerate(first.runs)
    )
    others = {second.name: OtherRuns("the same", renamed)}
    report = replace(sweep_report(result), cells=(replace(second, runs=renamed),))
    (comparison,) = compare_with_answers(report, others)
    assert comparison.changes["vqa.accuracy"].mcnemar is not None


def test_another_report_is_compared_with_under_the_same_settings(written, model, processor, dataset, tmp_path):
    result = sweep(model, processor, dataset, tmp_path, name="other", max_denoising_steps=(3,))
    report = sweep_report(result)
    answers = read_other_answers(written[0], report)
    (comparison,) = compare_with_answers(report, answers)
    assert comparison.before.startswith("tiny, N = 3")
    assert comparison.after.startswith("other, N = 3")
    assert {change.difference for change in comparison.changes.values()} == {0.0}
    with pytest.raises(FileNotFoundError, match="none of n3-random-seed0, n3-random-seed1"):
        read_other_answers(tmp_path / "nowhere", report)
