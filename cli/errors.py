# SPDX-License-Identifier: Apache-2.0
"""How the commands report what went wrong: one line on stderr and an exit code, never a traceback or a secret."""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from geodit.configuration.secrets import mask_secrets, secrets_of_environment

BAD_INPUT = 2
FAILURE = 1

_EXTRAS = {
    "accelerate": "train",
    "datasets": "eval",
    "evaluate": "eval",
    "faster_coco_eval": "eval",
    "geopandas": "geo",
    "gradio": "app",
    "inflect": "labels",
    "matplotlib": "hub",
    "outlines_core": "structured",
    "peft": "train",
    "pyarrow": "geo",
    "pycocoevalcap": "eval",
    "pyogrio": "geo",
    "pyproj": "geo",
    "pystac": "stac",
    "rasterio": "geo",
    "ray": "ray",
    "shapely": "geo",
    "tensorboard": "finetune",
    "trl": "train",
}


class CommandError(typer.TyperException):
    """A failure that is reported in one line.

    Args:
        message: What was wrong, and what to do about it.
        exit_code: 2 for bad input, 1 for anything else.
    """

    def __init__(self, message: str, exit_code: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class CommandGroup(TyperGroup):
    """The root of the commands: it reports every exception in one line on stderr.

    Bad input, that is what the packages raise as `ValueError`, `OSError` or `ImportError` and what typer says
    of the arguments, exits with 2; anything else with 1. With `--debug` the traceback is shown, with its causes.
    Secrets are masked in either.
    """

    def invoke(self, ctx: Any) -> object:
        """Run the command that the arguments name; see `typer.core.TyperGroup`."""
        try:
            check_working_directory()
            return super().invoke(ctx)
        except (typer.TyperException, typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if _is_broken_pipe(error):
                raise
            if ctx.params.get("debug"):
                typer.echo(without_secrets("".join(traceback.format_exception(error))), err=True, nl=False)
                raise typer.Exit(FAILURE) from error
            raise as_command_error(error) from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: object,
    ) -> object:
        """Run the program; see `typer.core.TyperGroup`."""

        def run() -> object:
            return super(CommandGroup, self).main(args, prog_name, complete_var, False, windows_expand_args, **extra)

        if not standalone_mode:
            return run()
        try:
            result = run()
        except typer.TyperException as error:
            typer.echo(f"geodit: error: {one_line(without_secrets(error.format_message()))}", err=True)
            sys.exit(error.exit_code)
        except typer.Abort:
            typer.echo("geodit: aborted", err=True)
            sys.exit(FAILURE)
        sys.exit(result if isinstance(result, int) else 0)


def check_working_directory() -> None:
    """Refuse to run in a directory that has been deleted, in which each library fails in its own way.

    Raises:
        CommandError: If it has been.
    """
    try:
        Path.cwd()
    except OSError as error:
        message = (
            f"the working directory cannot be used ({error.strerror}): change to one that exists, such as with cd ~"
        )
        raise CommandError(message) from error


def as_command_error(error: Exception) -> CommandError:
    """Return what to report for an exception."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _EXTRAS:
        package = (error.name or "").partition(".")[0]
        return CommandError(f"this needs the package {package}: pip install 'geodit[{_EXTRAS[package]}]'")
    # A configuration that does not pass its own validation; the class is one of huggingface_hub, which loads slowly.
    invalid = any(kind.__name__ == "StrictDataclassError" for kind in type(error).__mro__)
    if invalid or isinstance(error, ValueError | OSError | ImportError):
        return CommandError(str(error) or type(error).__name__)
    hint = "`geodit --debug ...` shows where this came from"
    return CommandError(f"{type(error).__name__}: {error} ({hint})", FAILURE)


def without_secrets(message: str) -> str:
    """Mask tokens, keys and passwords in a message: those of a known shape, and those in use here."""
    known = set(secrets_of_environment(os.environ))
    if "huggingface_hub" in sys.modules:  # else nothing has read the token that `hf auth login` has stored
        import huggingface_hub

        known.add(huggingface_hub.get_token() or "")
    return mask_secrets(message, known)


def one_line(message: str) -> str:
    """Return a message with all its white space, line ends included, as single spaces."""
    return " ".join(message.split())


def _is_broken_pipe(error: Exception) -> bool:
    """Return whether the reader of our output has gone, as in `geodit ... | head -1`; typer then ends quietly."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE
