# SPDX-License-Identifier: Apache-2.0
"""`geodit push`: a checkpoint, or an adapter, to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from geodit.cli.card_options import DEFAULT_LICENSE, LicenseOption, TemplateOption
from geodit.cli.checkpoint import resolve_model
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

EXAMPLES = """Examples:

`geodit push runs/trees --repo your-name/geodit-trees --dry-run`

`geodit push runs/trees --repo your-name/geodit-trees --private --with-stage runs/first-stage`

`geodit push runs/lora-neon --adapter --repo your-name/geodit-trees-lora --base-model your-name/geodit-8b`

`geodit push runs/trees --repo someone/geodit-trees --create-pr --message "Train on more trees"`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(push)


def push(
    checkpoint: Annotated[str, typer.Argument(help="Directory of a checkpoint, a training run or an adapter.")],
    repo: Annotated[str, typer.Option("--repo", "-r", help="Repository, such as your-name/geodit-trees.")],
    private: PrivateOption = False,
    create_pr: CreatePrOption = False,
    revision: RevisionOption = None,
    adapter: Annotated[bool, typer.Option("--adapter", help="Push an adapter without its base.")] = False,
    dry_run: DryRunOption = False,
    message: MessageOption = None,
    token_file: TokenFileOption = None,
    license: LicenseOption = DEFAULT_LICENSE,
    base_model: Annotated[
        list[str] | None,
        typer.Option("--base-model", help="Hub id of the model that training started from. Can be repeated."),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="Hub id of a data set used in training. Can be repeated."),
    ] = None,
    with_stage: Annotated[
        list[Path] | None,
        typer.Option(
            "--with-stage",
            help="Folder of an earlier run that this run continued: publish its recipe and log too. Can be repeated.",
        ),
    ] = None,
    template: TemplateOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was pushed, or would be pushed, as JSON.")
    ] = False,
) -> None:
    """Publish a checkpoint on the Hub: weights, code, processor, results and a card, in one commit.

    Does not send files again that the repository already has, so that you can repeat an interrupted push. There is no
    option for the token itself, because others could read it on the command line.
    """
    from geodit.hub_cards.publish.file_selection import published_files
    from geodit.hub_cards.publish.run_folders import as_checkpoint

    folder = _find_folder(checkpoint, adapter)
    if repo.count("/") != 1:
        raise CommandError(f"--repo takes the form owner/name, got {repo!r}")
    with as_checkpoint(folder, stages=with_stage or ()) as view:
        files = published_files(
            view,
            repo_id=repo,
            license=license,
            base_model=base_model or None,
            datasets=dataset or (),
            template_path=template,
            origin=folder,
        )
        if dry_run:
            show_files(repo, files, as_json)
            return
        result = upload(
            files,
            repo,
            token_file,
            private=private or None,
            revision=revision,
            create_pr=create_pr,
            message=message or f"Upload {folder.resolve().name} with geodit",
        )
        print_result(result, as_json)


def _find_folder(checkpoint: str, adapter: bool) -> Path:
    if adapter:
        folder = Path(checkpoint).expanduser()
        if not folder.is_dir():
            raise CommandError(f"there is no directory {checkpoint}")
        if not (folder / "adapter_config.json").is_file():
            raise CommandError(f"{checkpoint} is not an adapter: it has no adapter_config.json; omit --adapter")
        return folder
    folder = Path(checkpoint).expanduser()
    if (folder / "adapter_config.json").is_file():
        raise CommandError(
            f"{checkpoint} is an adapter: push it with --adapter, or make a checkpoint with `geodit merge-adapter`"
        )
    folder = Path(resolve_model(checkpoint))
    if not folder.is_dir():
        raise CommandError(f"there is no directory {checkpoint}")
    return folder
