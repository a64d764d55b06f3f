# SPDX-License-Identifier: Apache-2.0

import pytest
import typer
from typer.testing import CliRunner

import geodit as package
from geodit.cli.errors import CommandGroup, as_command_error

COMMANDS = [
    ["demo"],
    ["predict"],
    ["train"],
    ["evaluate"],
    ["assemble"],
    ["benchmark"],
    ["data", "fetch"],
    ["data", "demo-scenes"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_text_with_an_example(geodit, command):
    result = geodit(*command, "--help")
    assert result.exit_code == 0
    assert f"geodit {' '.join(command)} " in result.stdout.split("Example")[1]


def test_help_lists_all_commands(geodit):
    result = geodit("--help")
    assert all(command[0] in result.stdout for command in COMMANDS)


def test_version(geodit):
    assert geodit("--version").stdout == f"geodit {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predct"], "Did you mean 'predict'?"),
        (["--bogus"], "No such option: --bogus"),
        (["predict"], "Missing argument 'images'"),
        (["predict", "harbor.png"], "Missing option '--task'"),
        (["evaluate", "--split", "train"], "'--split'"),
        (["data", "fetch", "imagenet"], "imagenet"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(geodit, arguments, message):
    assert message in geodit.fails(*arguments)


def failing_program(error: BaseException) -> typer.Typer:
    app = typer.Typer(cls=CommandGroup)

    @app.callback()
    def options(debug: bool = False) -> None: ...

    @app.command()
    def fail() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (ValueError("steps must be\n  at least 1"), 2, "steps must be at least 1"),
        (FileNotFoundError("there is no image a.png"), 2, "there is no image a.png"),
        (ModuleNotFoundError("No module named 'rasterio'", name="rasterio"), 2, "pip install 'geodit[geo]'"),
        (KeyError("boxes"), 1, "KeyError: 'boxes' (`geodit --debug ...` shows where this came from)"),
    ],
)
def test_exceptions_become_one_line_and_an_exit_code(error, exit_code, line):
    result = CliRunner().invoke(failing_program(error), ["fail"])
    assert result.exit_code == exit_code
    assert len(result.stderr.splitlines()) == 1
    assert line in result.stderr


def test_debug_shows_the_traceback():
    result = CliRunner().invoke(failing_program(ValueError("steps must be at least 1")), ["--debug", "fail"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback ")
    assert result.stderr.endswith("ValueError: steps must be at least 1\n")


def test_a_message_is_never_empty():
    assert as_command_error(ValueError()).format_message() == "ValueError"


@pytest.mark.parametrize("arguments", [["train", "stage1"], ["predict", "a.png"], ["data", "readers"], ["card", "x"]])
def test_a_working_directory_that_was_deleted_is_told(geodit, tmp_path, monkeypatch, arguments):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the working directory cannot be used (No such file or directory)" in geodit.fails(*arguments)
