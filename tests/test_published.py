# SPDX-License-Identifier: Apache-2.0
"""What is pushed to the Hub loads from there, where this package is not installed, and answers as it did before."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from PIL import Image

from geodit.configuration.remote_code_geodit import MODULES
from geodit.hub_cards.publish.file_selection import published_files
from geodit.hub_cards.publish.hub_client import HubClient
from geodit.hub_cards.publish.push import push_files
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from hub_server.hub import Hub

CLIENT = Path(__file__).with_name("remote_code_client.py")
REPO = "org/geodit-test"
SETTINGS = {"max_new_tokens": 12, "max_denoising_steps": 4}
WARNING = "may be other code the next time"


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "image.png"
    Image.linear_gradient("L").resize((40, 60)).save(path)
    return path


def answer(model, processor, picture: Path) -> list[list[int]]:
    inputs = processor(images=Image.open(picture), text="ship", task="detect", return_tensors="pt")
    return model.generate(**inputs, **SETTINGS).tolist()


def push(hub: Hub, folder: Path) -> str:
    """Pushes a checkpoint, and gives the commit."""
    client = HubClient(hub.tokens.write, endpoint=hub.endpoint)
    return push_files(published_files(folder, repo_id=REPO), REPO, client=client, private=True).commit.oid


@pytest.fixture
def job(picture) -> dict[str, object]:
    return {
        "image": str(picture),
        "task": "detect",
        "query": "ship",
        "prompt": "Detect: ship.",
        "settings": [SETTINGS],
    }


def run_client(hub: Hub, job: dict[str, object], home: Path) -> tuple[dict[str, object], str]:
    """What came of a job in a process without the package, and what it wrote to stderr."""
    outcome = home / "outcome.json"
    finished = subprocess.run(
        [sys.executable, "-I", CLIENT, json.dumps(job), outcome],
        env=hub.environment(home / "hub") | {"OMP_NUM_THREADS": "1"},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(outcome.read_text()), finished.stderr


def test_it_answers_as_before_the_push_and_as_it_did_at_a_commit(hub, checkpoint, picture, job, tmp_path):
    model, processor = (
        GeoDiTForMaskedDiffusion.from_pretrained(checkpoint),
        GeoDiTProcessor.from_pretrained(checkpoint),
    )
    first = answer(model, processor, picture)
    commit = push(hub, checkpoint)
    model.lm_head.weight.data = model.lm_head.weight.data.flip(0)
    second = answer(model, processor, picture)
    assert second != first
    changed = tmp_path / "changed"
    model.save_pretrained(changed)
    processor.save_pretrained(changed)
    push(hub, changed)

    pinned = f"{REPO}@{commit}"
    outcome, stderr = run_client(hub, job | {"checkpoints": [pinned, REPO]}, tmp_path)
    assert outcome["import"].startswith("ModuleNotFoundError: import of geodit halted")
    assert outcome["imported"] == []
    for location, expected in ((pinned, first), (REPO, second)):
        asked = outcome["asked"][location]
        assert len(asked["answers"]) == 4  # of each Auto class, and of the pipeline
        assert all(tokens == [expected] for tokens in asked["answers"].values())
        assert all(name.startswith("transformers_modules.") for name in asked["classes"].values())

    # Of the two, one is told of what it has not pinned, once.
    assert stderr.count(WARNING) == 1
    assert f"The code that loads {REPO} came from its main branch" in stderr
    assert f"stay with it by revision={hub.repos[REPO].head.sha!r}" in stderr
    assert hub.tokens.write not in stderr


def test_its_card_is_valid_for_the_hub(default_hub, checkpoint):
    push(default_hub, checkpoint)
    content = default_hub.repos[REPO].head.files["README.md"].content.decode()
    card = ModelCard(content)
    card.validate()
    assert card.data.library_name == "transformers"
    assert len(default_hub.requested("validate_yaml")) == 2


def test_the_code_that_is_installed_does_not_warn(caplog):
    from geodit.configuration.remote_code_geodit import warn_of_moving_code

    assert "geodit.configuration.remote_code_geodit" in MODULES
    warn_of_moving_code(REPO, None)
    assert caplog.records == []
