# SPDX-License-Identifier: Apache-2.0
"""`geodit finetune`, and before it `geodit data import` and `preview`: from a COCO file to an overlay."""

import json

import numpy as np
import pytest
from PIL import Image

from geodit.evaluation import baselines

pytest.importorskip("trl")
pytest.importorskip("evaluate")
run = pytest.importorskip("geodit.finetuning.run")


@pytest.fixture
def coco(tmp_path):
    """Twelve images of a bright ship each."""
    photos = tmp_path / "photos"
    photos.mkdir()
    images, annotations = [], []
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 100, (64, 64, 3), dtype=np.uint8)
        x, y = (int(value) for value in rng.integers(2, 40, 2))
        pixels[y : y + 12, x : x + 20] = 250
        Image.fromarray(pixels).save(photos / f"{number:02d}.png")
        images.append({"id": number, "file_name": f"{number:02d}.png", "width": 64, "height": 64})
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [x, y, 20, 12], "area": 240, "iscrowd": 0}
        )
    path = tmp_path / "instances.json"
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ship"}]}
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def dataset(geodit, coco, tmp_path):
    folder = tmp_path / "ships"
    result = geodit("data", "import", coco, "--images", tmp_path / "photos", "-o", folder, "--shares", "0.6,0.2,0.2")
    assert result.exit_code == 0, result.output
    assert f"the data set is in {folder}" in result.stdout
    return folder


@pytest.fixture
def finetune(geodit, dataset, checkpoint, tmp_path):
    def run(*arguments):
        short = ("--max-steps", 2, "--evaluations", 1, "--batch-size", 2, "--cpu")
        return geodit("finetune", dataset, "--model", checkpoint, "-o", tmp_path / "run", *short, *arguments)

    return run


def test_from_a_coco_file_to_an_overlay(geodit, finetune, dataset, tmp_path):
    assert geodit("data", "preview", dataset, "-o", tmp_path / "sheet.png").exit_code == 0
    result = finetune()
    assert result.exit_code == 0, result.output
    assert "update 2 of 2: loss " in result.stdout
    assert "held out: loss " in result.stdout
    assert f"report: {tmp_path / 'run' / 'finetuning' / 'report.md'}" in result.stdout
    assert "detect, F1@0.5: " in result.stdout
    assert "There is 1 training run" in result.stdout
    assert "typical_box" in result.stdout
    # The command that it prints, with a picture in the place of IMAGE.
    [line] = [line for line in result.stdout.splitlines() if line.startswith("Predict: geodit ")]
    photo, overlay = tmp_path / "photos" / "00.png", tmp_path / "overlay.png"
    words = line.removeprefix("Predict: geodit ").replace("IMAGE", str(photo)).replace("overlay.png", str(overlay))
    predicted = geodit(*words.split())
    assert predicted.exit_code == 0, predicted.output
    assert overlay.is_file()
    # And a second start finds nothing left to do, and reports the same.
    reports = [tmp_path / "run" / "finetuning" / name for name in ("report.md", "report.json")]
    written = [path.read_bytes() for path in reports]
    again = finetune()
    assert [path.read_bytes() for path in reports] == written
    assert again.exit_code == 0, again.output
    assert "update 2 of" not in again.stdout
    assert "the checkpoint of update 2 was the best and is kept" in again.stdout


def test_the_plan_alone(finetune, tmp_path):
    result = finetune("--dry-run", "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["updates"] == 2
    assert {decision["name"] for decision in plan["decisions"]} >= {"model", "precision", "micro-batch"}
    assert "best checkpoint" in finetune("--dry-run").stdout
    assert not (tmp_path / "run").exists()


def test_several_seeds_have_a_report_of_their_own_and_one_of_all(finetune, tmp_path, monkeypatch):
    scored = []

    def score_baselines(*data, **options):
        scored.append(data)
        return baselines.score_baselines(*data, **options)

    monkeypatch.setattr(run, "score_baselines", score_baselines)
    result = finetune("--seed", "0,1", "--json")
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)
    assert (first["seed"], second["seed"]) == (0, 1)
    assert len(scored) == 1, "the data are the same"
    assert first["baselines"] == second["baselines"] != {}
    finished = finetune("--seed", "0,1")
    assert finished.exit_code == 0, finished.output
    page = (tmp_path / "run" / "report.md").read_text()
    assert "trained 2 times, with seeds 0, 1" in page
    assert "±" in page
    assert "seed 1, detect, F1@0.5: " in finished.stdout
    assert "There are 2 training runs" in finished.stdout
    assert (tmp_path / "run" / "seed-1" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", "one"), "--seed takes one or more whole numbers"),
        (("--canvas", "detect"), "--canvas takes name=value"),
        (("--canvas", "detect=long"), "--canvas takes task=number"),
        (("--set", "learning_rate"), "--set takes name=value"),
        (
            ("--set", "learning_rat=1"),
            "no field 'learning_rat', which --set (overrides) names",
        ),
        (("--seed", "0,1,0"), "--seed takes each number once"),
        (("--metric", "beauty"), "metric must be one of"),
        (("--epochs", "2"), "give one of them"),
    ],
)
def test_wrong_options_are_one_line(finetune, tmp_path, arguments, message):
    result = finetune(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_in_the_folder_of_a_data_set_is_refused(geodit, dataset, checkpoint):
    card = (dataset / "README.md").read_bytes()
    for more in ((), ("--overwrite",)):
        message = geodit.fails("finetune", dataset, "--model", checkpoint, "-o", dataset, "--cpu", *more)
        assert "is a data set, whose card the run would replace" in message
    assert (dataset / "README.md").read_bytes() == card
    assert not (dataset / "finetuning").exists()


def test_a_data_set_that_is_not_there_is_one_line(geodit, tmp_path):
    message = geodit.fails("finetune", tmp_path / "nothing", "-o", tmp_path / "run", "--cpu")
    assert "nothing is no data set: geodit data import makes one" in message
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_imported_is_listed(geodit, coco, tmp_path):
    (tmp_path / "photos" / "03.png").write_bytes(b"no picture")
    arguments = ("data", "import", coco, "--images", tmp_path / "photos", "-o", tmp_path / "ships")
    result = geodit(*arguments)
    assert result.exit_code == 1
    assert "03.png" in result.stderr
    assert not (tmp_path / "ships").exists()
    assert geodit(*arguments, "--skip-bad").exit_code == 0
