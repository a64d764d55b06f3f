# SPDX-License-Identifier: Apache-2.0
"""What is ordered to go wrong does, as the real client sees it, and what was not done leaves no trace."""

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub_server.faults import DropRequest, DropResponse, Slow, Status
from hub_server.hub import Hub
from hub_server.repository import Repository

pytestmark = pytest.mark.usefixtures("repo")

WEIGHTS = bytes(range(256)) * 4096


def push(api: HfApi, **options: bool):
    files = [CommitOperationAdd("a.txt", b"1"), CommitOperationAdd("model.safetensors", WEIGHTS)]
    return api.create_commit("org/model", files, commit_message="Add", **options)


@pytest.mark.parametrize("status", [401, 403, 409, 412, 429, 500, 503])
def test_a_status_refuses_the_commit_and_nothing_is_done(hub: Hub, api: HfApi, repo: Repository, status: int):
    before = repo.head
    hub.fail(on="commit", fault=Status(status, "not today"))
    with pytest.raises(HfHubHTTPError, match="not today") as error:
        push(api)
    assert error.value.response.status_code == status
    assert repo.head == before
    assert push(api).oid == repo.head.sha != before.sha


@pytest.mark.parametrize("operation", ["preupload", "lfs_batch", "lfs_upload", "lfs_verify"])
@pytest.mark.parametrize("status", [429, 500])
def test_the_client_tries_again_before_the_commit(
    hub: Hub, api: HfApi, repo: Repository, no_waiting: list[float], operation: str, status: int
):
    hub.fail(operation, Status(status), times=2)
    push(api)
    assert len(hub.requested(operation)) == 3
    assert repo.head.files["model.safetensors"].content == WEIGHTS
    # The client adds a second to what `Retry-After` asks for.
    assert no_waiting == ([1, 1] if status == 429 else [1, 2])


@pytest.mark.parametrize("fault", [DropRequest(), DropRequest(after=1000), DropResponse()])
def test_a_broken_upload_is_sent_again(
    hub: Hub, api: HfApi, repo: Repository, no_waiting: list[float], fault: DropRequest | DropResponse
):
    hub.fail("lfs_upload", fault)
    push(api)
    assert [len(request.body) for request in hub.requested("lfs_upload")][-1] == len(WEIGHTS)
    assert repo.head.files["model.safetensors"].content == WEIGHTS


def test_one_part_of_a_large_object_is_sent_again(hub: Hub, api: HfApi, repo: Repository, no_waiting: list[float]):
    hub.part_size = 2**19
    hub.fail("lfs_upload_part", Status(503), after=1)
    push(api)
    assert [request.args["number"] for request in hub.requested("lfs_upload_part")] == ["1", "2", "2"]
    assert repo.head.files["model.safetensors"].content == WEIGHTS


def test_a_commit_whose_request_breaks_is_not_made(hub: Hub, api: HfApi, repo: Repository):
    before = repo.head
    hub.fail("commit", DropRequest(after=10))
    with pytest.raises(httpx2.TransportError):
        push(api)
    assert repo.head == before


@pytest.mark.parametrize("fault", [DropResponse(), DropResponse(after=5)])
def test_a_commit_whose_response_breaks_is_made(hub: Hub, api: HfApi, repo: Repository, fault: DropResponse):
    hub.fail("commit", fault)
    with pytest.raises(httpx2.RemoteProtocolError):
        push(api)
    assert repo.head.message == "Add"


def test_a_slow_answer_waits_for_the_test(hub: Hub, api: HfApi, repo: Repository):
    before, slow = repo.head, Slow()
    hub.fail("commit", slow)
    pushed = api.run_as_future(push, api)
    assert slow.reached.wait(30)
    assert (pushed.done(), repo.head) == (False, before)
    slow.released.set()
    assert pushed.result(30).oid == repo.head.sha != before.sha


def test_a_client_that_does_not_wait_gives_up_a_slow_answer(hub: Hub, api: HfApi):
    hub.fail("repo_info", Slow())
    with pytest.raises(httpx2.TimeoutException):
        api.model_info("org/model", timeout=0.01)


def test_orders_are_carried_out_in_turn(hub: Hub, api: HfApi):
    hub.fail("whoami", Status(500))
    hub.fail("whoami", Status(403), after=1)
    for status in (500, None, 403, None):
        if status is None:
            assert api.whoami()["name"] == "ada"
        else:
            with pytest.raises(HfHubHTTPError, match=str(status)):
                api.whoami()


def test_an_operation_that_does_not_exist_cannot_fail(hub: Hub):
    with pytest.raises(ValueError, match="the Hub has no operation 'push'; it has auth_check, "):
        hub.fail("push", Status(500))


def test_what_the_hub_cannot_do_is_said(hub: Hub, api: HfApi):
    with pytest.raises(
        HfHubHTTPError, match="the Hub of the tests has no POST /api/models/org/model/super-squash/main"
    ):
        api.super_squash_history("org/model")
    assert len(hub.requested("unknown")) == 1
