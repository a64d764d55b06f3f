# SPDX-License-Identifier: Apache-2.0
"""The commands on terminals that have not all characters."""

import codecs
import io
import json
import os
import subprocess
import sys

import pytest
from rich.table import Table
from typer.testing import CliRunner

from geodit.cli.errors import CommandError
from geodit.cli.main import app
from geodit.cli.output import plain, print_json, results_console, to_json
from geodit.cli.terminal import check_arguments, readable_output

BYTES = "caf\udce9.png"


@pytest.fixture
def terminal(monkeypatch):
    """stdout of an encoding; calling it starts one and gives what has been written to it."""

    def start(encoding: str, errors: str = "strict") -> io.BytesIO:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, errors, write_through=True))
        return written

    return start


def result_table() -> Table:
    table = Table("figure", "value")
    table.add_row("F1@0.5", "0.779 \N{PLUS-MINUS SIGN} 0.012")
    table.add_row(plain("été \x1b"), "x" * 200)
    return table


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_a_table_is_readable_in_any_encoding(terminal, encoding):
    written = terminal(encoding)
    with readable_output():
        results_console().print(result_table())
    text = written.getvalue().decode(encoding)
    assert "F1@0.5" in text
    plus_minus = "+/-" if encoding == "ascii" else "\N{PLUS-MINUS SIGN}"
    assert f"0.779 {plus_minus} 0.012" in text
    assert r"\xe9t\xe9" in text if encoding == "ascii" else "été" in text
    assert all(line.strip() for line in text.splitlines())
    if encoding != "cp437":  # which has lines to draw tables with, but rich does not know it
        assert text.splitlines()[0].startswith("+-")


def test_a_table_of_utf8_has_all_characters(terminal):
    written = terminal("utf-8")
    with readable_output():
        results_console().print(result_table())
        results_console().print(f"wrote {BYTES}", markup=False)
    text = written.getvalue().decode()
    assert "0.779 \N{PLUS-MINUS SIGN} 0.012" in text
    assert "été" in text
    assert r"wrote caf\udce9.png" in text


def test_a_stream_is_left_as_it_was(terminal):
    terminal("ascii")
    with readable_output():
        pass
    assert sys.stdout.errors == "strict"
    terminal("ascii", "replace")
    with readable_output():
        assert sys.stdout.errors == "replace"  # what was asked for


def test_a_terminal_that_is_closed_meanwhile_is_no_error(terminal):
    terminal("ascii")
    with readable_output():
        sys.stdout.close()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_read_back_from_any_terminal(terminal, encoding):
    document = {"answer": "été \N{PLUS-MINUS SIGN}\u2028 船", "image": BYTES}
    written = terminal(encoding)
    with readable_output():
        print_json(document)
    assert json.loads(written.getvalue().decode(encoding)) == document


def test_json_in_a_file_is_utf8():
    document = {"answer": "été", "image": BYTES}
    content = to_json(document).encode()
    assert "été".encode() in content
    assert json.loads(content) == document


def test_an_argument_that_is_no_text_is_refused_unless_it_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match=r"argument 2 is not text .*: 'caf\\udce9\.png'"):
        check_arguments(["--query", BYTES])
    with open(os.fsencode(BYTES), "wb"):  # noqa: PTH123
        pass
    check_arguments(["--query", BYTES, "été", ""])


def test_the_program_prints_in_ascii():
    result = CliRunner(charset="ascii", env={"COLUMNS": "100"}).invoke(app, ["data", "list"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("+-")
    assert codecs.encode(result.stdout, "ascii")
    help_text = CliRunner(charset="ascii").invoke(app, ["evaluate", "--help"])
    assert help_text.exit_code == 0
    assert "mean +/- standard deviation" in " ".join(help_text.stdout.split())


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C.UTF-8"},
    ],
)
def test_a_query_in_other_bytes_is_one_line(environment, tmp_path):
    """What a terminal of Latin-1 sends, to a Python of another encoding."""
    command = [sys.executable, "-m", "geodit.cli", "predict", "a.png", "--task", "vqa", "--query", b"\xe9t\xe9"]
    result = subprocess.run(
        command, capture_output=True, check=False, cwd=tmp_path, env={"PATH": os.environ["PATH"], **environment}
    )
    assert (result.returncode, result.stdout) == (2, b"")
    (line,) = result.stderr.decode("ascii").splitlines()
    assert line.startswith("geodit: error: argument 6 is not text in the encoding of this terminal: ")
