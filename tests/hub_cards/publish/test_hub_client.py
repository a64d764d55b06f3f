# SPDX-License-Identifier: Apache-2.0
"""Waiting for the Hub: as long as it asks for, within reason, and never in silence."""

import datetime
import email.utils

import pytest

from geodit.hub_cards.publish.file_selection import PublishedFile
from geodit.hub_cards.publish.hub_client import MAX_WAIT, HubClient
from geodit.hub_cards.publish.push import push_files
from hub_server.faults import Status

REPO = "org/geodit-test"
FILES = [PublishedFile("model.safetensors", b"\2\0\0\0\0\0\0\0{}"), PublishedFile("LICENSE", b"mine")]
OPERATIONS = ["whoami", "repo_info", "tree", "preupload", "lfs_batch", "lfs_upload", "lfs_verify", "commit"]


@pytest.fixture
def client(hub) -> HubClient:
    return HubClient(hub.tokens.write, endpoint=hub.endpoint)


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr("geodit.hub_cards.publish.hub_client.logger.warning", said.append)
    return said


def in_seconds(seconds: float) -> str:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return email.utils.format_datetime(moment, usegmt=True)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [429, 503])
def test_a_day_is_not_waited_for(hub, client, no_waiting, operation, status):
    hub.add(REPO)
    hub.fail(operation, Status(status, headers={"Retry-After": "100000"}), times=9)
    with pytest.raises(ConnectionError, match="the Hub asks to wait 28 h: run it again then"):
        push_files(FILES, REPO, client=client)
    assert no_waiting == []
    assert hub.repos[REPO].head.message != "Upload a GeoDiT model"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"RateLimit": '"api";r=0;t=36000'}, "10 h"),
        ({"RateLimit": '"api";r=0;t=' + "9" * 400}, "very long"),
        ({"Retry-After": "9" * 400}, "very long"),
        ({"Retry-After": "600"}, "10 minutes"),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, "very long"),
    ],
)
def test_in_whatever_way_it_is_asked_for(hub, client, no_waiting, headers, told):
    hub.fail("whoami", Status(429, headers=headers), times=9)
    with pytest.raises(ConnectionError, match=f"the Hub asks to wait {told}: run it again then"):
        client.check_token()
    assert no_waiting == []


@pytest.mark.parametrize("said", ["-5", "soon", "", "1e3", "²", "Thu, 99 Foo 2026"])
def test_what_is_no_time_is_passed_over(hub, client, no_waiting, said):
    hub.fail("whoami", Status(503, headers={"Retry-After": said.encode("ascii", "ignore").decode()}))
    assert client.check_token() == "ada"
    assert no_waiting == [1.0]


def test_a_date_is_waited_for_until_it_is_there(hub, client, no_waiting, warnings):
    hub.fail("whoami", Status(503, headers={"Retry-After": in_seconds(120)}))
    hub.fail("whoami", Status(503, headers={"Retry-After": in_seconds(-120)}))
    assert client.check_token() == "ada"
    assert 100 < no_waiting[0] <= 120
    assert no_waiting[1] == 0


@pytest.mark.parametrize("operation", ["whoami", "tree", "lfs_upload", "commit"])
def test_a_wait_that_would_be_noticed_is_told(hub, client, no_waiting, warnings, operation):
    hub.add(REPO)
    hub.fail(operation, Status(429, headers={"Retry-After": str(int(MAX_WAIT))}))
    push_files(FILES, REPO, client=client)
    assert MAX_WAIT in [round(seconds - 1) for seconds in no_waiting] + no_waiting
    assert f"The Hub asks to wait: going on in {MAX_WAIT:.0f} seconds." in warnings


def test_a_short_one_is_not(hub, client, no_waiting, warnings):
    hub.fail("whoami", Status(429, headers={"Retry-After": "5"}))
    client.check_token()
    assert (no_waiting, warnings) == ([5.0], [])


def test_other_users_of_the_library_wait_as_before(hub, client):
    from huggingface_hub import get_session

    before = get_session().event_hooks
    client.check_token()
    assert get_session().event_hooks == before
