# SPDX-License-Identifier: Apache-2.0
"""The weights of the text core split between two processes, by Transformers' tensor parallelism."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_models import build_config, build_network

CLIENT = Path(__file__).with_name("tensor_parallel_client.py")


def save_checkpoint(folder: Path, **fields) -> None:
    config = build_config(text={"num_attention_heads": 4}, vision={"image_size": 28, "patch_size": 14}, **fields)
    build_network(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensor_parallel")
    save_checkpoint(folder / "tied", tie_word_embeddings=True)
    save_checkpoint(folder / "prefix", attention_mode="prefix")
    command = [sys.executable, CLIENT, folder / "tied", folder / "prefix", folder / "outcome.json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    outcome = json.loads((folder / "outcome.json").read_text())
    return {Path(checkpoint).name: found for checkpoint, found in outcome.items()}


@pytest.mark.parametrize("checkpoint", ["tied", "prefix"])
def test_the_answers_are_those_of_the_whole_model(outcome, checkpoint):
    assert outcome[checkpoint]["difference"] < 1e-5
    assert outcome[checkpoint]["same_answer"]


@pytest.mark.parametrize("checkpoint", ["tied", "prefix"])
def test_each_process_holds_half_of_the_text_core_and_of_the_vocabulary(outcome, checkpoint):
    smaller = outcome[checkpoint]["smaller"]
    assert "model.language_model.embed_tokens.weight" in smaller
    assert {name.split(".")[-2] for name in smaller} >= {"q_proj", "o_proj", "gate_proj", "down_proj"}
    assert ("lm_head.weight" in smaller) == (checkpoint == "prefix")  # tied, it is that of the embeddings
