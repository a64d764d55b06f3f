# SPDX-License-Identifier: Apache-2.0
"""Data sets of the Hub: what names one, what files it has, and fetching them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path

from huggingface_hub import HfApi, RepoFile
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from geodit.configuration.hub_ids import hub_id_problem
from geodit.configuration.secrets import mask_secrets

__all__ = ["HubDataset", "hub_dataset"]

_PREFIX = "hub:"
_NAME = re.compile(r"(?P<repo>[^/@\s]+/[^/@\s]+)(?:@(?P<revision>[^@\s]+))?")
_MAX_FILES = 100_000
# Whatever HTTP library huggingface_hub is built on, its errors have this base.
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]


@dataclass(frozen=True)
class HubDataset:
    """A data set of the Hub.

    Args:
        repo_id: Its Hub id, `owner/name`.
        revision: Branch, tag or commit; by default the main branch.
    """

    repo_id: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"

    def pinned(self) -> HubDataset:
        """Return it at the commit that its revision now is.

        Raises:
            FileNotFoundError: If there is no such data set, or no such revision.
            PermissionError: If its owner gives access only to some, and not to the user.
            ConnectionError: If the Hub cannot be reached.
        """
        with _clear_errors(self):
            return replace(self, revision=HfApi().dataset_info(self.repo_id, revision=self.revision).sha)

    def files(self) -> list[RepoFile]:
        """Return its files, ordered by their paths; errors are those of [`HubDataset.pinned`].

        Raises:
            ValueError: If there is no end of them.
        """
        found: list[RepoFile] = []
        with _clear_errors(self):
            listed = HfApi().list_repo_tree(self.repo_id, recursive=True, revision=self.revision, repo_type="dataset")
            for number, item in enumerate(listed):
                if number == _MAX_FILES:
                    raise ValueError(f"{self} has more than {_MAX_FILES:,} files: name another data set")
                if isinstance(item, RepoFile):
                    found.append(item)
        return sorted(found, key=lambda file: file.path)

    def download(self, patterns: Sequence[str]) -> Path:
        """Download files into the cache of `huggingface_hub`, those that are not there yet.

        Args:
            patterns: Of their paths, with `*`.

        Returns:
            The folder with the data set.

        Raises:
            FileNotFoundError, PermissionError, ConnectionError: As [`HubDataset.pinned`].
        """
        from huggingface_hub import snapshot_download

        with _clear_errors(self):
            return Path(
                snapshot_download(
                    self.repo_id, repo_type="dataset", revision=self.revision, allow_patterns=list(patterns)
                )
            )

    def address(self, path: str) -> str:
        """Return the address of one of its files for `datasets` and fsspec."""
        revision = "" if self.revision is None else f"@{self.revision.replace('/', '%2F')}"
        return f"hf://datasets/{self.repo_id}{revision}/{path}"


def hub_dataset(name: str | PathLike[str]) -> HubDataset | None:
    """Return the data set of the Hub that a name stands for; `None` if it is that of a file or folder here.

    Args:
        name: `"owner/name"` or `"owner/name@revision"`, where there is no such folder here and none called as the
            owner, or either after `"hub:"`, which never is a folder.

    Raises:
        ValueError: If what follows `"hub:"` is no name of a data set.
    """
    text = fspath(name)
    explicit = text.startswith(_PREFIX)
    found = _NAME.fullmatch(text.removeprefix(_PREFIX))
    problem = "it is not owner/name" if found is None else hub_id_problem(found["repo"])
    if explicit and problem is not None:
        raise ValueError(
            f"{text} names no data set of the Hub, such as hub:owner/name or hub:owner/name@main: {problem}"
        )
    if found is None or problem is not None:
        return None
    if not explicit and (Path(text).exists() or Path(found["repo"]).parent.exists()):
        return None
    return HubDataset(found["repo"], found["revision"])


@contextlib.contextmanager
def _clear_errors(dataset: HubDataset) -> Iterator[None]:
    """Raise the errors of `huggingface_hub` as errors of one line."""
    try:
        yield
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"the data set {dataset.repo_id} has no revision {dataset.revision}") from error
    except GatedRepoError as error:
        raise PermissionError(
            f"the data set {dataset.repo_id} is only for those who accept its terms: do so on its page, and log in by "
            "`hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"there is no folder {dataset.repo_id}, and no data set of that name on the Hub; log in by `hf auth "
            "login` if it is private"
        ) from error
    except OfflineModeIsEnabled as error:
        raise ConnectionError(
            f"the data set {dataset} cannot be fetched in offline mode: unset HF_HUB_OFFLINE"
        ) from error
    except (LocalEntryNotFoundError, _TRANSPORT_ERROR) as error:
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        reason = mask_secrets(" ".join(str(cause).split()))
        raise ConnectionError(
            f"there is no folder {dataset.repo_id}, and the Hub cannot be asked for such a data set: {reason:.300}"
        ) from error
