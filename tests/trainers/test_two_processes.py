# SPDX-License-Identifier: Apache-2.0
"""Two processes have the losses of one in every form of the loss, and agree on when to end."""

import json
from pathlib import Path

import pytest

CLIENT = Path(__file__).with_name("two_processes_client.py")
LOSSES = ("paper", "masked mean by sequence", "masked mean by token", "complementary")


@pytest.fixture(scope="module")
def folder(make_model, training_programs, tmp_path_factory) -> Path:
    """What the client wrote alone, to `one`, and in two processes, to `two`."""
    folder = tmp_path_factory.mktemp("processes")
    for part in make_model():
        part.save_pretrained(folder / "start")
    for name, number in (("one", 1), ("two", 2)):
        (folder / name).mkdir()
        for finished in training_programs.run_ranks([CLIENT, folder / "start", folder / name], number):
            assert finished.returncode == 0, finished.stderr
    return folder


def read(folder: Path, name: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((folder / name).glob("?.json"))]


@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_have_the_losses_of_one(folder, loss):
    """Of the updates, by task and by quartile of t, and but for the noise the bound on held-out answers."""
    (one,), two = read(folder, "one"), read(folder, "two")
    assert two[0][loss]["weights"] == two[1][loss]["weights"] == pytest.approx(one[loss]["weights"], rel=1e-6)
    expected, found = (run[loss]["log"] for run in (one, two[0]))
    assert [entry.keys() for entry in found] == [entry.keys() for entry in expected]
    assert {"loss", "loss_vqa", "loss_t_75_100"} <= found[0].keys() | found[1].keys()
    for entry, reference in zip(found[:2], expected[:2], strict=True):
        assert entry == pytest.approx(reference, rel=1e-4)
    # The last batch of the evaluation is filled up, with other noise; but each answer counts once.
    bounds = [log[-1] for log in (found, expected)]
    assert [bound["eval_nll_answers"] for bound in bounds] == [7, 7]
    assert bounds[0]["eval_nll"] == pytest.approx(bounds[1]["eval_nll"], rel=0.01)
    assert {"eval_nll_stderr", "eval_nll_vqa", "eval_nll_vqa_stderr"} <= bounds[0].keys()


def test_two_processes_resume_in_the_middle_of_an_epoch(folder):
    """With the items in the order of that epoch, each process with its own."""
    for run in read(folder, "two"):
        assert run["resumed"]["weights"] == run["whole"]["weights"]
        losses = [[entry["loss"] for entry in run[name]["log"] if "loss" in entry] for name in ("resumed", "whole")]
        assert losses[0] == losses[1]


def test_if_one_process_is_told_to_end_all_save_the_same_update(folder):
    """The others hear of it with the next update, and finish that one."""
    ends = [run["ended"] for run in read(folder, "two")]
    assert [end["exit_code"] for end in ends] == [143, 143]
    assert [end["step"] for end in ends] == [3, 3]
    checkpoint = folder / "two" / "ended" / "checkpoint-3"
    assert {"rng_state_0.pth", "rng_state_1.pth", "model.safetensors"} <= {path.name for path in checkpoint.iterdir()}
    listed = json.loads((checkpoint / "checkpoint_files.json").read_text())
    assert listed.keys() == {path.name for path in checkpoint.iterdir()} - {"checkpoint_files.json"}


def test_all_processes_name_the_bad_item_of_one(folder):
    errors = [run["poisoned"]["error"] for run in read(folder, "two")]
    assert errors[0] == errors[1]
    assert "update 2: the loss is nan for a batch of the items field_12#0, field_13#0" in errors[0]
    assert "field_15#0." in errors[0]
