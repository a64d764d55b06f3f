# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal

import pytest

from geodit.cli.errors import CommandError
from geodit.cli.train import parse_overrides
from geodit.configuration.file_lock import FileLock


@pytest.mark.parametrize(
    ("arguments", "overrides"),
    [
        ([], []),
        (["learning_rate=3e-4", "output_dir=a=b"], ["--learning_rate=3e-4", "--output_dir=a=b"]),
        (["--learning_rate", "3e-4", "--bf16=false"], ["--learning_rate", "3e-4", "--bf16=false"]),
        (["--questions_per_task", "detect=4", "vqa=1"], ["--questions_per_task", "detect=4", "vqa=1"]),
    ],
)
def test_overrides_come_in_two_forms(arguments, overrides):
    assert parse_overrides(arguments) == overrides


@pytest.mark.parametrize("arguments", [["3e-4"], ["=3e-4"], ["learning rate=1"], ["a=1", "--b", "2"]])
def test_other_forms_are_refused(arguments):
    with pytest.raises(CommandError, match="is not an override"):
        parse_overrides(arguments)


def test_a_recipe_that_does_not_exist_is_named(geodit):
    pytest.importorskip("trl")
    assert "No recipe 'nothing.yaml'" in geodit.fails("train", "nothing.yaml", "learning_rate=3e-4")


def test_a_recipe_that_is_no_mapping_is_refused(geodit, tmp_path):
    pytest.importorskip("trl")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("- learning_rate\n")
    assert "mapping" in geodit.fails("train", recipe)


def test_a_run_that_was_told_to_end_has_the_exit_code_of_sigterm(geodit, monkeypatch):
    recipes = pytest.importorskip("geodit.trainers.runs.recipes")

    def end(*args, **kwargs):
        raise SystemExit(143)

    monkeypatch.setattr(recipes, "run_recipe", end)
    assert geodit("train", "stage1").exit_code == 143


@pytest.fixture
def recipe(checkpoint, tmp_path):
    pytest.importorskip("trl")
    path = tmp_path / "recipe.yaml"
    path.write_text(f"model_name_or_path: {checkpoint}\nnum_scenes: 2\noutput_dir: {tmp_path / 'run'}\n")
    return path


def test_a_dry_run_prints_figures_and_writes_nothing(geodit, recipe, tmp_path):
    result = geodit("train", recipe, "--dry-run", "--num_train_epochs", 3)
    assert result.exit_code == 0, result.output
    for expected in ("projector", "tokens in total", "epochs", "maximum of activations"):
        assert expected in result.stdout
    assert not (tmp_path / "run").exists()


def test_a_dry_run_as_json_is_complete(geodit, recipe):
    result = geodit("train", recipe, "--dry-run", "--json", "max_steps=7", "bf16=true")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["updates"]["steps"] == 7
    assert document["data"]["exact"]
    assert document["memory"]["without_activation_checkpointing"]["peak"] > 0
    assert set(document["parameters"]) == {"vision_tower", "projector", "language_model"}


def test_json_is_for_dry_runs(geodit, recipe):
    assert "--json requires --dry-run" in geodit.fails("train", recipe, "--json")


def test_overwrite_is_handed_on_and_a_run_in_the_way_is_one_line(geodit, recipe, tmp_path, monkeypatch):
    (tmp_path / "run" / "checkpoint-3").mkdir(parents=True)
    assert "holds checkpoint-3 of an earlier run" in geodit.fails("train", recipe)
    given = []
    monkeypatch.setattr("geodit.trainers.runs.recipes.run_recipe", lambda *args, **kwargs: given.append(args[1]))
    assert geodit("train", recipe, "--overwrite", "learning_rate=1").exit_code == 0
    assert given == [["--learning_rate=1", "--overwrite_output_dir", "true"]]


def test_a_second_run_on_a_folder_is_one_line(geodit, recipe, tmp_path):
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        FileLock(tmp_path / "run" / ".geodit-run" / "lock", tmp_path / "run").acquire()
        os.write(told, b"x")
        signal.pause()
    try:
        assert os.read(ready, 1) == b"x"
        line = geodit.fails("train", recipe, "resume_from_checkpoint=auto")
        assert f"another run writes to {tmp_path / 'run'} (process {child} on {os.uname().nodename})" in line
        assert [path.name for path in (tmp_path / "run").rglob("*")] == [".geodit-run", "lock"]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
