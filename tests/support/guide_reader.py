# SPDX-License-Identifier: Apache-2.0
"""Reads the documents of the checkout, and runs the blocks of a guide one after the other, as a reader would."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from typer.testing import CliRunner

from geodit.cli.main import app

CHECKOUT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documents() -> list[str]:
    """Paths, in the checkout, of all documents for readers, the card of the bundled checkpoint among them."""
    paths = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), CHECKOUT / "tiny" / "geodit-tiny" / "README.md"]
    return sorted(path.relative_to(CHECKOUT).as_posix() for path in paths)


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


def commands_of(text: str) -> Iterator[list[str]]:
    """Arguments of each `geodit` in a block of shell, also where another program starts it.

    Args:
        text: The block. Variables stay as they are written.
    """
    text = re.sub(r"(^|\s)#.*$", "", text.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(text.replace("\n", " ; "), posix=True, punctuation_chars=";&|")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    for word in (*lexer, ";"):
        if set(word) - set(";&|"):
            words.append(word)
            continue
        for start in range(len(words)):
            if Path(words[start]).name == "geodit" and (start == 0 or words[start - 1] in ("do", "then")):
                yield words[start + 1 :]
            elif words[start : start + 2] == ["-m", "geodit.cli"]:
                yield words[start + 2 :]
        words = []


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
