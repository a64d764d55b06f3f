# SPDX-License-Identifier: Apache-2.0
import json
import sys

import pytest

import published_datasets
from geodit.cli import evaluation_runs
from geodit.hub_cards.card.evaluation_results import read_results
from other_tiny_models import save_checkpoint

pytest.importorskip("evaluate")


def test_json_has_every_point_of_the_grid(geodit, checkpoint, tmp_path):
    out = tmp_path / "figures.json"
    result = geodit(
        "evaluate", "--model", checkpoint, "--dataset", "synthetic", "--limit", 1, "--tasks", "detect,vqa",
        "--max-denoising-steps", "1,2", "--remasking", "low_confidence,random", "--seeds", 2, "--json", "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    points = [(cell["settings"]["steps"], cell["settings"]["remasking"]) for cell in document["cells"]]
    assert points == [(1, "low_confidence"), (1, "random"), (2, "low_confidence"), (2, "random")]
    assert document["seeds"] == [0, 1]
    assert all({"detect.f1", "detect.f1_keep_wellformed"} <= set(cell["summary"]) for cell in document["cells"])
    assert json.loads(out.read_text())["cells"] == document["cells"]


def test_the_table_has_a_row_for_each_number_of_steps(geodit, checkpoint):
    result = geodit("evaluate", "--model", checkpoint, "--limit", 1, "--tasks", "vqa", "--max-denoising-steps", "1,2")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("low_confidence") == 2


def test_steps_of_fixed_shapes_give_the_same_figures(geodit, checkpoint):
    def summary(*arguments):
        result = geodit(
            "evaluate", "--model", checkpoint, "--limit", 4, "--max-denoising-steps", 5, "--json", *arguments
        )
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["cells"][0]["summary"]

    assert summary("--capture-step", "--batch-size", 3) == summary("--no-capture-step")


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ([], {"fill_after_eos": True, "structured": True, "closed_set": []}),
        (["--denoise-after-eos", "--no-structured"], {"fill_after_eos": False, "structured": False}),
        (["--closed-set", "classify,vqa"], {"closed_set": ["classify", "vqa"]}),
    ],
)
def test_how_answers_are_decoded_is_kept_with_the_figures(geodit, checkpoint, arguments, settings):
    result = geodit("evaluate", "--model", checkpoint, "--limit", 2, "--max-denoising-steps", 2, "--json", *arguments)
    assert result.exit_code == 0, result.output
    (cell,) = json.loads(result.stdout)["cells"]
    assert settings.items() <= cell["settings"].items()
    assert (cell["summary"]["detect.parse_rate"]["mean"] == 1) is cell["settings"]["structured"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-denoising-steps", "1,,2"], "--max-denoising-steps"),
        (["--max-denoising-steps", "few"], "--max-denoising-steps takes whole numbers of at least 1, got 'few'"),
        (["--max-denoising-steps", "0"], "--max-denoising-steps"),
        (["--remasking", "best"], "low_confidence"),
        (["--tasks", "segment"], "segment"),
        (["--closed-set", "segment"], "segment"),
        (["--closed-set", "detect"], "no answers to detect"),
        (["--dataset", "neon", "--data", "nowhere"], "geodit data fetch neon"),
        (["--dataset", "neon", "--new-images"], "fixed"),
        (["--dataset", "neon", "--benchmark", "neon"], "give --dataset only"),
        (["--out", "no/such/place.json"], "no/such"),
    ],
)
def test_bad_input_is_told_in_one_line(geodit, checkpoint, arguments, message):
    assert message in geodit.fails("evaluate", "--model", checkpoint, "--limit", 1, *arguments)


def test_the_old_name_of_the_data_set_still_works_and_warns(geodit, checkpoint):
    arguments = (
        "evaluate",
        "--model",
        checkpoint,
        "--limit",
        1,
        "--tasks",
        "vqa",
        "--max-denoising-steps",
        1,
        "--json",
    )
    old, new = geodit(*arguments, "--benchmark", "synthetic"), geodit(*arguments, "--dataset", "synthetic")
    assert old.exit_code == 0, old.output
    assert old.stderr.count("--benchmark is now --dataset") == 1
    assert "--benchmark" not in new.stderr
    assert "--benchmark" not in geodit("evaluate", "--help").stdout
    assert json.loads(old.stdout)["benchmark"] == json.loads(new.stdout)["benchmark"] == "synthetic"


def test_a_missing_library_is_told_before_anything_is_asked(geodit, checkpoint, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "scipy", None)
    message = geodit.fails("evaluate", "--model", checkpoint, "--limit", 1, "--report", tmp_path / "report")
    assert "pip install 'geodit[eval]'" in message
    assert not (tmp_path / "report").exists()


class TestSuite:
    @pytest.fixture
    def data(self, tmp_path):
        for name in ("rsvqa-lr", "rsvqa-hr"):
            (tmp_path / "data" / name).mkdir(parents=True)
            getattr(published_datasets, name.replace("-", "_"))(tmp_path / "data" / name)
        return tmp_path / "data"

    def test_a_table_and_its_files(self, geodit, data, tmp_path):
        arguments = ("evaluate", "--suite", "vqa", "--data", data, "--report", tmp_path / "report", "--limit", 1)
        result = geodit(*arguments, "--model", "geodit-tiny", "--bootstrap", 5)
        assert result.exit_code == 0, result.output
        assert "rsvqa-lr" in result.stdout
        names = {path.name for path in (tmp_path / "report").iterdir()}
        tables = {"answers", "results.csv", "results.json", "results.md"}
        assert names == tables | {"figures.csv", "plots", "report.md", "sheets"}
        assert "| paper |" in (tmp_path / "report" / "report.md").read_text()
        again = geodit(*arguments, "--model", "geodit-tiny", "--bootstrap", 5, "--json")
        written = (tmp_path / "report" / "results.json").read_text()
        assert json.loads(again.stdout) == json.loads(written)

        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "paper.json").write_text(written)
        of_card = read_results(tmp_path)
        assert [results.benchmark for results in of_card] == ["rsvqa-lr", "rsvqa-hr"]
        assert all(cell.figures["vqa.accuracy"].interval for results in of_card for cell in results.cells)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--suite", "vqa"), "--suite needs --data"),
            (("--compare-with", "folder"), "--compare-with needs --report"),
            (
                ("--suite", "vqa", "--data", "x", "--report", "y", "--split", "validation", "--tasks", "vqa"),
                "--split, --tasks cannot go with --suite",
            ),
            (
                ("--answers", "answers.jsonl", "--model", "geodit-tiny", "--temperature", "1"),
                "--model, --temperature cannot go with --answers: no model is asked",
            ),
            (("--box-format", "geochat"), "--box-format goes with --answers"),
            (("--dataset", "synthetic", "--data", "folder"), "synthetic images are made, not read: leave out --data"),
            (("--protocol", "mine"), "unknown protocol 'mine'"),
            (("--label-rule", "loose"), "loose"),
            (("--answer-rules", "loose"), "unknown answer rule 'loose'"),
            (("--trust-remote-code",), "--trust-remote-code is for other models"),
            (("--family", "qwen2_5_vl"), "--family needs --model"),
            (
                ("--suite", "vqa", "--data", "nowhere", "--report", "folder", "--remasking", "random,low_margin"),
                "--suite takes one setting: give one --max-denoising-steps",
            ),
            (
                ("--suite", "vqa", "--data", "nowhere", "--report", "folder"),
                "nowhere has no folder rsvqa-lr",
            ),
            (("--suite", "all", "--data", "nowhere", "--report", "folder"), "unknown suite 'all'"),
        ],
    )
    def test_what_does_not_go_together_is_one_line(self, geodit, arguments, message):
        assert message in geodit.fails("evaluate", *arguments)


class TestReport:
    def test_a_report_goes_on_from_its_answers_and_is_compared_with_another(self, geodit, checkpoint, tmp_path):
        arguments = ("evaluate", "--model", checkpoint, "--limit", 2, "--tasks", "detect,vqa", "--bootstrap", 5)
        arguments += ("--max-denoising-steps", "1,2")
        result = geodit(*arguments, "--report", tmp_path / "first")
        assert result.exit_code == 0, result.output
        assert "answers and report are in" in result.stdout
        files = {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()}
        assert {"report.md", "figures.csv", "results.json", "comparisons.json"} <= {path.name for path in files}
        again = geodit(*arguments, "--report", tmp_path / "first")
        assert again.exit_code == 0, again.output
        assert {path: path.read_bytes() for path in files} == files

        result = geodit(*arguments, "--report", tmp_path / "second", "--compare-with", tmp_path / "first", "--json")
        assert result.exit_code == 0, result.output
        document = json.loads((tmp_path / "second" / "results.json").read_text())
        assert document["cells"] == json.loads(result.stdout)["cells"]
        assert document["cells"][0]["pooled"]["detect"]["confidence_intervals"]
        compared = json.loads((tmp_path / "second" / "comparisons.json").read_text())
        assert [one["before"].count(", N = ") for one in compared] == [1, 1, 0], "two models, then two settings"
        assert all(change["difference"] == 0 for change in compared[0]["changes"].values())

    def test_baselines_stand_beside_the_model(self, geodit, checkpoint, tmp_path, monkeypatch):
        monkeypatch.setattr(evaluation_runs, "_TRAINING_SCENES", 5)
        result = geodit(
            "evaluate", "--model", checkpoint, "--limit", 2, "--tasks", "ground,vqa", "--bootstrap", 5, "--baselines",
            "--report", tmp_path,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert "nearest_image" in result.stdout
        rows = [line.split(" | ") for line in (tmp_path / "report.md").read_text().splitlines() if "_" in line]
        kinds = {row[1].strip("`"): (row[2], row[4]) for row in rows if len(row) == 7}
        assert kinds["nearest_image"] == ("baseline", "vqa")
        assert kinds["right_class_box"] == ("uses the truth", "ground")
        assert "canonical_caption" not in kinds, "nobody asked for captions"

    def test_what_cannot_be_compared_with_is_one_line(self, geodit, checkpoint, tmp_path):
        arguments = ("evaluate", "--model", checkpoint, "--limit", 1, "--tasks", "vqa", "--bootstrap", 5)
        message = geodit.fails(*arguments, "--report", tmp_path / "new", "--compare-with", tmp_path / "nowhere")
        assert "it has no answers; give the folder of a report" in message
        assert not (tmp_path / "new").exists(), "nobody waits for answers to learn that"
        assert geodit(*arguments, "--max-denoising-steps", "1,2", "--report", tmp_path / "two").exit_code == 0
        message = geodit.fails(*arguments, "--report", tmp_path / "new", "--compare-with", tmp_path / "two")
        assert "give the folder of a report with the same settings" in message
        assert not (tmp_path / "new" / "results.json").exists(), "a report is written as a whole"

    def test_a_report_of_something_else_leaves_no_files_of_the_one_before(self, geodit, checkpoint, tmp_path):
        arguments = ("evaluate", "--model", checkpoint, "--limit", 1, "--tasks", "vqa", "--bootstrap", 5)
        for name in ("results.md", "results.csv", "comparisons.json"):
            (tmp_path / name).touch()
        assert geodit(*arguments, "--report", tmp_path).exit_code == 0
        assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
            "figures.csv", "report.md", "results.json",
        }  # fmt: skip

    def test_answers_of_another_model_are_not_mixed(self, geodit, checkpoint, tmp_path):
        arguments = ("evaluate", "--limit", 1, "--tasks", "vqa", "--bootstrap", 5, "--report", tmp_path / "report")
        assert geodit(*arguments, "--model", checkpoint).exit_code == 0
        assert "with another model" in geodit.fails(*arguments, "--model", "geodit-tiny")

    def test_other_protocols_stand_beside_ours(self, geodit, checkpoint, tmp_path):
        result = geodit(
            "evaluate", "--model", checkpoint, "--limit", 2, "--tasks", "vqa", "--max-denoising-steps", "1,2",
            "--protocol", "ours,vhm", "--report", tmp_path, "--bootstrap", 5,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert "vhm" in result.stdout
        assert "## Other protocols" in (tmp_path / "report.md").read_text()
        for cell in json.loads((tmp_path / "results.json").read_text())["cells"]:
            assert cell["protocols"]["vhm"]["vqa"]["confidence_intervals"]["accuracy"]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return save_checkpoint("florence2", tmp_path_factory.mktemp("checkpoints") / "tiny")


class TestOtherModel:
    """A tiny model of another family, through the same command."""

    def test_it_is_asked_in_its_own_way(self, geodit, other, checkpoint, tmp_path):
        arguments = ("evaluate", "--limit", 1, "--tasks", "vqa,detect", "--bootstrap", 5)
        result = geodit(
            *arguments, "--model", other, "--protocol", "rscovlm", "--closed-set", "classify", "--json",
            "--report", tmp_path / "report",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        (cell,) = json.loads(result.stdout)["cells"]
        assert cell["settings"] is None
        assert cell["tasks"] == ["detect", "vqa"]
        assert cell["tokens_per_second"] > 0
        assert set(cell["protocols"]) == {"rscovlm"}
        assert "| its own |" in (tmp_path / "report" / "report.md").read_text()
        again = geodit(*arguments, "--model", other, "--closed-set", "classify", "--report", tmp_path / "report")
        assert again.exit_code == 0, again.output

        compared = ("--report", tmp_path / "geodit", "--compare-with", tmp_path / "report")
        assert geodit(*arguments, "--model", checkpoint, *compared).exit_code == 0
        (comparison,) = json.loads((tmp_path / "geodit" / "comparisons.json").read_text())
        assert "detect.f1" in comparison["changes"]

        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "other.json").write_text(json.dumps(json.loads(result.stdout)))
        (results,) = read_results(tmp_path)
        assert "its own settings" in str(results.table)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--max-denoising-steps", "1"), "options of its denoising do not go with it"),
            (("--max-denoising-steps", "1,2"), "is not GeoDiT: give one --max-denoising-steps"),
            (("--closed-set", "vqa"), "the closed set of another model can only be classify"),
            (("--adapter", "somewhere"), "is not a GeoDiT checkpoint"),
            (("--tasks", "vqa", "--family", "mine"), "mine"),
        ],
    )
    def test_options_that_it_does_not_have_are_refused(self, geodit, other, arguments, message):
        assert message in geodit.fails("evaluate", "--limit", 1, "--model", other, *arguments)
