# SPDX-License-Identifier: Apache-2.0
"""docs/publishing.md and SECURITY.md are run as they stand, against the Hub of the tests."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants
from typer.testing import CliRunner

from geodit.cli.main import app

CHECKOUT = Path(__file__).parents[1]
USER = "ada"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(name: str) -> list[tuple[str, str]]:
    """Language and text of each block of code, with the name of the user of the tests."""
    text = (CHECKOUT / name).read_text().replace("your-name", USER)
    return BLOCK.findall(text)


@pytest.fixture
def hub(default_hub, monkeypatch, tmp_path):
    """The Hub, and an empty folder to work in."""
    monkeypatch.setenv("HF_TOKEN", default_hub.tokens.write)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return default_hub


class Reader:
    """Does what a guide says, one block after the other.

    Attributes:
        names: What its Python has defined so far.
        printed: What its commands have printed, by command.
    """

    def __init__(self) -> None:
        self.names: dict[str, object] = {}
        self.printed: dict[str, str] = {}

    def follow(self, language: str, text: str) -> None:
        if language == "yaml":
            name = re.match(r"# (\S+\.yaml)\n", text)
            assert name, "a file needs a name in its first line"
            Path(name[1]).write_text(text)
        elif language == "python":
            exec(compile(text, "guide", "exec"), self.names)
        else:
            assert language == "bash"
            for line in text.splitlines():
                self._run(line)

    def _run(self, line: str) -> None:
        program, *arguments = shlex.split(line, comments=True)
        if program != "geodit":
            subprocess.run([program, *arguments], check=True)
            return
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        self.printed[line] = result.output


def test_the_guides_work(hub, capsys):
    reader = Reader()
    for name in ("docs/publishing.md", "SECURITY.md"):
        for block in blocks_of(name):
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
