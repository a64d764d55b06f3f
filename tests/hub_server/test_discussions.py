# SPDX-License-Identifier: Apache-2.0
"""The real client opens, finds and merges pull requests on the Hub of the tests."""

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub_server.hub import Hub
from hub_server.repository import File, Repository

pytestmark = pytest.mark.usefixtures("repo")


def propose(api: HfApi, content: bytes = b"1", *, path: str = "a.txt", token: str | None = None):
    files = [CommitOperationAdd(path, content)]
    return api.create_commit("org/model", files, commit_message="Propose", create_pr=True, token=token)


def test_a_commit_opens_a_pull_request_and_leaves_main_alone(hub: Hub, api: HfApi, repo: Repository):
    before = repo.head
    made = propose(api)
    assert (made.pr_url, made.pr_revision) == (f"{hub.endpoint}/org/model/discussions/1", "refs/pr/1")
    assert repo.head == before
    assert repo.at("refs/pr/1").files["a.txt"].content == b"1"
    refs = api.list_repo_refs("org/model", include_pull_requests=True)
    assert [(ref.name, ref.target_commit) for ref in refs.pull_requests] == [("refs/pr/1", made.oid)]
    assert api.model_info("org/model", revision="refs/pr/1").sha == made.oid


def test_a_large_file_is_proposed_by_whoever_sees_the_repository(hub: Hub, api: HfApi, repo: Repository):
    propose(api, b"\0", path="model.safetensors", token=hub.tokens.stranger)
    assert repo.discussions[1].author == "sam"
    assert repo.at("refs/pr/1").files["model.safetensors"].lfs
    with pytest.raises(HfHubHTTPError, match="403"):
        propose(api, token=hub.tokens.read)


def test_a_second_commit_goes_to_the_same_pull_request(api: HfApi, repo: Repository):
    propose(api)
    api.upload_file(path_or_fileobj=b"2", path_in_repo="b.txt", repo_id="org/model", revision="refs/pr/1")
    assert list(repo.discussions) == [1]
    details = api.get_discussion_details("org/model", 1)
    assert (details.is_pull_request, details.status, details.target_branch) == (True, "open", "refs/heads/main")
    assert [event.type for event in details.events] == ["comment", "commit", "commit"]


def test_a_pull_request_is_merged(api: HfApi, repo: Repository):
    propose(api)
    repo.commit("main", {"b.txt": File(b"2")}, "Meanwhile")
    api.merge_pull_request("org/model", 1)
    assert {"a.txt", "b.txt"} <= repo.head.files.keys()
    details = api.get_discussion_details("org/model", 1)
    assert (details.status, details.merge_commit_oid) == ("merged", repo.head.sha)


def test_a_pull_request_that_conflicts_is_not_merged(api: HfApi, repo: Repository):
    propose(api)
    repo.commit("main", {"a.txt": File(b"2")}, "Meanwhile")
    assert api.get_discussion_details("org/model", 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match="both main and #1 changed a"):
        api.merge_pull_request("org/model", 1)
    assert repo.head.message == "Meanwhile"


def test_discussions_are_found_by_kind_status_and_author(hub: Hub, api: HfApi):
    hub.page_size = 1
    api.create_discussion("org/model", "A question", token=hub.tokens.stranger)
    api.create_pull_request("org/model", "A change")
    api.create_pull_request("org/model", "Another")
    api.change_discussion_status("org/model", 3, "closed")

    def found(**wanted: str) -> list[int]:
        return [discussion.num for discussion in api.get_repo_discussions("org/model", **wanted)]

    assert found() == [1, 2, 3]
    assert found(discussion_type="pull_request", discussion_status="open") == [2]
    assert found(discussion_type="discussion") == found(author="sam") == [1]
    assert found(discussion_status="closed") == [3]


def test_an_unknown_discussion_is_not_found(api: HfApi):
    with pytest.raises(HfHubHTTPError, match="there is no discussion #7"):
        api.get_discussion_details("org/model", 7)
