# SPDX-License-Identifier: Apache-2.0
"""The folder of a run, seen as that of a checkpoint."""

from pathlib import Path

import pytest
import yaml

from geodit.hub_cards.publish.run_folders import as_checkpoint, link_file


def make_run(folder: Path, **recipe: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "training_log.jsonl").write_text(f'{{"step": 1, "name": "{folder.name}"}}\n')
    return folder


def training(view: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (view / "training").iterdir()}


def test_a_checkpoint_is_its_own_view(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with as_checkpoint(tmp_path) as view:
        assert view == tmp_path


def test_a_release_keeps_its_stages(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "training").mkdir()
    with as_checkpoint(run) as view:
        assert view == run


def test_recipe_and_log_are_where_a_card_looks_for_them(tmp_path):
    run = make_run(tmp_path / "trees", num_scenes=8)
    for name in ("checkpoint-1", ".incomplete", "results"):
        (run / name).mkdir()
    (run / "results" / "synthetic.json").write_text("[]")
    with as_checkpoint(run) as view:
        assert view.name == "trees"
        assert {path.name for path in view.iterdir()} == {"config.json", "results", "training"}
        assert (view / "results" / "synthetic.json").read_text() == "[]"
        assert set(training(view)) == {"trees.yaml", "trees.jsonl"}
    assert not view.exists()
    assert (run / "config.json").read_text() == "{}"


def test_the_runs_before_it_are_stages_where_they_are_named(tmp_path):
    tower = make_run(tmp_path / "tower")
    first = make_run(tmp_path / "first", vision_tower=str(tower))
    last = make_run(tmp_path / "other" / "first", model_name_or_path=str(first))
    with as_checkpoint(last, stages=[tower, first]) as view:
        found = training(view)
    assert set(found) == {f"{stage}.{end}" for stage in ("tower", "first", "first-2") for end in ("yaml", "jsonl")}
    assert "vision_tower" not in found["first.yaml"]


def test_a_run_that_a_recipe_names_is_not_looked_at(tmp_path):
    other = make_run(tmp_path / "other")
    run = make_run(tmp_path / "run", model_name_or_path=str(other), vision_tower=str(other))
    with as_checkpoint(run) as view:
        assert set(training(view)) == {"run.yaml", "run.jsonl"}


def test_no_run_is_a_stage_twice(tmp_path):
    one = make_run(tmp_path / "one")
    with as_checkpoint(one, "mine", stages=[one, one]) as view:
        assert set(training(view)) == {"mine.yaml", "mine.jsonl"}


def test_what_is_no_run_is_no_stage(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"tmp.* is not the folder of a run"), as_checkpoint(run, stages=[tmp_path]):
        pass
    (run / "training").mkdir()
    with pytest.raises(ValueError, match="has the stages of its training"), as_checkpoint(run, stages=[run]):
        pass


def test_an_error_names_the_folder_that_the_user_knows(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(ValueError, match="is damaged") as error, as_checkpoint(run) as view:
        raise ValueError(f"{view / 'config.json'} is damaged")
    assert str(error.value) == f"{run / 'config.json'} is damaged"


def test_a_linked_file_outlasts_its_first_name(tmp_path):
    (tmp_path / "one").write_text("content")
    link_file(tmp_path / "one", tmp_path / "two")
    (tmp_path / "one").unlink()
    assert (tmp_path / "two").read_text() == "content"


def test_where_there_are_no_links_a_file_is_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "one").write_text("content")
    link_file(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").read_text() == "content"
