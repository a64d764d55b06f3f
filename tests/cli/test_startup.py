# SPDX-License-Identifier: Apache-2.0
"""Help, the version and usage errors answer without any package that only a command needs."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires

import pytest
import typer

from geodit.cli.main import app

# The program itself, and what a virtual environment may load before any program.
LOADED_AT_ONCE = {"typer", "rich", "setuptools"}

RUN = """
import json, sys
from geodit.cli.main import app
code = 0
try:
    app(sys.argv[1:], prog_name="geodit")
except SystemExit as stop:
    code = stop.code
print(json.dumps([code, sorted(sys.modules)]))
"""


def normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@pytest.fixture(scope="module")
def required_packages() -> set[str]:
    """Import names of all that geodit and its extras require, but for the program's own."""
    required = {normalized(re.match(r"[\w.-]+", line)[0]) for line in requires("geodit")} - LOADED_AT_ONCE
    packages = {
        package
        for package, distributions in packages_distributions().items()
        if required & {normalized(distribution) for distribution in distributions}
    }
    assert {"torch", "transformers", "numpy", "PIL", "huggingface_hub", "safetensors", "yaml", "jinja2"} <= packages
    return packages


def commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, (*path, name))


COMMANDS = list(commands(typer.main.get_command(app)))


def run(*arguments: str) -> tuple[int, set[str]]:
    """Runs the program in a new interpreter; its exit code, and the packages that are loaded at its end."""
    finished = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False)
    assert "Traceback" not in finished.stderr, finished.stderr
    code, modules = json.loads(finished.stdout.splitlines()[-1])
    return code, {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("command", [(), *COMMANDS], ids=" ".join)
def test_help_loads_no_package_that_a_command_needs(command, required_packages):
    code, packages = run(*command, "--help")
    assert code == 0
    assert not packages & required_packages


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["--version"], 0),
        (["predct"], 2),
        (["--bogus"], 2),
        (["predict"], 2),
        (["predict", "harbor.png"], 2),
        (["predict", "harbor.png", "--task", "caption", "--bogus"], 2),
        (["evaluate", "--dataset", "imagenet"], 2),
        (["data", "fetch", "imagenet"], 2),
        (["data", "check"], 2),
        (["benchmark", "--repeats", "none"], 2),
        (["push", "runs/trees"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_the_version_and_usage_errors_load_no_package_that_a_command_needs(arguments, exit_code, required_packages):
    code, packages = run(*arguments)
    assert code == exit_code
    assert not packages & required_packages


def test_there_are_commands_to_ask():
    assert {("predict",), ("train",), ("data", "fetch")} <= set(COMMANDS)
