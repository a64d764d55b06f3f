# SPDX-License-Identifier: Apache-2.0
"""The real client uploads to the Hub of the tests: small files in the commit, large ones by LFS."""

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub_server.hub import Hub
from hub_server.repository import File, Repository

pytestmark = pytest.mark.usefixtures("repo")

WEIGHTS = bytes(range(256)) * 4


def add(**files: bytes) -> list[CommitOperationAdd]:
    """Operations that add files; `_` in a name stands for the dot."""
    return [CommitOperationAdd(name.replace("_", "."), content) for name, content in files.items()]


def contents(repo: Repository, revision: str = "main") -> dict[str, bytes]:
    return {path: file.content for path, file in repo.at(revision).files.items() if path != ".gitattributes"}


def test_a_commit_holds_small_files_and_names_large_ones(hub: Hub, api: HfApi, repo: Repository):
    before = repo.head
    files = add(config_json=b"{}", model_safetensors=WEIGHTS)
    made = api.create_commit("org/model", files, commit_message="Add a model", commit_description="It is small.")
    assert contents(repo) == {"config.json": b"{}", "model.safetensors": WEIGHTS}
    assert made.oid == repo.head.sha
    assert made.commit_url == f"{hub.endpoint}/org/model/commit/{made.oid}"
    assert (repo.head.parent, repo.head.message) == (before.sha, "Add a model")
    assert (repo.head.description, repo.head.author) == ("It is small.", "ada")
    assert repo.head.files["model.safetensors"].lfs
    assert [len(hub.requested(name)) for name in ("lfs_batch", "lfs_upload", "lfs_verify", "commit")] == [1, 1, 1, 1]
    assert WEIGHTS not in hub.requested("commit")[0].body


@pytest.mark.parametrize("content", [b"\0", b"a" * (10 * 2**20 + 1)], ids=["binary", "large"])
def test_what_git_does_not_hold_goes_to_lfs_whatever_its_name(hub: Hub, api: HfApi, repo: Repository, content: bytes):
    api.create_commit("org/model", add(a_txt=content), commit_message="Add")
    assert repo.head.files["a.txt"].lfs


def test_a_second_commit_holds_only_what_changed(hub: Hub, api: HfApi, repo: Repository):
    api.create_commit("org/model", add(a_txt=b"1", b_txt=b"1", model_safetensors=WEIGHTS), commit_message="First")
    api.create_commit("org/model", add(a_txt=b"1", b_txt=b"2", model_safetensors=WEIGHTS), commit_message="Second")
    assert list(repo.head.changes) == ["b.txt"]
    assert contents(repo) == {"a.txt": b"1", "b.txt": b"2", "model.safetensors": WEIGHTS}
    assert len(hub.requested("lfs_upload")) == 1


def test_the_same_again_is_no_commit(hub: Hub, api: HfApi, repo: Repository):
    first = api.create_commit("org/model", add(a_txt=b"1", model_safetensors=WEIGHTS), commit_message="First")
    again = api.create_commit("org/model", add(a_txt=b"1", model_safetensors=WEIGHTS), commit_message="Again")
    assert again.oid == first.oid
    assert [commit.message for commit in repo.history()] == ["First", "initial commit"]


def test_an_object_that_is_there_is_not_uploaded_again(hub: Hub, api: HfApi, repo: Repository):
    api.preupload_lfs_files("org/model", add(model_safetensors=WEIGHTS))
    assert (list(repo.objects.values()), contents(repo)) == ([WEIGHTS], {})
    api.create_commit("org/model", add(model_safetensors=WEIGHTS), commit_message="Add")
    assert contents(repo) == {"model.safetensors": WEIGHTS}
    assert len(hub.requested("lfs_upload")) == 1


def test_a_large_object_is_uploaded_in_parts(hub: Hub, api: HfApi, repo: Repository):
    hub.part_size = 300
    api.create_commit("org/model", add(model_safetensors=WEIGHTS), commit_message="Add")
    assert [len(part.body) for part in hub.requested("lfs_upload_part")] == [300, 300, 300, 124]
    assert len(hub.requested("lfs_complete")) == 1
    assert contents(repo) == {"model.safetensors": WEIGHTS}


def test_files_are_uploaded_from_disk(tmp_path, hub: Hub, api: HfApi, repo: Repository):
    (tmp_path / "training").mkdir()
    (tmp_path / "training/log.jsonl").write_bytes(b"{}\n")
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    api.upload_folder(repo_id="org/model", folder_path=tmp_path)
    assert contents(repo) == {"model.safetensors": WEIGHTS, "training/log.jsonl": b"{}\n"}


def test_files_and_folders_are_deleted(hub: Hub, api: HfApi, repo: Repository):
    repo.commit("main", dict.fromkeys(("a", "b/c", "b/d", "e"), File(b"")), "Add")
    deletions = [CommitOperationDelete("a"), CommitOperationDelete("b/")]
    api.create_commit("org/model", deletions, commit_message="Delete")
    assert list(contents(repo)) == ["e"]
    with pytest.raises(HfHubHTTPError, match="A file with this name doesn't exist"):
        api.create_commit("org/model", [CommitOperationDelete("a")], commit_message="Delete")


def test_a_commit_on_another_parent_is_refused(hub: Hub, api: HfApi, repo: Repository):
    first = repo.head.sha
    api.create_commit("org/model", add(a_txt=b"1"), commit_message="Mine", parent_commit=first)
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as error:
        api.create_commit("org/model", add(a_txt=b"2"), commit_message="Theirs", parent_commit=first)
    assert error.value.response.status_code == 412
    assert contents(repo) == {"a.txt": b"1"}


def test_a_commit_cannot_name_an_object_that_was_not_uploaded(hub: Hub, api: HfApi, repo: Repository):
    operations = add(model_safetensors=WEIGHTS)
    api.preupload_lfs_files("org/model", operations, free_memory=False)
    repo.objects.clear()
    with pytest.raises(HfHubHTTPError, match="LFS pointer pointed to a file that does not exist"):
        api.create_commit("org/model", operations, commit_message="Add")
    assert contents(repo) == {}


@pytest.mark.parametrize("who", ["read", "stranger", "wrong", None])
def test_without_the_right_to_write_nothing_is_uploaded(hub: Hub, api: HfApi, repo: Repository, who: str | None):
    token = getattr(hub.tokens, who) if who else False
    with pytest.raises(HfHubHTTPError) as error:
        api.create_commit("org/model", add(model_safetensors=WEIGHTS), commit_message="Add", token=token)
    assert error.value.response.status_code == (403 if who in ("read", "stranger") else 401)
    assert (contents(repo), repo.objects) == ({}, {})


def test_no_token_is_recorded_and_none_goes_to_the_storage(hub: Hub, api: HfApi, repo: Repository):
    api.create_commit("org/model", add(a_txt=b"1", model_safetensors=WEIGHTS), commit_message="Add")
    assert not any(token in repr(vars(request)) for request in hub.requests for token in hub.tokens)
    callers = {request.operation: request.caller and request.caller.role for request in hub.requests}
    assert (callers["commit"], callers["lfs_upload"]) == ("write", None)
