# SPDX-License-Identifier: Apache-2.0
"""A new run replaces an earlier one when it is told to, and nothing else."""

import json
import os
import shutil

import pytest

from geodit.trainers.resilience.run_folder import RunFolder

RUN = ("config.json", "model.safetensors", "training_log.jsonl", "recipe.yaml", "tokenizer.json", "modeling_geodit.py")


def make_run(folder, names=RUN):
    """The files of a run, with checkpoints; what they are called is what is looked at."""
    (folder / "checkpoint-2").mkdir(parents=True)
    for name in (*names, "checkpoint-2/model.safetensors"):
        (folder / name).write_text(name)
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("sign", ["checkpoint-7", "model.safetensors", "training_log.jsonl", "recipe.yaml"])
def test_a_run_that_is_there_is_in_the_way_of_a_new_one(tmp_path, sign):
    (tmp_path / sign).mkdir() if sign.startswith("checkpoint") else (tmp_path / sign).touch()
    (tmp_path / "notes.txt").touch()
    message = (
        rf"{tmp_path} holds {sign} of an earlier run.*resume_from_checkpoint=auto.*--overwrite \(overwrite_output_d"
    )
    with pytest.raises(ValueError, match=message), RunFolder(tmp_path).opened(None):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {sign, "notes.txt"}
    for resume in ("auto", True, str(tmp_path / "checkpoint-7")):
        with RunFolder(tmp_path).opened(resume):
            pass


def test_a_checkpoint_of_another_folder_starts_a_new_run_in_this_one(tmp_path, monkeypatch):
    make_run(tmp_path / "other")
    before = contents(make_run(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(ValueError, match="of an earlier run"),
        RunFolder(tmp_path / "run").opened("other/checkpoint-2"),
    ):
        pass
    with RunFolder(tmp_path / "run").opened("run/checkpoint-2"):
        pass
    assert contents(tmp_path / "run") == before
    folder = RunFolder(tmp_path / "run", overwrite=True)
    with folder.opened("other/checkpoint-2"):
        folder.begin()
        assert contents(tmp_path / "run" / "replaced-1") == before


def test_files_that_are_no_run_are_in_nobodys_way(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "recipe.yaml").touch()
    with RunFolder(tmp_path, overwrite=True, recipe=tmp_path / "recipe.yaml").opened("false") as _:
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "recipe.yaml"}


def test_resuming_does_not_write_over_a_model_without_checkpoints(tmp_path):
    shutil.rmtree(make_run(tmp_path) / "checkpoint-2")
    folder = RunFolder(tmp_path)
    with (
        pytest.raises(ValueError, match=r"holds model\.safetensors, recipe\.yaml, .*would replace"),
        folder.opened("auto"),
    ):
        folder.begin()


def test_an_earlier_run_is_deleted_once_the_new_one_has_something_to_show(tmp_path):
    before = contents(make_run(tmp_path))
    folder = RunFolder(tmp_path, overwrite=True)
    with folder.opened(None):
        assert {name for name in contents(tmp_path) if not name.startswith(".geodit-run/")} == set(before)
        folder.begin()
        assert contents(tmp_path / "replaced-1") == before
        folder.begin()  # the same Trainer trains once more
        (tmp_path / "checkpoint-1").mkdir()
        folder.discard_replaced()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_what_was_set_aside_by_a_run_that_was_killed_stays(tmp_path):
    make_run(tmp_path)
    killed = RunFolder(tmp_path, overwrite=True)
    with killed.opened(None):
        killed.begin()
    before = contents(tmp_path)
    again = RunFolder(tmp_path, overwrite=True)
    with again.opened(None):
        again.begin()
        again.discard_replaced()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("where", ["", "checkpoint-2"])
@pytest.mark.parametrize("name", ["model_name_or_path", "vision_tower"])
def test_the_model_that_training_starts_from_is_never_overwritten(tmp_path, monkeypatch, where, name):
    before = contents(make_run(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    folder = RunFolder(tmp_path / "run", overwrite=True, bases={name: f"link/{where}"})
    with (
        pytest.raises(ValueError, match=rf"not overwritten: {name} link/.* which the run starts from"),
        folder.opened(None),
    ):
        pass
    assert contents(tmp_path / "run") == before


def test_the_base_of_an_adapter_is_never_overwritten(tmp_path):
    make_run(tmp_path / "run")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "run")}))
    folder = RunFolder(tmp_path / "run", overwrite=True, bases={"model_name_or_path": str(adapter)})
    with pytest.raises(ValueError, match="not overwritten: the base of model_name_or_path"), folder.opened(None):
        pass


@pytest.mark.parametrize(
    "foreign", ["notes.txt", "runs/earlier/model.safetensors", "samples/harbor.png", "results/a.json", "README.md"]
)
def test_a_folder_with_files_of_others_is_not_overwritten(tmp_path, foreign):
    make_run(tmp_path)
    (tmp_path / foreign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / foreign).touch()
    before = contents(tmp_path)
    message = f"not overwritten: {foreign.partition('/')[0]} is not of a run"
    with pytest.raises(ValueError, match=message), RunFolder(tmp_path, overwrite=True).opened(None):
        pass
    assert contents(tmp_path) == before


def test_a_model_that_no_run_has_written_is_not_overwritten(tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    with (
        pytest.raises(ValueError, match="no run of geodit has written it"),
        RunFolder(tmp_path, overwrite=True).opened(None),
    ):
        pass


def test_pictures_and_curves_of_a_run_are_its_own(tmp_path):
    make_run(tmp_path)
    for name in ("samples/step-000002/answers.json", "runs/host/events.out.tfevents.1"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    folder = RunFolder(tmp_path, overwrite=True)
    with folder.opened(None):
        folder.begin()
    assert [path.name for path in tmp_path.iterdir()] == ["replaced-1"]


def test_overwriting_and_resuming_contradict_each_other(tmp_path):
    with (
        pytest.raises(ValueError, match="leave one of them out"),
        RunFolder(tmp_path / "run", overwrite=True).opened("auto"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_refused_start_makes_no_folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.opened(None), folder.opened(None):
        assert (tmp_path / "run" / ".geodit-run" / "lock").is_file()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with RunFolder(tmp_path / "run", overwrite=True).opened(None):
                    pass
            except BlockingIOError as error:
                code = 7 if f"another run writes to {tmp_path / 'run'} (process" in str(error) else 8
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("last", ["", "{", "[1]", '{"step": 3}', '{"step": "3", "train_runtime": 1}'])
def test_a_log_without_its_end_is_of_no_finished_run(tmp_path, last):
    (tmp_path / "model.safetensors").touch()
    log = tmp_path / "training_log.jsonl"
    log.write_text(f'{{"step": 3, "loss": 1}}\n{last}')
    assert RunFolder(tmp_path).finished_step() is None
    log.write_text('{"step": 3, "train_runtime": 1}\n')
    assert RunFolder(tmp_path).finished_step() == 3
    (tmp_path / "model.safetensors").unlink()
    assert RunFolder(tmp_path).finished_step() is None
