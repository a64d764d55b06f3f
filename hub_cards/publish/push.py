# SPDX-License-Identifier: Apache-2.0
"""Pushing files to a repository of the Hub: all of them in one commit, or none.

Large files are uploaded first, to where nobody sees them until a commit names them; the Hub keeps what has arrived, so
that a push that was cut short goes on from there. What the repository has already is not sent again, and where that
is everything, no commit is made.

The commit names the one that it follows. If its answer is lost, that tells whether it has arrived: made again it would
not follow the same commit any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.configuration.secrets import refuse_secrets
from geodit.hub_cards.publish.file_checks import Unchanged, is_path_in_repo, refuse_secrets_in_files
from geodit.hub_cards.publish.file_selection import PublishedFile
from geodit.hub_cards.publish.hub_client import HubClient, is_transient

__all__ = ["PushResult", "RepoState", "RepoType", "prepare_repo", "push_files", "read_repo", "resolve_repo_id"]

RepoType = Literal["model", "dataset", "space"]
"""Kinds of repositories."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PULL_REQUEST = re.compile(r"refs/pr/\d+")
_MAX_FILES = 100_000
# What an earlier push has written and `from_pretrained` might take in place of, or beside, what is pushed.
_REPLACED = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|[a-z_]+_geodit\.py")
# Likewise of a data set: whoever loads it takes all tables of a split.
_FOLDERS_OF_SPACE = {"geodit", "model"}
_REPLACED_TABLES = re.compile(r"data/[a-z]+-\d{5}\.parquet")


@dataclass(frozen=True)
class PushResult:
    """What a push came to.

    Args:
        repo_id: The repository.
        commit: The commit, of the branch or of the pull request; where there was nothing to change, the one that
            the branch had.
        changed: The files that the commit added or replaced.
        removed: The files that it removed.
    """

    repo_id: str
    commit: CommitInfo
    changed: tuple[PublishedFile, ...]
    removed: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Size of the files that changed."""
        return sum(file.size for file in self.changed)


@dataclass(frozen=True)
class RepoState:
    """A branch of a repository as it was when it was looked at.

    Args:
        commit: Its last commit.
        branch: Its name.
        new_branch: Whether it is yet to be made; `commit` and `files` are then those of the main branch.
        files: What it holds, by path.
    """

    commit: str
    branch: str
    new_branch: bool
    files: dict[str, RepoFile]

    @property
    def base(self) -> str:
        """The branch that exists."""
        return "main" if self.new_branch else self.branch

    def differing(self, files: Iterable[PublishedFile]) -> tuple[PublishedFile, ...]:
        """Return those of the files that it lacks, or has another version of."""
        return tuple(file for file in files if not _is_same(file, self.files.get(file.path_in_repo)))


def push_files(
    files: Sequence[PublishedFile],
    repo_id: str,
    *,
    client: HubClient,
    repo_type: RepoType = "model",
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    message: str = "Upload a GeoDiT model",
    description: str | None = None,
) -> PushResult:
    """Push files to a repository, which is made if it does not exist.

    Weights, code and tables of an earlier push that these do not replace are removed; all else that the repository has
    stays.

    Args:
        files: The files.
        repo_id: Hub id, `"organization/name"`.
        client: The Hub.
        repo_type: Whether the repository is one of a model, of a data set or of a Space.
        private: Whether a repository that is made is private; by default as the organization has it.
        revision: The branch to push to; it is made, from the main one, if it does not exist. By default the main one.
        create_pr: Whether to open a pull request on that branch instead. The repository must exist.
        message: First line of the commit message, and title of the pull request.
        description: The rest of the commit message.

    Returns:
        What was pushed.

    Raises:
        PermissionError: If the Hub does not accept the token, or it gives no access.
        ConnectionError: If the connection keeps breaking, or the Hub stays busy.
        ValueError: If the repository or the branch is not as the arguments say, a file or the message has a token, key
            or password, a file changes meanwhile, or the Hub refuses the files. Whatever the error is, the repository
            holds what it held before.
    """
    check_revision(revision)
    if not message.strip():
        raise ValueError("the message of a commit cannot be empty")
    unchanged = Unchanged(file.content for file in files if isinstance(file.content, Path))
    told = {"message": message, "description": description, "revision": revision}
    refuse_secrets(told, "the commit", (client.token,))
    refuse_secrets_in_files({file.path_in_repo: file.content for file in files}, (client.token,))
    user = client.check_token()
    repo_id = resolve_repo_id(repo_id, user)
    prepare_repo(client, repo_id, repo_type=repo_type, private=private, create=not create_pr)
    push = _Push(
        client,
        repo_id,
        tuple(files),
        user,
        repo_type=repo_type,
        revision=revision,
        create_pr=create_pr,
        message=message,
        description=description,
        unchanged=unchanged,
    )
    return push.run()


def prepare_repo(
    client: HubClient,
    repo_id: str,
    *,
    repo_type: RepoType = "model",
    private: bool | None = None,
    create: bool = True,
) -> None:
    """See to it that a repository is there, and is what the user thinks it is.

    Args:
        client: The Hub.
        repo_id: Hub id.
        repo_type: Whether it is one of a model, of a data set or of a Space.
        private: Whether a repository that is made is private; by default as the organization has it.
        create: Whether to make it if it does not exist.

    Raises:
        PermissionError: If the Hub does not accept the token, or it gives no access.
        ConnectionError: If the Hub cannot be reached.
        ValueError: If there is none and `create` is false, or it is public and was to be private.
    """
    try:
        is_private = client.call(f"looking for {repo_id}", _is_private, client, repo_id, repo_type)
    except _NoRepositoryError:
        if not create:
            raise ValueError(f"there is no repository {repo_id} to open a pull request on") from None
        doing = f"making the repository {repo_id}"
        sdk = "gradio" if repo_type == "space" else None
        client.call(
            doing,
            client.api.create_repo,
            repo_id,
            repo_type=repo_type,
            private=private,
            space_sdk=sdk,
            exist_ok=True,
        )
        return
    if private and not is_private:
        raise ValueError(
            f"{repo_id} exists and is public, and a push does not change that: make it private in its settings, "
            "or push to another repository"
        )


def check_revision(revision: str | None) -> None:
    """Refuse to push to what is no branch.

    Raises:
        ValueError: If the revision is a commit.
    """
    if revision is not None and (not revision.strip() or _COMMIT.fullmatch(revision)):
        raise ValueError(f"a push goes to a branch, and revision {revision!r} is none")


def resolve_repo_id(repo_id: str, user: str) -> str:
    """Return a repository with its owner, which is the user where none is named."""
    return repo_id if "/" in repo_id else f"{user}/{repo_id}"


def read_repo(
    client: HubClient, repo_id: str, revision: str | None = None, *, repo_type: RepoType = "model"
) -> RepoState | None:
    """Look at a branch of a repository; `None` if there is no such repository.

    Raises:
        PermissionError: If the Hub does not accept the token, or it gives no access.
        ConnectionError: If the Hub cannot be reached.
    """
    doing = f"looking at {repo_id}"
    branch, new_branch = revision or "main", False
    try:
        commit = client.call(doing, _commit_of, client, repo_id, branch, repo_type)
        if commit is None:
            new_branch = True
            commit = client.call(doing, _commit_of, client, repo_id, "main", repo_type)
    except _NoRepositoryError:
        return None
    if commit is None:
        raise ValueError(f"{repo_id} has no main branch")
    files = client.call(doing, _files_of, client, repo_id, commit, repo_type)
    return RepoState(commit, branch, new_branch, files)


class _NoRepositoryError(Exception):
    pass


def _is_private(client: HubClient, repo_id: str, repo_type: RepoType) -> bool:
    try:
        return bool(client.api.repo_info(repo_id, repo_type=repo_type).private)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 404:
            raise _NoRepositoryError from error
        raise


def _files_of(client: HubClient, repo_id: str, commit: str, repo_type: RepoType) -> dict[str, RepoFile]:
    """Return the files of a commit.

    Raises:
        TypeError: If what the Hub tells of one is not what is told of a file.
        ValueError: If one lies outside the repository, or there is no end of them.
    """
    listed = client.api.list_repo_tree(repo_id, recursive=True, revision=commit, repo_type=repo_type)
    files: dict[str, RepoFile] = {}
    for number, item in enumerate(listed):
        if number == _MAX_FILES:
            raise ValueError(f"{repo_id} has more than {_MAX_FILES:,} files, which no {repo_type} has")
        if not isinstance(item, RepoFile):
            continue
        if not is_path_in_repo(item.path):
            raise ValueError(f"the Hub tells of a file outside {repo_id}: {item.path!r:.80}")
        sizes = (item.size, *(() if item.lfs is None else (item.lfs.size,)))
        hashes = (item.blob_id, *(() if item.lfs is None else (item.lfs.sha256,)))
        if not all(isinstance(size, int) for size in sizes) or not all(isinstance(text, str) for text in hashes):
            raise TypeError("a file has no size or no hash")
        files[item.path] = item
    return files


def _commit_of(client: HubClient, repo_id: str, revision: str, repo_type: RepoType) -> str | None:
    """Return the last commit of a branch, `None` if there is no such branch."""
    try:
        commit: str | None = client.api.repo_info(repo_id, revision=revision, repo_type=repo_type).sha
        if commit is not None and not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
            raise TypeError("a branch has a commit that is none")
    except RevisionNotFoundError:
        return None
    except RepositoryNotFoundError as error:
        # huggingface_hub raises this for 401, too.
        if error.response.status_code == 404:
            raise _NoRepositoryError from error
        raise
    return commit


class _Push:
    """A push under way.

    Args:
        client: The Hub.
        repo_id: The repository, which exists.
        files: What it is to hold.
        user: Who pushes.
        repo_type: Whether the repository is one of a model, of a data set or of a Space.
        revision: The branch, `None` for the main one.
        create_pr: Whether to open a pull request on it.
        message: First line of the commit message.
        description: The rest of it.
        unchanged: The files as they were when they were looked at.
    """

    def __init__(
        self,
        client: HubClient,
        repo_id: str,
        files: tuple[PublishedFile, ...],
        user: str,
        *,
        repo_type: RepoType,
        revision: str | None,
        create_pr: bool,
        message: str,
        description: str | None,
        unchanged: Unchanged,
    ) -> None:
        self.client = client
        self.repo_id = repo_id
        self.files = files
        self.user = user
        self.repo_type = repo_type
        self.revision = revision
        self.create_pr = create_pr
        self.message = message
        self.description = description
        self._unchanged = unchanged
        self._additions: dict[str, CommitOperationAdd] = {}
        self._branch_made_from: str | None = None

    def run(self) -> PushResult:
        """Upload, and commit; after a failure that may pass, from the state that the repository has then."""
        try:
            return self._run()
        except Exception:
            self._take_branch_back()
            raise

    def _run(self) -> PushResult:
        changed: tuple[PublishedFile, ...] = ()
        removed: tuple[str, ...] = ()
        number = 0
        while True:
            state = self._look()
            differing, left_over = state.differing(self.files), self._left_over(state)
            if not differing and not left_over:
                # If this is not the first attempt, an earlier one has arrived whose answer was lost.
                return PushResult(self.repo_id, self._commit_info(state.commit), changed, removed)
            changed, removed = differing, left_over
            added = [self._addition(file) for file in changed]
            self._upload(added, state)
            self._unchanged.check()
            try:
                with self.client.short_waits():
                    commit: CommitInfo | None = self._commit(state, [*added, *map(CommitOperationDelete, removed)])
            except Exception as error:
                self.client.wait_or_raise(error, f"committing to {self.repo_id}", number, conflicts=True)
                commit = self._find_pull_request(changed) if self.create_pr and is_transient(error) else None
            if commit is not None:
                return PushResult(self.repo_id, commit, changed, removed)
            number += 1

    def _addition(self, file: PublishedFile) -> CommitOperationAdd:
        """Return the operation that adds a file, the same object each time: it knows whether it was uploaded."""
        if file.path_in_repo not in self._additions:
            self._additions[file.path_in_repo] = CommitOperationAdd(file.path_in_repo, file.content)
        return self._additions[file.path_in_repo]

    def _commit(self, state: RepoState, operations: list[CommitOperationAdd | CommitOperationDelete]) -> CommitInfo:
        api = self.client.api
        if state.new_branch:
            api.create_branch(
                self.repo_id, branch=state.branch, revision=state.commit, repo_type=self.repo_type, exist_ok=True
            )
            self._branch_made_from = state.commit
        commit: CommitInfo = api.create_commit(
            self.repo_id,
            operations,
            repo_type=self.repo_type,
            commit_message=self.message,
            commit_description=self.description,
            revision=state.branch,
            create_pr=self.create_pr,
            parent_commit=state.commit,
        )
        return commit

    def _look(self) -> RepoState:
        state = read_repo(self.client, self.repo_id, self.revision, repo_type=self.repo_type)
        if state is None:
            raise ValueError(f"there is no repository {self.repo_id}")
        if state.new_branch and (self.create_pr or _PULL_REQUEST.fullmatch(state.branch)):
            raise ValueError(f"{self.repo_id} has no branch {state.branch}")
        holds = {path for path in ("config.json", ADAPTER_CONFIG_NAME) if path in state.files}
        pushed = {file.path_in_repo for file in self.files}
        if ADAPTER_CONFIG_NAME in holds and "config.json" in pushed and ADAPTER_CONFIG_NAME not in pushed:
            raise ValueError(f"{self.repo_id} holds an adapter: push a whole model to a repository of its own")
        if "config.json" in holds and ADAPTER_CONFIG_NAME not in holds and ADAPTER_CONFIG_NAME in pushed:
            raise ValueError(f"{self.repo_id} holds a whole model: push an adapter to a repository of its own")
        return state

    def _left_over(self, state: RepoState) -> tuple[str, ...]:
        """Return the weights and code of an earlier push that have no place beside these files."""
        pushed = {file.path_in_repo for file in self.files}
        # Only what these files take the place of: a processor alone replaces no weights.
        weights = any(path.endswith(".safetensors") for path in pushed)
        code = any(path in CODE_FILES for path in pushed)
        if self.repo_type == "space":
            # All code and weights of a Space are of one push, also where it shows another repository's weights now.
            folders = _FOLDERS_OF_SPACE | {path.partition("/")[0] for path in pushed if "/" in path}
            return tuple(
                path for path in sorted(state.files) if path not in pushed and path.partition("/")[0] in folders
            )
        if self.repo_type == "dataset":
            tables = any(_REPLACED_TABLES.fullmatch(path) for path in pushed)
            others = (path for path in sorted(state.files) if path not in pushed)
            return tuple(path for path in others if tables and _REPLACED_TABLES.fullmatch(path))
        return tuple(
            path
            for path in sorted(state.files)
            if path not in pushed and _REPLACED.fullmatch(path) and (code if path.endswith(".py") else weights)
        )

    def _upload(self, additions: list[CommitOperationAdd], state: RepoState) -> None:
        try:
            with self.client.short_waits():
                self.client.api.preupload_lfs_files(
                    self.repo_id,
                    additions,
                    repo_type=self.repo_type,
                    revision=state.base,
                    create_pr=self.create_pr,
                    free_memory=False,
                    # A .gitignore in the repository would leave out files, and not say so.
                    gitignore_content="",
                )
        except Exception as error:
            self._unchanged.check()  # the Hub refuses what is not what it was told to expect
            # Each request of it was tried again already.
            self.client.raise_clearly(error, f"uploading to {self.repo_id}")

    def _commit_info(self, commit: str, pr_url: str | None = None) -> CommitInfo:
        endpoint = self.client.api.endpoint
        folder = {"model": "", "dataset": "datasets/", "space": "spaces/"}[self.repo_type]
        url = f"{endpoint}/{folder}{self.repo_id}/commit/{commit}"
        return CommitInfo(url, self.message, self.description or "", commit, _endpoint=endpoint, pr_url=pr_url)

    def _find_pull_request(self, changed: tuple[PublishedFile, ...]) -> CommitInfo | None:
        """Find the pull request with these files that was opened although its answer was lost."""
        api, repo_id = self.client.api, self.repo_id
        listed = self.client.call(
            f"looking for the pull request on {repo_id}",
            lambda: list(
                api.get_repo_discussions(
                    repo_id, repo_type=self.repo_type, author=self.user, discussion_type="pull_request"
                )
            ),
        )
        for found in listed:
            if found.title != self.message or found.status not in ("open", "draft"):
                continue
            state = read_repo(self.client, repo_id, f"refs/pr/{found.num}", repo_type=self.repo_type)
            if state is not None and not state.new_branch and not state.differing(changed):
                return self._commit_info(state.commit, found.url)
        return None

    def _take_branch_back(self) -> None:
        """Remove a branch that was made for a commit that failed, unless it has a commit by now."""
        if self._branch_made_from is None or self.revision is None:
            return
        # The error that brought us here is the one to report; the branch says no more than the main one.
        with contextlib.suppress(Exception):
            if _commit_of(self.client, self.repo_id, self.revision, self.repo_type) == self._branch_made_from:
                self.client.api.delete_branch(self.repo_id, branch=self.revision, repo_type=self.repo_type)


def _is_same(file: PublishedFile, found: RepoFile | None) -> bool:
    if found is None or found.size != file.size:
        return False
    if found.lfs is not None:
        return bool(_hash(hashlib.sha256(), file) == found.lfs.sha256)
    # As git names a file's content.
    return bool(_hash(hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False), file) == found.blob_id)


def _hash(digest: hashlib._Hash, file: PublishedFile) -> str:
    if isinstance(file.content, bytes):
        digest.update(file.content)
        return digest.hexdigest()
    with Path(file.content).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
