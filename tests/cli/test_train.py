# SPDX-License-Identifier: Apache-2.0
import pytest

from geodit.cli.errors import CommandError
from geodit.cli.train import parse_overrides


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
    recipes = pytest.importorskip("geodit.trainers.recipes")

    def end(*args, **kwargs):
        raise SystemExit(143)

    monkeypatch.setattr(recipes, "run_recipe", end)
    assert geodit("train", "stage1").exit_code == 143
