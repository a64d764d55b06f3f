# SPDX-License-Identifier: Apache-2.0
"""Two processes train as one does: with the model in both, sharded over both, and each with its share of a stream."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clients import client_environment

CLIENT = Path(__file__).with_name("distributed_client.py")


@pytest.fixture(scope="module")
def runs(checkpoint, training_programs, tmp_path_factory) -> dict[str, Path]:
    """Where the client wrote to, alone (`one`, an interpreter that imports all by itself) and in two processes."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    alone = [sys.executable, CLIENT, checkpoint, folders["one"]]
    ranks = training_programs.run_ranks([CLIENT, checkpoint, folders["two"]])
    for finished in (*ranks, subprocess.run(alone, capture_output=True, text=True, env=client_environment())):
        assert finished.returncode == 0, finished.stderr
    return folders


def read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    return json.loads(path.with_suffix(".json").read_text()), load_file(path.with_suffix(".safetensors"))


def assert_same_training(found: Path, expected: Path) -> None:
    report, weights = read(found)
    expected_report, expected_weights = read(expected)
    assert len(report["losses"]) == 3
    assert report["losses"] == pytest.approx(expected_report["losses"], abs=1e-5)
    assert weights.keys() == expected_weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(value, expected_weights[name], atol=1e-5, rtol=1e-5, msg=name)


def test_training_moves_the_weights(runs, checkpoint):
    """Otherwise the tests below would hold for a trainer that does nothing."""
    before, after = load_file(checkpoint / "model.safetensors"), read(runs["one"] / "plain")[1]
    assert max((after[name] - before[name]).abs().max().item() for name in after) > 1e-3


def test_two_processes_have_the_losses_and_weights_of_one(runs):
    """Also the noise is the same, which each process draws for itself."""
    assert read(runs["two"] / "plain")[0]["distributed_type"] == "MULTI_CPU"
    assert_same_training(runs["two"] / "plain", runs["one"] / "plain")


def test_a_sharded_model_has_the_losses_and_weights_of_a_whole_one(runs):
    assert_same_training(runs["two"] / "sharded", runs["one"] / "plain")


def test_sharding_really_takes_place(runs):
    """Every parameter is a DTensor of which process 0 holds half, up to a row."""
    report, weights = read(runs["two"] / "sharded")
    assert report["shares"].keys() == weights.keys()
    for name, (numel, local) in report["shares"].items():
        rows = weights[name].shape[0]
        assert local == numel // rows * ((rows + 1) // 2), name
    assert sum(local for _, local in report["shares"].values()) < 0.51 * sum(p.numel() for p in weights.values())


def test_layers_are_the_units_of_sharding(runs):
    plan = read(runs["two"] / "sharded")[0]["plan"]
    assert "model.language_model.layers.*" in plan
    assert "model.vision_tower.encoder.layers.*" in plan
    assert "lm_head" in plan
    assert "model.layers.*" not in plan


def test_processes_read_different_parts_of_a_stream(runs):
    """Three batches of four were trained on, and one was read ahead; of 24 images each process has 12."""
    shares = [json.loads((runs["two"] / f"stream{rank}.json").read_text()) for rank in range(2)]
    assert [len(share) for share in shares] == [16, 16]
    assert len(set(shares[0])) == len(set(shares[1])) == 12
    assert not set(shares[0]) & set(shares[1])


def test_training_needs_no_library_of_evaluation(runs):
    """Rewards compare answers as the metrics do, but `geodit[train]` is enough for them."""
    imported = read(runs["one"] / "plain")[0]["imported"]
    assert "geodit.trainers.grpo.rewards" in imported
    assert not {"evaluate", "faster_coco_eval", "pycocoevalcap"} & set(imported)


def test_processes_that_sample_for_themselves_tune_one_model(runs, checkpoint):
    first, second = (load_file(runs["two"] / f"grpo{rank}.safetensors") for rank in range(2))
    before = load_file(checkpoint / "model.safetensors")
    assert all(value.equal(second[name]) for name, value in first.items())
    assert any(not value.equal(before[name]) for name, value in first.items())


def test_sharding_that_accelerate_ignores_is_refused(runs):
    """It would train with the whole model in both processes, and say nothing."""
    message = (runs["two"] / "fsdp.txt").read_text()
    assert "FSDP was asked for, but accelerate" in message
    assert "MULTI_CPU on cpu" in message
    assert "DistributedConfig(fsdp_size=N)" in message


def test_samples_of_a_sharded_model_are_refused(runs):
    message = (runs["two"] / "samples.txt").read_text()
    assert message == "sample_every_steps answers questions by a whole model: use DDP or DeepSpeed rather than FSDP."
