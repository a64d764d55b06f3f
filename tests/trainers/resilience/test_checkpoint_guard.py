# SPDX-License-Identifier: Apache-2.0
"""A folder named checkpoint-<step> is complete, or is found out."""

import json
import os
import shutil
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.trainer_callback import TrainerState

from geodit.trainers.resilience.checkpoint_guard import (
    STAGING,
    clear_errors,
    clear_staging,
    find_damage,
    last_complete_checkpoint,
    list_checkpoints,
    publish,
    rotate,
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


def corrupt(path, start=0, length=64):
    """Damage a file without a change of its size."""
    content = bytearray(path.read_bytes())
    content[start : start + length] = b"\0" * len(content[start : start + length])
    path.write_bytes(content)


STATE = TrainerState(global_step=1, max_steps=2, num_train_epochs=1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "null",
        '"checkpoint"',
        '{"global_step": 1',
        *(
            json.dumps({**vars(STATE), name: value})
            for name, value in [
                ("global_step", "1"),
                ("global_step", -1),
                ("global_step", True),
                ("global_step", None),
                ("log_history", 3),
                ("log_history", [3]),
                ("stateful_callbacks", "all"),
                ("best_model_checkpoint", 3),
                ("train_batch_size", "4"),
                ("epoch", [1]),
                ("unknown", 1),
            ]
        ),
    ],
)
def test_a_state_that_no_run_can_go_on_from_is_damage(tmp_path, text):
    first, second = make_checkpoint(tmp_path, 1), make_checkpoint(tmp_path, 2)
    (second / "checkpoint_files.json").unlink()
    (second / "trainer_state.json").write_text(text)
    assert find_damage(second) == "it has no readable trainer_state.json"
    assert last_complete_checkpoint(tmp_path) == first


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors"])
@pytest.mark.parametrize("end", ["front", "back", "middle"])
def test_files_damaged_at_the_same_size_are_found(tmp_path, name, end):
    path = make_checkpoint(tmp_path, 1)
    file = path / name
    if name.endswith("safetensors"):
        save_file({"weight": torch.ones(8)}, file)
    else:
        torch.save({"step": torch.arange(5), "python": (3, (1, 2), None)}, file)
    sizes = json.loads((path / "checkpoint_files.json").read_text()) | {name: file.stat().st_size}
    (path / "checkpoint_files.json").write_text(json.dumps(sizes))
    assert find_damage(path) is None
    size = file.stat().st_size
    if name.endswith("safetensors"):  # its numbers have no checksum
        corrupt(file, 0 if end == "front" else 20, 30)
    else:
        corrupt(file, {"front": 0, "back": size - 40, "middle": size // 3}[end])
    assert find_damage(path).startswith(f"{name} is damaged (")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"num_items": "x"}', '{"num_items": -1}'])
def test_a_place_in_a_stream_that_is_none_is_damage(tmp_path, text):
    path = make_checkpoint(tmp_path, 1)
    (path / "checkpoint_files.json").unlink()
    position = {"num_items": 8, "num_passes": 0, "block": 1, "offset": 0, "rows": None, "world_size": 1}
    (path / "stream_position_0.json").write_text(json.dumps(position))
    assert find_damage(path) is None
    given = json.loads(text) if text else None
    changed = text if not given else json.dumps(position | given)
    (path / "stream_position_0.json").write_text(changed)
    assert find_damage(path).startswith("stream_position_0.json is damaged (")


def steps(folder):
    return [int(path.name.removeprefix("checkpoint-")) for path in reversed(list_checkpoints(folder))]


@pytest.mark.parametrize(
    ("newest", "limit", "best", "kept"),
    [
        (5, 2, None, [4, 5]),
        (5, 2, 1, [1, 5]),
        (5, 1, 1, [1, 5]),
        (5, None, None, [1, 2, 3, 4, 5]),
        (5, 0, None, [1, 2, 3, 4, 5]),
        # Gone on from 2: what came after it is given up first.
        (3, 2, None, [2, 3]),
        (3, 4, None, [1, 2, 3, 5]),
    ],
)
def test_checkpoints_are_kept_by_their_step_whatever_the_clock_says(tmp_path, newest, limit, best, kept):
    for step in range(1, 6):
        path = tmp_path / f"checkpoint-{step}"
        path.mkdir()
        os.utime(path, (1e9 - 1e6 * step, 1e9 - 1e6 * step))  # a clock that runs backwards
    (tmp_path / "checkpoint-mine").mkdir()
    best_path = None if best is None else str(tmp_path / f"checkpoint-{best}")
    rotate(tmp_path, tmp_path / f"checkpoint-{newest}", limit, best_path)
    assert steps(tmp_path) == kept
    assert (tmp_path / "checkpoint-mine").is_dir()


def test_folders_of_others_are_not_cleared(tmp_path):
    for name in (".incomplete", ".partial", ".publishing"):
        (tmp_path / name).mkdir()
    stage(tmp_path)
    clear_staging(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".incomplete", ".partial", ".publishing"}
