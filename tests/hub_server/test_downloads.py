# SPDX-License-Identifier: Apache-2.0
"""The real client lists and downloads what the Hub of the tests holds."""

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, RepoFolder, constants
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from hub_server.faults import DropResponse
from hub_server.hub import Hub
from hub_server.repository import File, Repository

pytestmark = pytest.mark.usefixtures("repo")

WEIGHTS = bytes(range(256)) * 4
FILES = {
    "config.json": File(b"{}"),
    "model.safetensors": File(WEIGHTS, lfs=True),
    "results/a b.json": File(b"[1]"),
    "results/seeds/0.json": File(b"[2]"),
}


@pytest.fixture
def repo(repo: Repository) -> Repository:
    repo.objects |= {file.sha256: file.content for file in FILES.values() if file.lfs}
    repo.commit("main", FILES, "Add")
    return repo


def test_a_folder_is_listed_or_everything(api: HfApi):
    assert [entry.path for entry in api.list_repo_tree("org/model", "results")] == [
        "results/a b.json",
        "results/seeds",
    ]
    assert set(api.list_repo_files("org/model")) == {".gitattributes", *FILES}
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("org/model", "nowhere"))


def test_a_long_listing_comes_in_pages(hub: Hub, api: HfApi):
    hub.page_size = 2
    listed = [entry.path for entry in api.list_repo_tree("org/model", recursive=True)]
    assert listed == sorted({".gitattributes", "results", "results/seeds", *FILES})
    assert len(hub.requested("tree")) == 4


def test_a_listed_file_has_size_and_hashes(api: HfApi):
    weights, folder = api.get_paths_info("org/model", ["model.safetensors", "results", "nowhere"])
    assert (weights.size, weights.lfs.sha256) == (len(WEIGHTS), FILES["model.safetensors"].sha256)
    assert isinstance(folder, RepoFolder)


def test_a_snapshot_holds_every_file_and_the_commit(tmp_path: Path, api: HfApi, repo: Repository):
    folder = Path(api.snapshot_download("org/model", cache_dir=tmp_path))
    assert folder.name == repo.head.sha
    assert {path: (folder / path).read_bytes() for path in FILES} == {p: file.content for p, file in FILES.items()}


def test_a_second_snapshot_downloads_only_what_changed(tmp_path: Path, hub: Hub, api: HfApi, repo: Repository):
    api.snapshot_download("org/model", cache_dir=tmp_path)
    repo.commit("main", {"config.json": File(b'{"a": 1}')}, "Change")
    hub.requests.clear()
    folder = Path(api.snapshot_download("org/model", cache_dir=tmp_path))
    assert (folder / "config.json").read_bytes() == b'{"a": 1}'
    assert [
        request.args["path"] for request in hub.requests if request.method == "GET" and "path" in request.args
    ] == ["config.json"]


def test_a_revision_pins_what_is_downloaded(tmp_path: Path, api: HfApi, repo: Repository):
    pinned = repo.head.sha
    repo.commit("main", {"config.json": File(b"new")}, "Change")
    folder = Path(api.snapshot_download("org/model", revision=pinned, cache_dir=tmp_path))
    assert (folder / "config.json").read_bytes() == b"{}"
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download("org/model", "config.json", revision="nowhere", cache_dir=tmp_path)


def test_a_missing_file_is_told_with_the_commit_it_is_missing_from(hub: Hub, api: HfApi, repo: Repository):
    assert not api.file_exists("org/model", "nowhere.json")
    answer = httpx2.head(f"{hub.endpoint}/org/model/resolve/main/nowhere.json")
    assert (answer.status_code, answer.headers["X-Repo-Commit"]) == (404, repo.head.sha)


@pytest.mark.parametrize("path", ["config.json", "model.safetensors"])
def test_the_head_of_a_file_identifies_it(hub: Hub, api: HfApi, repo: Repository, path: str):
    metadata = api.get_hf_file_metadata(url=f"{hub.endpoint}/org/model/resolve/main/{path}")
    file = FILES[path]
    assert (metadata.commit_hash, metadata.etag, metadata.size) == (repo.head.sha, file.etag, file.size)
    assert metadata.location.startswith(hub.storage if file.lfs else hub.endpoint)


@pytest.mark.parametrize(
    ("wanted", "status", "span", "content"),
    [
        ("bytes=1000-", 206, "bytes 1000-1023/1024", WEIGHTS[1000:]),
        ("bytes=2-3", 206, "bytes 2-3/1024", WEIGHTS[2:4]),
        ("bytes=1000-9999", 206, "bytes 1000-1023/1024", WEIGHTS[1000:]),
        ("bytes=1024-", 416, "bytes */1024", None),
    ],
)
def test_a_range_of_a_file_is_sent(hub: Hub, repo: Repository, wanted: str, status: int, span: str, content: bytes):
    address = f"{hub.endpoint}/org/model/resolve/main/model.safetensors"
    answer = httpx2.get(address, headers={"Range": wanted}, follow_redirects=True)
    assert (answer.status_code, answer.headers["Content-Range"]) == (status, span)
    assert content is None or answer.content == content


def test_a_broken_download_is_resumed(
    tmp_path: Path, hub: Hub, api: HfApi, monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
):
    # What came since the last whole chunk is lost.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)
    hub.fail("lfs_download", DropResponse(after=450))
    folder = Path(api.snapshot_download("org/model", cache_dir=tmp_path))
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [request.headers.get("range") for request in hub.requested("lfs_download")] == [None, "bytes=400-"]


def test_a_private_repository_is_downloaded_with_a_token(tmp_path: Path, api: HfApi, hub: Hub, repo: Repository):
    repo.private = True
    api.snapshot_download("org/model", cache_dir=tmp_path / "member", token=hub.tokens.read)
    with pytest.raises(RepositoryNotFoundError):
        api.snapshot_download("org/model", cache_dir=tmp_path / "anyone", token=False)


def test_another_process_takes_it_for_the_hub(tmp_path: Path, hub: Hub, repo: Repository):
    program = "import huggingface_hub as h; print(h.whoami()['name'], h.hf_hub_download('org/model', 'config.json'))"
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, env=hub.environment(tmp_path), check=True, capture_output=True, text=True).stdout
    user, path = out.split()
    assert user == "ada"
    assert Path(path).is_relative_to(tmp_path)
    assert Path(path).read_bytes() == b"{}"


def test_another_process_need_not_be_logged_in(tmp_path: Path, hub: Hub):
    environment = hub.environment(tmp_path, token=None)
    command = [sys.executable, "-c", "import huggingface_hub as h; print(h.get_token())"]
    assert subprocess.check_output(command, env=environment, text=True).strip() == "None"
