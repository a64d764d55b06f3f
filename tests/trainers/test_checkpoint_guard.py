# SPDX-License-Identifier: Apache-2.0
"""A folder named checkpoint-<step> is complete, or is found out."""

import json
import shutil
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.trainer_callback import TrainerState

from geodit.trainers.checkpoint_guard import (
    STAGING,
    clear_errors,
    find_damage,
    last_complete_checkpoint,
    list_checkpoints,
    publish,
    set_broken_aside,
)


def stage(folder, name="checkpoint-1", value=0.0):
    staged = folder / STAGING / name
    (staged / "shards").mkdir(parents=True)
    save_file({"weight": torch.full((2,), value)}, staged / "model.safetensors")
    torch.save({"step": 1}, staged / "optimizer.pt")
    (staged / "shards" / "0.bin").write_text("x")
    TrainerState().save_to_json(str(staged / "trainer_state.json"))
    return staged


def make_checkpoint(folder, step):
    path = folder / f"checkpoint-{step}"
    publish(stage(folder, path.name), path)
    return path


def test_a_published_checkpoint_is_complete_and_leaves_nothing_behind(tmp_path):
    path = make_checkpoint(tmp_path, 1)
    assert find_damage(path) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint-1"]
    assert "shards/0.bin" in json.loads((path / "checkpoint_files.json").read_text())


def test_it_takes_the_place_of_one_of_its_name(tmp_path):
    path = make_checkpoint(tmp_path, 1)
    publish(stage(tmp_path, value=1.0), path)
    assert load_file(path / "model.safetensors")["weight"].tolist() == [1.0, 1.0]
    assert find_damage(path) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint-1"]


def test_machines_that_share_a_disk_publish_it_once(tmp_path):
    staged, target = stage(tmp_path), tmp_path / "checkpoint-1"
    threads = [threading.Thread(target=publish, args=(staged, target)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert find_damage(target) is None


@pytest.mark.parametrize(
    ("harm", "damage"),
    [
        (lambda path: (path / "model.safetensors").write_text("weig"), "model.safetensors has 4 of 80 bytes"),
        (lambda path: (path / "shards" / "0.bin").unlink(), "shards/0.bin is missing"),
        (lambda path: (path / "checkpoint_files.json").write_text("{"), "checkpoint_files.json cannot be read"),
        (lambda path: (path / "checkpoint_files.json").write_text("[1]"), "checkpoint_files.json cannot be read"),
        (lambda path: shutil.rmtree(path), "there is no such folder"),
    ],
)
def test_damage_is_named(tmp_path, harm, damage):
    path = make_checkpoint(tmp_path, 1)
    harm(path)
    assert find_damage(path) == damage


def test_a_checkpoint_of_another_trainer_is_known_by_what_is_written_last(tmp_path):
    path = make_checkpoint(tmp_path, 1)
    (path / "checkpoint_files.json").unlink()
    assert find_damage(path) is None
    (path / "trainer_state.json").write_text('{"global_step": ')
    assert find_damage(path) == "it has no readable trainer_state.json"


def test_the_last_complete_checkpoint_is_found_by_its_number(tmp_path):
    assert last_complete_checkpoint(tmp_path / "nowhere") is None
    for step in (2, 10, 9):
        make_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-9", "checkpoint-2"]
    (tmp_path / "checkpoint-10" / "model.safetensors").unlink()
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    set_broken_aside(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "broken-checkpoint-10",
        "checkpoint-2",
        "checkpoint-9",
        "checkpoint-best",
    ]


def test_an_error_says_what_there_is_and_what_to_do(tmp_path):
    stage(tmp_path, "checkpoint-3")
    message = r"checkpoint-3 could not be saved to .*MiB are free: disk on fire. There is no earlier .*=auto"
    with pytest.raises(OSError, match=message), clear_errors("checkpoint-3", tmp_path):
        raise RuntimeError("disk on fire")
    assert list(tmp_path.iterdir()) == []
