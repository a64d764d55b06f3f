# SPDX-License-Identifier: Apache-2.0
"""Help, the version and usage errors answer without any package that only a command needs."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions, requires

import pytest
import typer

from geodit.cli.main import app

# The program itself, and what a virtual environment may load before any program.
LOADED_AT_ONCE = {"typer", "rich", "setuptools"}

# Each command line in a fork of an interpreter that has imported the program, and what writes its texts.
RUN = """
import json, os, sys
import typer.rich_utils
from geodit.cli.main import app
for arguments in json.loads(sys.argv[1]):
    if os.fork():
        os.wait()
        continue
    code = 0
    try:
        app(arguments, prog_name="geodit")
    except SystemExit as stop:
        code = stop.code
    print("\\n" + json.dumps([arguments, code, sorted(sys.modules)]))
    sys.exit()
"""


def normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def import_names(required: Distribution) -> set[str]:
    declared = (required.read_text("top_level.txt") or "").split()
    files = [file for file in required.files or () if file.suffix in (".py", ".so")]
    return set(declared) or {file.parts[0].partition(".")[0] for file in files}


@pytest.fixture(scope="module")
def required_packages() -> set[str]:
    """Import names of all that geodit and its extras require, but for the program's own."""
    required = {normalized(re.match(r"[\w.-]+", line)[0]) for line in requires("geodit")} - LOADED_AT_ONCE
    installed = [found for found in distributions() if normalized(found.name) in required]
    packages = {name for distribution in installed for name in import_names(distribution)}
    assert {"torch", "transformers", "numpy", "PIL", "huggingface_hub", "safetensors", "yaml", "jinja2"} <= packages
    return packages


def commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, (*path, name))


COMMANDS = list(commands(typer.main.get_command(app)))


HELP = [[*command, "--help"] for command in [(), *COMMANDS]]
VERSION_AND_ERRORS = [
    (["--version"], 0),
    (["predct"], 2),
    (["--bogus"], 2),
    (["predict"], 2),
    (["predict", "harbor.png"], 2),
    (["predict", "harbor.png", "--task", "caption", "--bogus"], 2),
    (["evaluate", "--split", "train"], 2),
    (["data", "fetch", "imagenet"], 2),
    (["data", "check"], 2),
    (["benchmark", "--repeats", "none"], 2),
    (["push", "runs/trees"], 2),
    (["app", "--port", "0"], 2),
]


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, ...], tuple[int, set[str]]]:
    """By command line: the exit code, and the packages that are loaded at the end."""
    lines = [*HELP, *(arguments for arguments, _ in VERSION_AND_ERRORS)]
    command = [sys.executable, "-c", RUN, json.dumps(lines)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in finished.stderr, finished.stderr
    found = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("[[")]
    return {
        tuple(arguments): (code, {module.partition(".")[0] for module in modules})
        for arguments, code, modules in found
    }


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_loads_no_package_that_a_command_needs(arguments, outcomes, required_packages):
    code, packages = outcomes[tuple(arguments)]
    assert code == 0
    assert not packages & required_packages


@pytest.mark.parametrize(("arguments", "exit_code"), VERSION_AND_ERRORS, ids=str)
def test_the_version_and_usage_errors_load_no_package_that_a_command_needs(
    arguments, exit_code, outcomes, required_packages
):
    code, packages = outcomes[tuple(arguments)]
    assert code == exit_code
    assert not packages & required_packages


def test_there_are_commands_to_ask():
    assert {("predict",), ("train",), ("data", "fetch")} <= set(COMMANDS)
