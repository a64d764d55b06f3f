# SPDX-License-Identifier: Apache-2.0
"""A repository of the Hub in memory: files, commits, refs, discussions and LFS objects, without any HTTP."""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Literal

from hub_server.messages import HubError

GITATTRIBUTES = "".join(f"{name} filter=lfs diff=lfs merge=lfs -text\n" for name in ("*.safetensors", "*.bin", "*.pt"))
# The Hub takes no larger file into git itself.
REGULAR_LIMIT = 10 * 2**20


@dataclass(frozen=True)
class File:
    """A file of a commit; with `lfs`, git holds a pointer to it only."""

    content: bytes = field(repr=False)
    lfs: bool = False

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        """What git holds of an LFS file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def blob_id(self) -> str:
        """The hash that git gives it, of 40 hexadecimal digits."""
        blob = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()

    @property
    def etag(self) -> str:
        """What the client compares a file of its own with: the SHA-256 of an LFS file, git's hash of another."""
        return self.sha256 if self.lfs else self.blob_id


@dataclass(frozen=True)
class Commit:
    """A commit.

    Attributes:
        changes: What the request for it held: files by path, None for those deleted.
        files: All files after it, by path.
    """

    sha: str
    parent: str | None
    message: str
    description: str
    author: str
    changes: Mapping[str, File | None]
    files: Mapping[str, File] = field(repr=False)


@dataclass(frozen=True)
class Discussion:
    """A discussion, or a pull request if it has a `base`: the commit that it started from."""

    num: int
    title: str
    description: str
    author: str
    base: str | None = None
    status: Literal["open", "closed", "merged"] = "open"
    merge_commit: str | None = None

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.num}"


class Repository:
    """A model, data set or space.

    Args:
        repo_id: `namespace/name`.
        repo_type: "model", "dataset" or "space".
        private: Whether only members of the namespace see it.

    Attributes:
        commits: By hash.
        refs: Hash of a commit by full name, such as "refs/heads/main".
        discussions: By number, from 1.
        objects: LFS objects by SHA-256, committed or not.
        parts: Parts of LFS objects that are not whole yet, by SHA-256 of the object and number.
    """

    def __init__(self, repo_id: str, repo_type: str = "model", *, private: bool = False, author: str = "ada"):
        self.repo_id = repo_id
        self.repo_type = repo_type
        self.private = private
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}
        self.discussions: dict[int, Discussion] = {}
        self.objects: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        # One request changes a repository at a time; a route holds it from its checks to its last change.
        self.lock = threading.RLock()
        self._commit(
            "refs/heads/main", None, {".gitattributes": File(GITATTRIBUTES.encode())}, "initial commit", author
        )

    @property
    def namespace(self) -> str:
        return self.repo_id.split("/")[0]

    @property
    def head(self) -> Commit:
        """The newest commit of `main`."""
        return self.at("main")

    def ref(self, revision: str) -> str:
        """The full name of a branch, tag or pull request; RevisionNotFound if there is none."""
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in self.refs:
                return name
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def at(self, revision: str) -> Commit:
        """The commit of a branch, tag, pull request or full hash; RevisionNotFound if there is none."""
        return self.commits.get(revision) or self.commits[self.refs[self.ref(revision)]]

    def history(self, revision: str = "main") -> list[Commit]:
        """A commit and those before it, newest first."""
        commits = [self.at(revision)]
        while (parent := commits[-1].parent) is not None:
            commits.append(self.commits[parent])
        return commits

    def stores_in_lfs(self, path: str, sample: bytes, size: int, revision: str) -> bool:
        """Whether a file has to be uploaded by LFS: .gitattributes says so, it is large, or it is binary."""
        rules = self.at(revision).files.get(".gitattributes", File(b"")).content.decode().splitlines()
        patterns = [rule.split()[0] for rule in rules if "filter=lfs" in rule]
        name = path.rpartition("/")[2]
        return size > REGULAR_LIMIT or b"\0" in sample or any(fnmatch(name, pattern) for pattern in patterns)

    def commit(
        self,
        revision: str,
        changes: Mapping[str, File | None],
        message: str,
        *,
        description: str = "",
        author: str = "ada",
        parent: str | None = None,
    ) -> Commit:
        """Adds a commit to a branch or pull request.

        Args:
            parent: The commit that has to be its newest one; status 412 if another has come since.
        """
        with self.lock:
            ref = self.ref(revision)
            if ref.startswith("refs/tags/"):
                raise HubError(400, f"{revision} is a tag: commit to a branch")
            if parent is not None and parent != self.refs[ref]:
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            return self._commit(ref, self.refs[ref], changes, message, author, description)

    def open_discussion(self, title: str, description: str, author: str, *, base: str | None = None) -> Discussion:
        """Opens a discussion, or a pull request from the commit `base`."""
        with self.lock:
            discussion = Discussion(len(self.discussions) + 1, title, description, author, base)
            self.discussions[discussion.num] = discussion
            if base is not None:
                self.refs[discussion.ref] = base
            return discussion

    def merge(self, num: int, author: str) -> Commit:
        """Puts what a pull request changed on top of `main`; status 409 if `main` changed the same files."""
        with self.lock:
            request = self.discussions[num]
            if request.base is None or request.status != "open":
                raise HubError(400, f"#{num} is not an open pull request")
            if conflicts := self.conflicts(num):
                raise HubError(409, f"both main and #{num} changed {', '.join(conflicts)}")
            changes = self._difference(request.base, request.ref)
            commit = self._commit("refs/heads/main", self.refs["refs/heads/main"], changes, request.title, author)
            self.discussions[num] = replace(request, status="merged", merge_commit=commit.sha)
            return commit

    def conflicts(self, num: int) -> list[str]:
        """The files that a pull request and, since it was opened, `main` both changed."""
        request = self.discussions[num]
        if request.base is None or request.status == "merged":
            return []
        return sorted(self._difference(request.base, request.ref).keys() & self._difference(request.base, "main"))

    def _difference(self, before: str, after: str) -> dict[str, File | None]:
        old, new = self.at(before).files, self.at(after).files
        return {path: new.get(path) for path in sorted(old.keys() | new) if old.get(path) != new.get(path)}

    def _commit(
        self,
        ref: str,
        parent: str | None,
        changes: Mapping[str, File | None],
        message: str,
        author: str,
        description: str = "",
    ) -> Commit:
        files = {**(self.commits[parent].files if parent else {}), **changes}
        kept = {path: file for path, file in sorted(files.items()) if file is not None}
        named = [
            self.repo_id,
            str(parent),
            str(len(self.commits)),
            message,
            *(f"{p} {f.etag}" for p, f in kept.items()),
        ]
        sha = hashlib.sha1("\n".join(named).encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, message, description, author, dict(changes), kept)
        self.refs[ref] = sha
        return self.commits[sha]
