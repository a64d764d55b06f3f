# SPDX-License-Identifier: Apache-2.0
"""`geodit evaluate --answers`: what another program wrote is scored by our metrics, and as other projects score."""

import json

import pytest

import published_datasets
from finetuning_data import ship_row
from geodit.annotations.stored import write_split

pytest.importorskip("evaluate")


@pytest.fixture
def ships(tmp_path):
    folder = tmp_path / "ships"
    folder.mkdir()
    write_split(folder, "test", (ship_row(number) for number in range(3)))
    return folder


@pytest.fixture
def answers(tmp_path):
    lines = [
        {"image_id": str(number), "task": "vqa", "query": "Is there a ship?", "text": "yes"} for number in range(2)
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_figures_of_every_protocol(geodit, ships, answers, tmp_path):
    arguments = ("evaluate", "--answers", answers, "--dataset", ships, "--tasks", "vqa", "--protocol", "ours,vhm")
    result = geodit(*arguments, "--json", "--out", tmp_path / "figures.json", "--report", tmp_path / "report")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    (cell,) = document["cells"]
    assert document["model"] == "answers.jsonl"
    assert cell["figures"]["vqa"]["accuracy"] == pytest.approx(2 / 3)
    assert cell["figures"]["vqa"]["confidence_intervals"]["accuracy"]
    # There an answer that is missing is part of every true one.
    assert cell["protocols"]["vhm"]["vqa"]["accuracy"] == 1.0
    assert json.loads((tmp_path / "figures.json").read_text()) == document
    assert "## Other protocols" in (tmp_path / "report" / "report.md").read_text()
    table = geodit(*arguments).stdout
    assert "66.7" in table
    assert "vhm" in table


def test_a_limit_leaves_out_the_answers_about_other_images(geodit, ships, answers):
    result = geodit("evaluate", "--answers", answers, "--dataset", ships, "--tasks", "vqa", "--limit", 1, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["limit"], document["cells"][0]["num_questions"]) == (1, 1)


def test_a_model_is_compared_with_answers_of_a_file(geodit, ships, answers, tmp_path):
    arguments = ("evaluate", "--dataset", ships, "--tasks", "vqa", "--bootstrap", 5)
    assert geodit(*arguments, "--answers", answers, "--report", tmp_path / "file").exit_code == 0
    compared = ("--report", tmp_path / "model", "--compare-with", tmp_path / "file")
    result = geodit(*arguments, "--max-denoising-steps", 1, *compared)
    assert result.exit_code == 0, result.output
    (comparison,) = json.loads((tmp_path / "model" / "comparisons.json").read_text())
    assert comparison["before"] == "answers.jsonl"
    answers.write_text(answers.read_text().splitlines()[0] + "\n")
    message = geodit.fails(*arguments, "--answers", answers, "--report", tmp_path / "file")
    assert "with another settings" in message


def test_a_published_data_set_is_read_from_its_folder(geodit, tmp_path):
    root = published_datasets.rsvqa_lr(tmp_path)
    path = tmp_path / "answers.jsonl"
    path.write_text('{"image_id": "nowhere", "task": "vqa", "query": "?", "text": "yes"}\n')
    message = geodit.fails("evaluate", "--answers", path, "--dataset", "rsvqa-lr", "--data", root)
    assert "answers.jsonl, line 1: there is no question vqa '?'" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "rsvqa-lr"), "rsvqa-lr is read from a folder: name it with --data"),
        (("--dataset", "imagenet"), "unknown data set 'imagenet'"),
        (("--dataset", "SHIPS", "--protocol", "mine"), "unknown protocol 'mine'"),
        (("--dataset", "SHIPS", "--box-format", "mine"), "mine"),
        (("--dataset", "SHIPS", "--box-format", "location_tokens"), "location tokens are of GeoDiT"),
    ],
)
def test_what_cannot_be_scored_is_one_line(geodit, ships, answers, arguments, message):
    given = [ships if word == "SHIPS" else word for word in arguments]
    assert message in geodit.fails("evaluate", "--answers", answers, *given)
