# SPDX-License-Identifier: Apache-2.0
"""`geodit data push`: a data set of one's own, to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from geodit.cli.card_options import TemplateOption
from geodit.cli.errors import CommandError
from geodit.cli.uploads import (
    CreatePrOption,
    DryRunOption,
    MessageOption,
    PrivateOption,
    RevisionOption,
    TokenFileOption,
    print_result,
    show_files,
    upload,
)

PUSH_EXAMPLES = """Examples:

`geodit data push ships --repo your-name/ships --license cc-by-4.0 --private`

`geodit data push ships --repo your-name/ships --dry-run`"""


def register(app: typer.Typer) -> None:
    """Add the command to `geodit data`."""
    app.command(epilog=PUSH_EXAMPLES)(push)


def push(
    dataset: Annotated[Path, typer.Argument(help="Folder that geodit data import has made.")],
    repo: Annotated[str, typer.Option("--repo", "-r", help="Repository, such as your-name/ships.")],
    private: PrivateOption = False,
    license: Annotated[
        str | None, typer.Option("--license", help="License of images and labels, as the Hub names it.")
    ] = None,
    create_pr: CreatePrOption = False,
    revision: RevisionOption = None,
    dry_run: DryRunOption = False,
    message: MessageOption = None,
    token_file: TokenFileOption = None,
    template: TemplateOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was pushed, or would be pushed, as JSON.")
    ] = False,
) -> None:
    """Publish an imported data set on the Hub: tables, card and what it was made from, in one commit.

    A card that you have changed is published as it is, any other with the name of the repository. Recipes, geodit data
    preview and geodit finetune then take the name of the repository in place of a folder.
    """
    from geodit.annotations.published_files import dataset_files

    if repo.count("/") != 1:
        raise CommandError(f"--repo takes the form owner/name, got {repo!r}")
    files = dataset_files(dataset, repo_id=repo, license=license, template_path=template)
    if dry_run:
        show_files(repo, files, as_json)
        return
    result = upload(
        files,
        repo,
        token_file,
        repo_type="dataset",
        private=private or None,
        revision=revision,
        create_pr=create_pr,
        message=message or f"Upload {dataset.resolve().name} with geodit",
    )
    print_result(result, as_json)
