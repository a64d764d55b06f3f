# SPDX-License-Identifier: Apache-2.0
"""`geodit push`: a checkpoint, or an adapter, to the Hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geodit.cli.card_options import DEFAULT_LICENSE, LicenseOption, TemplateOption
from geodit.cli.checkpoint import resolve_model
from geodit.cli.errors import FAILURE, CommandError
from geodit.cli.output import plain, print_json, results_console
from geodit.configuration.types_geodit import JsonObject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from geodit.hub_cards.publish.file_selection import PublishedFile
    from geodit.hub_cards.publish.push import PushResult

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
    private: Annotated[
        bool, typer.Option("--private", help="Create a private repository. An existing public repository is refused.")
    ] = False,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request; the repository must exist.")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option("--revision", help="Branch to push to; created if it does not exist. By default main."),
    ] = None,
    adapter: Annotated[bool, typer.Option("--adapter", help="Push an adapter without its base.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the files and show the card. Needs neither network nor token.")
    ] = False,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", help="First line of the commit message, or title of the pull request."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", help="File with the token. By default HF_TOKEN, or the token that `hf auth login` stored."
        ),
    ] = None,
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
            _show(repo, files, as_json)
            return
        result = _push(
            files,
            repo,
            token_file,
            private=private or None,
            revision=revision,
            create_pr=create_pr,
            message=message or f"Upload {folder.resolve().name} with geodit",
        )
        if as_json:
            print_json(_result_document(result))
        else:
            _print_result(result)


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


def _push(
    files: "Sequence[PublishedFile]",
    repo: str,
    token_file: Path | None,
    *,
    private: bool | None,
    revision: str | None,
    create_pr: bool,
    message: str,
) -> "PushResult":
    import sys

    import huggingface_hub

    from geodit.hub_cards.publish.hub_client import HubClient, read_token
    from geodit.hub_cards.publish.push import push_files

    # Its retries are no news: what comes of them is reported.
    huggingface_hub.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()  # type: ignore[attr-defined]
    client = HubClient(None if token_file is None else read_token(token_file))
    try:
        return push_files(
            files,
            repo,
            client=client,
            private=private,
            revision=revision,
            create_pr=create_pr,
            message=message,
        )
    except ConnectionError as error:
        raise CommandError(str(error), FAILURE) from error


def _show(repo: str, files: "Sequence[PublishedFile]", as_json: bool) -> None:
    """Print what a push would do."""
    (content,) = (file.content for file in files if file.path_in_repo == "README.md")
    card = (content if isinstance(content, bytes) else content.read_bytes()).decode()
    if as_json:
        print_json({"repo": repo, "files": _file_documents(files), "card": card})
        return
    from rich.text import Text

    console = results_console()
    console.print(files_table(repo, files))
    # As it is, so that it can be copied out of the terminal.
    console.print(Text(card), soft_wrap=True)


def files_table(repo: str, files: "Sequence[PublishedFile]") -> "Table":
    """Build a table of the files that a repository would hold, with their sizes."""
    from rich.table import Table

    table = Table("file", title=plain(f"would be in {repo}"), title_justify="left")
    table.add_column("bytes", justify="right")
    for file in files:
        table.add_row(plain(file.path_in_repo), f"{file.size:,}")
    table.add_section()
    table.add_row(f"{len(files)} files", f"{sum(file.size for file in files):,}")
    return table


def _print_result(result: "PushResult") -> None:
    console = results_console()
    commit = result.commit
    if not result.changed and not result.removed:
        console.print(
            f"{result.repo_id} has all of these files already: {commit.commit_url}", highlight=False, soft_wrap=True
        )
        return
    removed = f", {len(result.removed)} removed" if result.removed else ""
    done = f"{len(result.changed)} files ({result.num_bytes:,} bytes){removed}"
    console.print(f"{done}: {commit.pr_url or commit.commit_url}", highlight=False, soft_wrap=True)


def _result_document(result: "PushResult") -> JsonObject:
    return {
        "repo": result.repo_id,
        "commit": result.commit.oid,
        "url": result.commit.commit_url,
        "pull_request": result.commit.pr_url,
        "files": _file_documents(result.changed),
        "removed": list(result.removed),
    }


def _file_documents(files: "Sequence[PublishedFile]") -> list[JsonObject]:
    return [{"path": file.path_in_repo, "bytes": file.size} for file in files]
