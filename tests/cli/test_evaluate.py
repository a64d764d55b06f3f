# SPDX-License-Identifier: Apache-2.0
import json

import pytest

import published_datasets

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
        assert names == {"answers", "results.csv", "results.json", "results.md"}
        again = geodit(*arguments, "--model", "geodit-tiny", "--bootstrap", 5, "--json")
        assert json.loads(again.stdout) == json.loads((tmp_path / "report" / "results.json").read_text())

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--suite", "vqa"), "--suite needs --data"),
            (("--report", "folder"), "--report is for --suite"),
            (
                ("--suite", "vqa", "--data", "nowhere", "--report", "folder"),
                "nowhere has no folder rsvqa-lr",
            ),
            (("--suite", "all", "--data", "nowhere", "--report", "folder"), "unknown suite 'all'"),
        ],
    )
    def test_what_does_not_go_together_is_one_line(self, geodit, arguments, message):
        assert message in geodit.fails("evaluate", *arguments)
