# SPDX-License-Identifier: Apache-2.0
"""Pushing what `push_to_hub` of a model, a processor or a configuration has saved, with a card of the whole.

Each of them saves a part of a checkpoint. The card is of all that the repository holds after the push, and so is made
in a copy of the repository, without the weights: of those that are not pushed the headers are enough.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CommitInfo
from huggingface_hub.utils import SafetensorsFileMetadata  # type: ignore[attr-defined]

from geodit.configuration.text_files import read_text
from geodit.configuration.types_geodit import Arguments, JsonObject
from geodit.hub_cards.card.checkpoint_files import read_front_matter
from geodit.hub_cards.publish.file_selection import PublishedFile, published_files
from geodit.hub_cards.publish.hub_client import HubClient
from geodit.hub_cards.publish.push import RepoState, push_files, read_repo, resolve_repo_id
from geodit.hub_cards.publish.run_folders import link_file

__all__ = ["push_saved"]

_CARD = "README.md"
# What a card is made of, beside weights: settings, tokenizer and licence; recipes and logs, results, pictures.
_DESCRIBES = re.compile(r"[^/]+\.(json|jinja)|LICENSE|(training|results|assets)/.+")
_KEPT_METADATA = ("license", "language", "base_model", "datasets", "tags")
_LISTS = ("datasets", "tags")


def push_saved(
    folder: str | Path,
    repo_id: str,
    *,
    commit_message: str,
    commit_description: str | None = None,
    private: bool | None = None,
    token: bool | str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    tags: Sequence[str] = (),
) -> CommitInfo:
    """Push the files of a folder to a repository, and the card of what it holds then, in one commit.

    The licence, language, base models, data sets and tags of the card that is there stay. A processor in a
    repository that has no model yet comes without a card.

    Args:
        folder: The folder that `save_pretrained` wrote. Nothing is written to it.
        repo_id: Hub id of the repository, which is made if it does not exist.
        commit_message: First line of the commit message.
        commit_description: The rest of it.
        private: Whether a repository that is made is private; by default as the organization has it.
        token: Token with write access; by default, and if true, `HF_TOKEN`, or that of `hf auth login`.
        revision: The branch to push to, by default the main one.
        create_pr: Whether to open a pull request instead.
        tags: Tags of the card beside those that it has, and those that every GeoDiT model has.

    Raises:
        PermissionError: If the Hub does not accept the token, or it gives no access.
        ConnectionError: If the connection keeps breaking, or the Hub stays busy.
        ValueError: If the Hub refuses the files, or the repository is not one to push this to.
    """
    if token is False:
        raise PermissionError("a push needs a token: leave token=False out")
    client = HubClient(token if isinstance(token, str) else None)
    repo_id = resolve_repo_id(repo_id, client.check_token())
    state = read_repo(client, repo_id, revision)
    saved = {path.relative_to(folder).as_posix(): path for path in sorted(Path(folder).rglob("*")) if path.is_file()}
    with tempfile.TemporaryDirectory(prefix="geodit-") as temporary:
        view = Path(temporary)
        for path, source in saved.items():
            (view / path).parent.mkdir(parents=True, exist_ok=True)
            link_file(source, view / path)
        metadata: Arguments = {}
        stand_ins: set[str] = set()
        if state is not None:
            _fetch_descriptions(client, repo_id, state, view)
            stand_ins = _write_headers(client, repo_id, state, view)
            metadata = _metadata_there(client, repo_id, state)
        if (view / "config.json").is_file() and any(view.glob("*.safetensors")):
            metadata["tags"] = [*metadata.get("tags", ()), *tags]
            files = [
                file
                for file in published_files(view, repo_id=repo_id, **metadata)
                if file.path_in_repo not in stand_ins
            ]
        else:
            files = [PublishedFile(path, source) for path, source in saved.items()]
        result = push_files(
            files,
            repo_id,
            client=client,
            private=private,
            revision=revision,
            create_pr=create_pr,
            message=commit_message,
            description=commit_description,
        )
    return result.commit


def _fetch_descriptions(client: HubClient, repo_id: str, state: RepoState, view: Path) -> None:
    """Download what the card is made of, where the view lacks it."""
    for path in sorted(state.files):
        if _DESCRIBES.fullmatch(path) and not (view / path).exists():
            (view / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_download(client, repo_id, state, path), view / path)


def _write_headers(client: HubClient, repo_id: str, state: RepoState, view: Path) -> set[str]:
    """Put a file with the header alone in the place of each file of weights, if the view has no weights."""
    if any(view.glob("*.safetensors")):
        return set()
    weights = {path for path in state.files if re.fullmatch(r"[^/]+\.safetensors", path)}
    for path in sorted(weights):
        header = client.call(
            f"reading the header of {path} in {repo_id}",
            client.api.parse_safetensors_file_metadata,
            repo_id,
            path,
            revision=state.commit,
        )
        content = _header_bytes(header)
        with (view / path).open("wb") as file:
            file.write(content)
            # As long as the whole, for which most file systems take no space.
            file.truncate(len(content) + max((end for _, end in _offsets(header)), default=0))
    return weights


def _offsets(header: SafetensorsFileMetadata) -> list[tuple[int, int]]:
    return [tensor.data_offsets for tensor in header.tensors.values()]


def _header_bytes(header: SafetensorsFileMetadata) -> bytes:
    """Return the header as it stands at the beginning of a file: its length in 8 bytes, and JSON."""
    fields: JsonObject = {
        name: {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": tensor.data_offsets}
        for name, tensor in header.tensors.items()
    }
    if header.metadata:
        fields["__metadata__"] = header.metadata
    content = json.dumps(fields).encode()
    return struct.pack("<Q", len(content)) + content


def _metadata_there(client: HubClient, repo_id: str, state: RepoState) -> Arguments:
    """Return what someone has said of the model in the card that is there."""
    if _CARD not in state.files:
        return {}
    try:
        metadata = read_front_matter(read_text(_download(client, repo_id, state, _CARD)), _CARD)
    except ValueError:  # whatever it is, it is no metadata of ours
        return {}
    kept = {name: metadata[name] for name in _KEPT_METADATA if _is_text(metadata.get(name))}
    return {name: [value] if name in _LISTS and isinstance(value, str) else value for name, value in kept.items()}


def _is_text(value: object) -> bool:
    """Return whether it is text, or a list of texts, and not empty."""
    texts = value if isinstance(value, list) else [value]
    return bool(value) and all(isinstance(text, str) for text in texts)


def _download(client: HubClient, repo_id: str, state: RepoState, path: str) -> str:
    return client.call(
        f"reading {path} in {repo_id}", client.api.hf_hub_download, repo_id, path, revision=state.commit
    )
