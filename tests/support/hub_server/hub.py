# SPDX-License-Identifier: Apache-2.0
"""The state of the Hub: its repositories, who may do what with them, what was asked of it and what is to go wrong."""

import os
import threading
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from hub_server.accounts import Account, Tokens
from hub_server.faults import Fault, Slow
from hub_server.messages import HubError, Request
from hub_server.repository import Repository


class Hub:
    """What a test sees of the Hub that runs for it.

    Args:
        endpoint: Address of the Hub, for `HfApi(endpoint=...)`.
        storage: Address of the storage of LFS objects. Another origin than the Hub, so that a client that sends its
            token there is found out.
        operations: Names of what the Hub can do.

    Attributes:
        tokens: Tokens of several rights.
        repos: Repositories by name, "org/model" or "datasets/org/data".
        requests: Every request in the order of arrival.
        page_size: Longest page of a listing, in entries.
        part_size: Size in bytes above which an LFS object is uploaded in parts of this size.
    """

    def __init__(self, endpoint: str, storage: str, operations: Collection[str]):
        self.endpoint = endpoint
        self.storage = storage
        self.tokens = Tokens()
        self.repos: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.page_size = 1000
        self.part_size = 64 * 2**20
        self._operations = operations
        self._orders: defaultdict[str, list[Fault | None]] = defaultdict(list)
        self._slow: list[Slow] = []
        self._lock = threading.Lock()

    def fail(self, on: str, fault: Fault, *, times: int = 1, after: int = 0) -> None:
        """Orders that the next requests of an operation go wrong.

        Args:
            on: Name of an operation: that of the function in `routes` that answers it.
            fault: What happens.
            times: To how many requests. Orders for the same operation are carried out one after the other.
            after: How many requests go well before.
        """
        if on not in self._operations:
            raise ValueError(f"the Hub has no operation {on!r}; it has {', '.join(sorted(self._operations))}")
        with self._lock:
            self._orders[on] += [None] * after + [fault] * times

    def go_well(self) -> None:
        """Takes back what was ordered to go wrong and has not yet."""
        with self._lock:
            self._orders.clear()

    def requested(self, operation: str) -> list[Request]:
        """The requests of one operation, in the order of arrival."""
        return [request for request in self.requests if request.operation == operation]

    def environment(self, home: Path, *, token: str | None = Tokens().write) -> dict[str, str]:
        """The environment of a process that takes this for the Hub, with a cache of its own.

        Args:
            home: Folder for what the client keeps.
            token: The token it is logged in with; None for none.
        """
        others = ("HF_", "HUGGING", "TRANSFORMERS_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        return inherited | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            # With hf_xet installed the client uploads by Xet only, whatever a server answers.
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            **({"HF_TOKEN": token} if token else {}),
        }

    def find(self, repo_id: str, repo_type: str = "model") -> Repository | None:
        """The repository of this name, if there is one."""
        return self.repos.get(_qualified(repo_id, repo_type))

    def add(self, repo_id: str, repo_type: str = "model", *, private: bool = False) -> Repository:
        """Makes a repository; status 409 if it exists."""
        with self._lock:
            if self.find(repo_id, repo_type) is not None:
                raise HubError(409, f"You already created this {repo_type} repo")
            made = Repository(repo_id, repo_type, private=private)
            self.repos[_qualified(repo_id, repo_type)] = made
            return made

    def url(self, repository: Repository) -> str:
        """The page of a repository."""
        return f"{self.endpoint}/{_qualified(repository.repo_id, repository.repo_type)}"

    def storage_url(self, repository: Repository, oid: str) -> str:
        """Where an LFS object is put and read. Who knows it needs no token, as with a signed address."""
        return f"{self.storage}/{repository.repo_type}s/{repository.repo_id}/{oid}"

    def stored(self, request: Request) -> tuple[Repository, str]:
        """The repository and SHA-256 that a request to the storage names; status 400 if it came with a token."""
        if request.caller is not None:
            raise HubError(400, "the storage is not the Hub: a token must not be sent there")
        repository = self._named(request)
        if repository is None:
            raise HubError(404, "there is nothing at this address")
        return repository, request.args["oid"]

    def readable(self, request: Request) -> Repository:
        """The repository that a request names; 401 or 404 if it does not exist for the caller."""
        repository, caller = self._named(request), request.caller
        if repository is None or (repository.private and not (caller and caller.belongs_to(repository.namespace))):
            # As the Hub does: who is not logged in cannot tell a private repository from one that does not exist.
            raise HubError(404 if caller else 401, "Repository not found", "RepoNotFound")
        return repository

    def writable(self, request: Request, *, as_pull_request: bool = False) -> Repository:
        """The repository that a request names; 401, 403 or 404 if the caller may not change it.

        Args:
            as_pull_request: Whether the change is a pull request, for which it is enough to see the repository.
        """
        caller = self.authenticated(request)
        repository = self.readable(request)
        if caller.role != "write":
            raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
        if not as_pull_request and not caller.belongs_to(repository.namespace):
            raise HubError(403, f'Forbidden: you do not have write access to "{repository.repo_id}"')
        return repository

    def authenticated(self, request: Request) -> Account:
        """Who calls; 401 if nobody is logged in."""
        if request.caller is None:
            raise HubError(401, "Invalid username or password.")
        return request.caller

    def next_fault(self, operation: str) -> Fault | None:
        """What goes wrong with this request. The order is crossed off."""
        with self._lock:
            fault = self._orders[operation].pop(0) if self._orders[operation] else None
            if isinstance(fault, Slow):
                self._slow.append(fault)
            return fault

    def release(self) -> None:
        """Lets all slow answers go on."""
        with self._lock:
            for fault in self._slow:
                fault.released.set()

    def _named(self, request: Request) -> Repository | None:
        repo_type = request.args.get("repo_types", "models").removesuffix("s")
        return self.find(f"{request.args['namespace']}/{request.args['name']}", repo_type)


def _qualified(repo_id: str, repo_type: str) -> str:
    """The name of a repository in addresses, which is what it is kept under."""
    return repo_id if repo_type == "model" else f"{repo_type}s/{repo_id}"
