# SPDX-License-Identifier: Apache-2.0
"""docs/publishing.md and SECURITY.md are run as they stand, against the Hub of the tests."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants

from guide_reader import GuideReader, blocks_of

USER = "ada"


@pytest.fixture
def hub(default_hub, monkeypatch, tmp_path):
    """The Hub, and an empty folder to work in."""
    monkeypatch.setenv("HF_TOKEN", default_hub.tokens.write)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return default_hub


def test_the_guides_work(hub, capsys):
    reader = GuideReader()
    for name in ("docs/publishing.md", "SECURITY.md"):
        for block in blocks_of(name, {"your-name": USER}):
            reader.follow(*block)

    whole, while_training, adapter = (
        hub.repos[f"{USER}/geodit-{name}"] for name in ("harbors", "harbors-2", "harbors-lora")
    )
    (dry_run,) = [text for line, text in reader.printed.items() if "--dry-run" in line]
    assert "model.safetensors" in dry_run
    first, second = whole.history()[1], whole.history()[0]
    assert set(first.files) - {".gitattributes"} <= set(dry_run.split())
    assert whole.private
    assert list(second.changes) == ["README.md"]
    assert list(whole.at("next").changes) == list(whole.at("refs/pr/1").changes) == ["README.md"]

    card = ModelCard(second.files["README.md"].content.decode())
    card.validate()
    assert card.data.license == "mit"
    assert "results/synthetic.json" in second.files
    assert str(Path.cwd()) not in card.text
    figures = [result for result in card.data.eval_results if result.metric_name]
    assert figures

    assert [commit.message for commit in while_training.history()][-1] == "initial commit"
    assert "Training in progress, step 4" in [commit.message for commit in while_training.history()]
    assert "adapter_model.safetensors" in adapter.head.files
    assert "is the code of this version of geodit" in capsys.readouterr().out
