# SPDX-License-Identifier: Apache-2.0
"""The `geodit` command. Heavy packages are imported when a command runs, so that `--help` answers at once."""

from typing import Annotated

import typer

import geodit
from geodit.cli import app as app_command
from geodit.cli import assemble, benchmark, card, data, demo, evaluate, finetune, merge_adapter, predict, push, train
from geodit.cli.terminal import TerminalGroup

app = typer.Typer(
    name="geodit",
    cls=TerminalGroup,
    help="Ask questions about satellite and aerial images; train, evaluate and publish the models that answer them.",
    epilog="Start with `geodit demo`: it needs no download.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"geodit {geodit.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error instead of one line.")
    ] = False,
) -> None:
    """Handle the options that stand before the command."""


demo.register(app)
predict.register(app)
app_command.register(app)
finetune.register(app)
train.register(app)
evaluate.register(app)
benchmark.register(app)
assemble.register(app)
merge_adapter.register(app)
card.register(app)
push.register(app)
app.add_typer(data.app, name="data")
