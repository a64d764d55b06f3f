# SPDX-License-Identifier: Apache-2.0
"""Runs the blocks of code of a guide in `docs/`, one after the other, as a reader would."""

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from typer.testing import CliRunner

from geodit.cli.main import app

CHECKOUT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(name: str, replacements: Mapping[str, str]) -> list[tuple[str, str]]:
    """Language and text of each block of code of a guide.

    Args:
        name: Path of the guide in the checkout.
        replacements: What to write in the place of names that stand for the reader's own.
    """
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    for old, new in replacements.items():
        text = text.replace(old, new)
    return _BLOCK.findall(text)


class GuideReader:
    """Does what a guide says, in the current folder.

    Attributes:
        names: What its Python has defined so far.
        printed: What its commands have printed, by command.
    """

    def __init__(self) -> None:
        self.names: dict[str, object] = {}
        self.printed: dict[str, str] = {}

    def follow(self, language: str, text: str) -> None:
        """Run a block, or write the file that it shows."""
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
