# SPDX-License-Identifier: Apache-2.0
"""What commands that push to the Hub have in common."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geodit.cli.errors import FAILURE, CommandError
from geodit.cli.output import plain, print_json, results_console
from geodit.configuration.types_geodit import JsonObject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from geodit.hub_cards.publish.file_selection import PublishedFile
    from geodit.hub_cards.publish.push import PushResult, RepoType

PrivateOption = Annotated[
    bool, typer.Option("--private", help="Create a private repository. An existing public repository is refused.")
]
CreatePrOption = Annotated[bool, typer.Option("--create-pr", help="Open a pull request; the repository must exist.")]
RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", help="Branch to push to; created if it does not exist. By default main."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only list the files and show the card. Needs neither network nor token.")
]
MessageOption = Annotated[
    str | None,
    typer.Option("--message", "-m", help="First line of the commit message, or title of the pull request."),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", help="File with the token. By default HF_TOKEN, or the token that `hf auth login` stored."
    ),
]


def upload(
    files: "Sequence[PublishedFile]",
    repo: str,
    token_file: Path | None,
    *,
    repo_type: "RepoType" = "model",
    private: bool | None,
    revision: str | None,
    create_pr: bool,
    message: str,
) -> "PushResult":
    """Push files, see [`~geodit.hub_cards.publish.push.push_files`].

    Raises:
        CommandError: If the connection to the Hub breaks.
    """
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
            repo_type=repo_type,
            private=private,
            revision=revision,
            create_pr=create_pr,
            message=message,
        )
    except ConnectionError as error:
        raise CommandError(str(error), FAILURE) from error


def show_files(repo: str, files: "Sequence[PublishedFile]", as_json: bool) -> None:
    """Print what a push would do."""
    if as_json:
        print_json(files_document(repo, files))
        return
    from rich.text import Text

    console = results_console()
    console.print(files_table(repo, files))
    # As it is, so that it can be copied out of the terminal.
    console.print(Text(_card(files)), soft_wrap=True)


def files_document(repo: str, files: "Sequence[PublishedFile]") -> JsonObject:
    """Return what a push would do, in types that JSON has."""
    return {"repo": repo, "files": _file_documents(files), "card": _card(files)}


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


def print_result(result: "PushResult", as_json: bool) -> None:
    """Print what was pushed."""
    if as_json:
        print_json(result_document(result))
        return
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


def result_document(result: "PushResult") -> JsonObject:
    """Return what was pushed, in types that JSON has."""
    return {
        "repo": result.repo_id,
        "commit": result.commit.oid,
        "url": result.commit.commit_url,
        "pull_request": result.commit.pr_url,
        "files": _file_documents(result.changed),
        "removed": list(result.removed),
    }


def _card(files: "Sequence[PublishedFile]") -> str:
    (content,) = (file.content for file in files if file.path_in_repo == "README.md")
    return (content if isinstance(content, bytes) else content.read_bytes()).decode()


def _file_documents(files: "Sequence[PublishedFile]") -> list[JsonObject]:
    return [{"path": file.path_in_repo, "bytes": file.size} for file in files]
