# SPDX-License-Identifier: Apache-2.0
"""Two processes fine-tune one model by one plan, and the first one reports."""

import json
from pathlib import Path

CLIENT = Path(__file__).with_name("finetuning_client.py")


def test_processes_share_a_plan_and_a_model(training_programs, ships, checkpoint, tmp_path):
    folder = tmp_path / "run"
    for finished in training_programs.run_ranks([CLIENT, ships, folder, checkpoint]):
        assert finished.returncode == 0, finished.stderr
    plan = json.loads((folder / "finetuning" / "plan.json").read_text())["plan"]
    assert plan["recipe"]["per_device_train_batch_size"] == 2
    assert plan["recipe"]["gradient_accumulation_steps"] == 1
    assert (folder / "rank-0.txt").read_text() == "6 answers"
    assert (folder / "rank-1.txt").read_text() == "nothing"
    assert (folder / "adapter_model.safetensors").is_file()
