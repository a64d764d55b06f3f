# SPDX-License-Identifier: Apache-2.0
"""Suites: the data sets of the paper in their real layout, asked, scored, and gone on with after stops."""

import json

import pytest

import published_datasets
from geodit.data.readers.registry import get_reader
from geodit.evaluation.suite_runs import SuiteCell, SuiteOptions, SuiteResult, find_folders, run_suite
from geodit.evaluation.suite_tables import suite_csv, suite_markdown, suite_rows, suite_table
from geodit.evaluation.suites import SUITES, get_suite

NAMES = list(dict.fromkeys(entry.dataset for entry in SUITES["paper"].entries))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name in NAMES:
        (root / name).mkdir()
        getattr(published_datasets, name.replace("-", "_"))(root / name)
    return root


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_every_data_set_has_a_reader_with_its_split(suite):
    assert suite.entries
    for entry in suite.entries:
        get_reader(entry.dataset).check_split(entry.split)
        assert all(name.partition(".")[0] in entry.tasks for name in entry.published)
    for ablation in suite.ablations:
        assert set(ablation.published) <= {entry.dataset for entry in suite.entries}


def test_the_paper_is_the_other_suites_together():
    parts = [
        entry
        for name in ("captioning", "grounding", "detection", "vqa", "classification")
        for entry in SUITES[name].entries
    ]
    assert list(SUITES["paper"].entries) == parts


def run(model, processor, name, data, folder, **more):
    options = SuiteOptions(limit=2, bootstrap=5, batch_size=4)
    return run_suite(model, processor, get_suite(name), data, folder, options, model_name="tiny", **more)


@pytest.mark.parametrize("name", ["captioning", "grounding", "detection", "vqa", "classification"])
def test_a_suite_from_its_data_to_its_figures(model, processor, data, tmp_path, name):
    result = run(model, processor, name, data, tmp_path)
    assert [cell.entry for cell in result.cells] == list(SUITES[name].entries)
    for cell in result.cells:
        assert tuple(cell.figures) == cell.entry.tasks
        assert cell.num_questions > 0
    stored = json.loads((tmp_path / "results.json").read_text())
    assert [cell["dataset"] for cell in stored["cells"]] == [cell.entry.dataset for cell in result.cells]
    assert stored["cells"][0]["published"] == dict(SUITES[name].entries[0].published)


def test_ablations_are_other_settings_of_the_same_questions(model, processor, data, tmp_path):
    result = run(model, processor, "ablations", data, tmp_path)
    assert len(result.cells) == 2 * len(SUITES["ablations"].ablations)
    settings = {cell.setting for cell in result.cells}
    assert settings == {"random remasking", "N = 1", "N = 2", "N = 4", "N = 8", "N = 16"}
    of_one = [cell for cell in result.cells if cell.setting == "N = 1" and cell.entry.dataset == "rsicd"]
    assert of_one[0].published == {"caption.cider": 65.8}
    assert of_one[0].figures["caption"]["mean_steps"] == 1.0
    assert (tmp_path / "answers" / "rsicd-caption-n-1" / "answers-0.jsonl").is_file()


class Stop:
    def __init__(self, after):
        self.left = after

    def __call__(self, name, done, total):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_stopped_five_times_the_table_is_the_same(model, processor, data, tmp_path):
    whole = run(model, processor, "vqa", data, tmp_path / "whole")
    for after in (1, 1, 1, 1, 1):
        with pytest.raises(KeyboardInterrupt):
            run(model, processor, "vqa", data, tmp_path / "stopped", progress=Stop(after))
    again = run(model, processor, "vqa", data, tmp_path / "stopped")
    assert [cell.figures for cell in again.cells] == [cell.figures for cell in whole.cells]


def test_answers_of_another_model_are_not_mixed(model, processor, data, tmp_path):
    run(model, processor, "classification", data, tmp_path)
    with pytest.raises(ValueError, match="with another model"):
        run_suite(
            model, processor, get_suite("classification"), data, tmp_path, SuiteOptions(limit=2), model_name="other"
        )


def test_processes_share_a_suite(model, processor, data, tmp_path):
    whole = run(model, processor, "captioning", data, tmp_path / "whole")
    run(model, processor, "captioning", data, tmp_path / "shared", share=(1, 2))
    shared = run(model, processor, "captioning", data, tmp_path / "shared", share=(0, 2))
    assert [cell.figures for cell in shared.cells] == [cell.figures for cell in whole.cells]


def test_missing_data_sets_are_all_named(tmp_path):
    (tmp_path / "RSICD").mkdir()
    with pytest.raises(FileNotFoundError, match="has no folder sydney-captions, ucm-captions, nwpu-captions"):
        find_folders(SUITES["captioning"], tmp_path)
    for name in ("sydney-captions", "ucm-captions", "nwpu-captions"):
        (tmp_path / name).mkdir()
    assert find_folders(SUITES["captioning"], tmp_path)["rsicd"] == tmp_path / "RSICD"


def test_an_unknown_suite_names_those_there_are():
    with pytest.raises(ValueError, match="the suites are captioning, grounding, detection, vqa"):
        get_suite("everything")


def test_tables_have_what_the_paper_states_on_its_scale():
    entry = SUITES["vqa"].entries[0]
    kinds = {"rural_urban": {"accuracy": 0.5, "num_samples": 4, "confidence_intervals": {"accuracy": [0.25, 0.75]}}}
    figures = {"vqa": {"accuracy": 0.125, "num_samples": 9, "by_kind": kinds}}
    result = SuiteResult("vqa", "tiny", (SuiteCell(entry, "", figures, entry.published, 9, 3),))
    assert [row.cells() for row in suite_rows(result)] == [
        ("rsvqa-lr", "", "vqa.rural_urban.accuracy", "50.0 [25.0, 75.0]", "98.1", "4"),
        ("rsvqa-lr", "", "vqa.accuracy", "12.5", "-", "9"),
    ]
    assert "| rsvqa-lr |  | vqa.accuracy | 12.5 | - | 9 |" in suite_markdown(result)
    assert "rsvqa-lr,,vqa.rural_urban.accuracy,50.0,25.0,75.0,98.1,4" in suite_csv(result).splitlines()
    assert suite_table(result).row_count == 2


def test_what_a_data_set_does_not_have_is_undefined():
    entry = SUITES["vqa"].entries[0]
    result = SuiteResult("vqa", "tiny", (SuiteCell(entry, "", {"vqa": {}}, entry.published, 0, 0),))
    assert {row.cells()[3] for row in suite_rows(result)} == {"-"}
