# SPDX-License-Identifier: Apache-2.0
"""`geodit push`: a checkpoint, or an adapter, to the Hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geodit.cli.card_options import DEFAULT_LICENSE, LicenseOption, TemplateOption
from geodit.cli.checkpoint import resolve_model
from geodit.cli.errors import CommandError
from geodit.cli.output import print_json
from geodit.cli.uploads import (
    CreatePrOption,
    DryRunOption,
    MessageOption,
    PrivateOption,
    RevisionOption,
    TokenFileOption,
    files_document,
    print_result,
    result_document,
    show_files,
    upload,
)
from geodit.configuration.types_geodit import JsonObject

if TYPE_CHECKING:
    from geodit.hub_cards.publish.file_selection import PublishedFile
    from geodit.hub_cards.publish.push import PushResult

EXAMPLES = """Examples:

`geodit push runs/trees --repo your-name/geodit-trees --dry-run`

`geodit push runs/trees --repo your-name/geodit-trees --private --with-stage runs/first-stage`

`geodit push runs/trees --repo your-name/geodit-trees --space your-name/try-trees`

`geodit push runs/lora-neon --adapter --repo your-name/geodit-trees-lora --base-model your-name/geodit-8b`

`geodit push runs/trees --repo someone/geodit-trees --create-pr --message "Train on more trees"`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(push)


def push(
    checkpoint: Annotated[str, typer.Argument(help="Directory of a checkpoint, a training run or an adapter.")],
    repo: Annotated[
        str | None, typer.Option("--repo", "-r", help="Repository, such as your-name/geodit-trees.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            help="Space with a page to try the checkpoint on, such as your-name/try-trees. Without --repo it holds "
            "the weights itself.",
        ),
    ] = None,
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

    With --space also, or only, a Space: a page to try it on, in one commit as well.

    Does not send files again that the repository already has, so that you can repeat an interrupted push. There is no
    option for the token itself, because others could read it on the command line.
    """
    if repo is None and space is None:
        raise CommandError("give --repo, --space or both")
    for option, name in (("--repo", repo), ("--space", space)):
        if name is not None and name.count("/") != 1:
            raise CommandError(f"{option} takes the form owner/name, got {name!r}")
    if space is not None and (adapter or create_pr or revision is not None):
        raise CommandError(
            "--space shows a whole checkpoint of the main branch: omit --adapter, --create-pr, --revision"
        )
    from geodit.hub_cards.publish.file_selection import published_files
    from geodit.hub_cards.publish.run_folders import as_checkpoint

    folder = _find_folder(checkpoint, adapter)
    with as_checkpoint(folder, stages=with_stage or ()) as view:
        files = published_files(
            view,
            repo_id=repo or str(space),
            license=license,
            base_model=base_model or None,
            datasets=dataset or (),
            template_path=template,
            origin=folder,
        )
        # Before anything is pushed: it fails where a library that the page needs is missing.
        of_space = [] if space is None else _files_of_space(space, repo, None, files, license)
        if dry_run:
            planned = {name: shown for name, shown in ((repo, files), (space, of_space)) if name is not None}
            if as_json and len(planned) > 1:
                documents = [files_document(name, shown) for name, shown in planned.items()]
                print_json(dict(zip(("model", "space"), documents, strict=True)))
                return
            for name, shown in planned.items():
                show_files(name, shown, as_json)
            return
        report = _Report(as_json, wait=repo is not None and space is not None)
        try:
            if repo is not None:
                pushed = upload(
                    files,
                    repo,
                    token_file,
                    private=private or None,
                    revision=revision,
                    create_pr=create_pr,
                    message=message or f"Upload {folder.resolve().name} with geodit",
                )
                report.add("model", pushed)
                if space is not None:
                    of_space = _files_of_space(space, repo, pushed.commit.oid, files, license)
            if space is not None:
                shown_by = upload(
                    of_space,
                    space,
                    token_file,
                    repo_type="space",
                    private=private or None,
                    revision=None,
                    create_pr=False,
                    message=message or f"Show {folder.resolve().name} with geodit",
                )
                report.add("space", shown_by)
                if private and repo is not None:
                    secret = "the secret HF_TOKEN, a token that may read it"
                    typer.echo(f"geodit: {space} cannot load a private {repo} without {secret}", err=True)
        finally:
            report.end()


class _Report:
    """Prints what was pushed as soon as it is; two results as JSON are one document, of what there is in the end.

    Args:
        as_json: Whether it prints JSON.
        wait: Whether there are to be two results.
    """

    def __init__(self, as_json: bool, *, wait: bool) -> None:
        self._as_json = as_json
        self._wait = wait and as_json
        self._documents: JsonObject = {}

    def add(self, name: str, result: "PushResult") -> None:
        """Print or keep a result."""
        if self._wait:
            self._documents[name] = result_document(result)
        else:
            print_result(result, self._as_json)

    def end(self) -> None:
        """Print what was kept."""
        if self._documents:
            print_json(self._documents)


def _files_of_space(
    space: str, repo: str | None, commit: str | None, files: Sequence["PublishedFile"], license: str
) -> "list[PublishedFile]":
    """Return the files of a Space for a model of the Hub, or, without one, with the files of the checkpoint."""
    from geodit.app.space_files import SpaceModel, space_files

    model = SpaceModel(files=tuple(files)) if repo is None else SpaceModel(repo, commit)
    return space_files(model, space, license=license)


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
