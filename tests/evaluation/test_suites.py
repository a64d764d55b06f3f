# SPDX-License-Identifier: Apache-2.0
"""Suites: the data sets of the paper in their real layout, asked, scored, and gone on with after stops."""

import json

import pytest

import published_datasets
from geodit.configuration.decoding_options import DecodingOptions
from geodit.data.readers.registry import get_reader
from geodit.data.schema import TASKS
from geodit.evaluation.answer_store import KeptAnswers
from geodit.evaluation.generating import GeoDiTAnswerer
from geodit.evaluation.other_models.loading import load_other_model
from geodit.evaluation.scored_answers import Scoring
from geodit.evaluation.suite_results import SuiteCell, SuiteResult
from geodit.evaluation.suite_runs import SuiteOptions, find_folders, run_suite
from geodit.evaluation.suite_tables import paper_tables, suite_csv, suite_markdown, suite_rows, suite_tables
from geodit.evaluation.suites import SUITES, get_suite
from other_tiny_models import save_checkpoint

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


PARTS = ("captioning", "grounding", "detection", "vqa", "classification")
OTHERS = ("qwen2_5_vl", "florence2")


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Tiny models of two other families, one that writes pixels and one that writes location tokens."""
    folder = tmp_path_factory.mktemp("checkpoints")
    tokens = dict.fromkeys(TASKS, 4)
    return {
        name: load_other_model(
            str(save_checkpoint(name, folder / f"tiny-{name}")), max_new_tokens=tokens, device="cpu"
        )
        for name in OTHERS
    }


@pytest.fixture
def geodit(model, processor):
    return GeoDiTAnswerer(model, processor, DecodingOptions())


def run(answerer, name, data, folder, *, scoring=None, baselines=False, model="tiny", share=(0, 1), **more):
    options = SuiteOptions(limit=2, batch_size=4, scoring=scoring or Scoring(bootstrap=5), baselines=baselines)
    return run_suite(answerer, get_suite(name), data, KeptAnswers(folder, model, share), options, **more)


@pytest.mark.parametrize("name", PARTS)
def test_a_suite_from_its_data_to_its_figures(geodit, data, tmp_path, name):
    result = run(geodit, name, data, tmp_path)
    assert [cell.entry for cell in result.cells] == list(SUITES[name].entries)
    for cell in result.cells:
        assert tuple(cell.figures) == cell.entry.tasks
        assert cell.num_questions > 0
        assert cell.tokens_per_second > 0
    stored = json.loads(json.dumps(result.to_dict()))
    assert [cell["dataset"] for cell in stored["cells"]] == [cell.entry.dataset for cell in result.cells]
    assert stored["cells"][0]["published"] == dict(SUITES[name].entries[0].published)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", PARTS)
def test_models_of_other_families_answer_the_same_suites(others, data, tmp_path, name, other):
    result = run(others[other], name, data, tmp_path, scoring=Scoring(protocols=("rscovlm",)))
    for cell in result.cells:
        assert tuple(cell.figures) == cell.entry.tasks
        assert cell.decoding is None
        assert cell.seconds > 0
        assert set(cell.protocols) == {"rscovlm"}
    again = run(others[other], name, data, tmp_path, progress=Stop(after=len(result.cells) + 1))
    assert [cell.answers for cell in again.cells] == [cell.answers for cell in result.cells], "nothing is asked again"


def test_settings_of_denoising_are_not_compared_with_another_model(others, data, tmp_path):
    with pytest.raises(ValueError, match="the suite ablations compares how GeoDiT decodes, and tiny is another model"):
        run(others["florence2"], "ablations", data, tmp_path)


def test_questions_of_rsvqa_are_also_scored_in_its_ranges(geodit, data, tmp_path):
    low, high = run(geodit, "vqa", data, tmp_path).cells
    assert "accuracy_rsvqa_lr" in low.figures["vqa"]
    assert "accuracy_rsvqa_hr" in high.figures["vqa"]


def test_baselines_answer_from_the_training_split(geodit, data, tmp_path):
    aid, whu = run(geodit, "classification", data, tmp_path, baselines=True).cells
    for cell in (aid, whu):
        assert ("train" in get_reader(cell.entry.dataset).splits) is bool(cell.baselines)
        assert bool(cell.no_baselines) is not bool(cell.baselines)


def test_without_the_files_of_training_the_table_says_why_there_are_no_baselines(geodit, data, tmp_path):
    result = run(geodit, "detection", data, tmp_path, baselines=True)
    (vrsbench,) = (cell for cell in result.cells if cell.entry.dataset == "vrsbench")
    assert "has no question of the split 'train' with the task detect" in vrsbench.no_baselines
    assert "vrsbench has no baselines of training: " in suite_markdown(result).replace("`", "")


def test_ablations_are_other_settings_of_the_same_questions(geodit, data, tmp_path):
    result = run(geodit, "ablations", data, tmp_path)
    assert len(result.cells) == 2 * len(SUITES["ablations"].ablations)
    settings = list(dict.fromkeys(cell.setting for cell in result.cells))
    assert settings == ["N = 8", "N = 1", "N = 2", "N = 4", "N = 16", "random remasking"]
    assert result.cells[0].decoding.remasking == "low_confidence"
    assert (result.cells[-1].decoding.max_denoising_steps, result.cells[-1].decoding.remasking) == (8, "random")
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


def test_stopped_five_times_the_table_is_the_same(geodit, data, tmp_path):
    whole = run(geodit, "vqa", data, tmp_path / "whole")
    for after in (1, 1, 1, 1, 1):
        with pytest.raises(KeyboardInterrupt):
            run(geodit, "vqa", data, tmp_path / "stopped", progress=Stop(after))
    again = run(geodit, "vqa", data, tmp_path / "stopped")
    assert [cell.figures for cell in again.cells] == [cell.figures for cell in whole.cells]


def test_answers_of_another_model_are_not_mixed(geodit, data, tmp_path):
    run(geodit, "classification", data, tmp_path)
    with pytest.raises(ValueError, match="with another model"):
        run(geodit, "classification", data, tmp_path, model="other")


def test_processes_share_a_suite(geodit, data, tmp_path):
    whole = run(geodit, "captioning", data, tmp_path / "whole")
    assert run(geodit, "captioning", data, tmp_path / "shared", share=(1, 2)).cells == ()
    shared = run(geodit, "captioning", data, tmp_path / "shared", share=(0, 2))
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


@pytest.fixture
def result():
    entry = SUITES["vqa"].entries[0]
    kinds = {"rural_urban": {"accuracy": 0.5, "num_samples": 4, "confidence_intervals": {"accuracy": [0.25, 0.75]}}}
    figures = {"vqa": {"accuracy": 0.125, "num_samples": 9, "parse_rate": 1.0, "by_kind": kinds}}
    protocols = {"vhm": {"vqa": {"accuracy": 0.25, "num_samples": 9}}}
    baselines = {"commonest": {"vqa": {"accuracy": 0.4}}}
    cell = SuiteCell(entry, "", figures, entry.published, 9, 3, protocols=protocols, baselines=baselines)
    return SuiteResult("vqa", "tiny", (cell,))


def test_tables_have_what_the_paper_states_on_its_scale(result):
    assert [row.cells() for row in suite_rows(result)] == [
        ("rsvqa-lr", "", "ours", "vqa.rural_urban", "accuracy", "50.0 [25.0, 75.0]", "-", "-", "98.1", "4"),
        ("rsvqa-lr", "", "ours", "vqa", "accuracy", "12.5", "-", "100.0", "-", "9"),
        ("rsvqa-lr", "", "vhm", "vqa", "accuracy", "25.0", "-", "-", "-", "9"),
    ]
    markdown = suite_markdown(result)
    assert "| rsvqa-lr |  | ours | vqa | accuracy | 12.5 | - | 100.0 | - | 9 |" in markdown.replace("`", "")
    assert "the commonest training answer to each kind of question" in markdown
    rows = suite_csv(result).splitlines()
    assert "rsvqa-lr,,ours,vqa.rural_urban,accuracy,50.0,25.0,75.0,,,98.1,4" in rows
    figures, baselines = suite_tables(result)
    assert figures.row_count == 3
    assert baselines.row_count == 1


def test_a_table_is_laid_out_as_the_paper_has_it(result):
    ((task, table),) = paper_tables(result)
    assert task == "vqa"
    assert table.header == ("model", "protocol", "rsvqa-lr: rural_urban.accuracy")
    # What another protocol has of all questions is not what the paper states of one kind of them.
    assert table.rows == (("the paper", "not stated", "98.1"), ("tiny", "ours", "50.0 [25.0, 75.0]"))


def test_a_protocol_has_its_headline_where_the_paper_has_a_figure_of_the_task():
    entry = SUITES["captioning"].entries[0]
    figures = {"caption": {"cider": 1.25, "num_samples": 2}}
    protocols = {"rscovlm": {"caption": {"cider_x100": 124.0}}}
    cells = tuple(
        SuiteCell(entry, ablation.name, figures, ablation.published["rsicd"], 2, 2, protocols=protocols)
        for ablation in SUITES["ablations"].ablations[:2]
    )
    ((_, table),) = paper_tables(SuiteResult("ablations", "tiny", cells))
    assert table.rows[0] == ("the paper, N = 8", "not stated", "135.6")
    assert table.rows[1] == ("tiny, N = 8", "ours", "125.0")
    assert table.rows[2] == ("tiny, N = 8", "rscovlm (cider_x100)", "124.0")
    assert [row[0] for row in table.rows[3:]] == ["the paper, N = 1", "tiny, N = 1", "tiny, N = 1"]


def test_what_a_data_set_does_not_have_is_undefined():
    entry = SUITES["vqa"].entries[0]
    result = SuiteResult("vqa", "tiny", (SuiteCell(entry, "", {"vqa": {}}, entry.published, 0, 0),))
    assert {row.cells()[5] for row in suite_rows(result)} == {"-"}
