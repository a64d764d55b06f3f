# SPDX-License-Identifier: Apache-2.0
"""Whatever a Hub, or something between it and us, answers: a push or a download works, or is one error in one line."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geodit.hub_cards.card.checkpoint_files import read_front_matter
from geodit.hub_cards.publish.file_selection import PublishedFile
from geodit.hub_cards.publish.hub_client import HubClient
from geodit.hub_cards.publish.push import push_files, read_repo
from geodit.hub_cards.publish.push_to_hub import push_saved
from hub_server.faults import Altered
from hub_server.hub import Hub
from hub_server.messages import Response
from hub_server.repository import File

REPO = "org/geodit-test"
WEIGHTS = b"\x5a\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(90) + b"\0\0\0\0"
FILES = [
    PublishedFile("model.safetensors", WEIGHTS),
    PublishedFile("config.json", b"{}"),
    PublishedFile("README.md", b"---\nlicense: mit\n---\n"),
]
OURS = (PermissionError, ConnectionError, ValueError, OSError)
OPERATIONS = ["whoami", "repo_info", "tree", "preupload", "lfs_batch", "lfs_upload", "commit", "create_repo"]
VALUES = st.sampled_from(
    [None, True, -1, 0, 10**30, 1e308, "", "x", "../../x", "\x00", "🛰", [], [None], {}, {"a": None}, [[[]]]]
)
BODIES = st.sampled_from(
    [b"", b"null", b"[]", b"{}", b"{", b"\xff\xfe", b"<html>busy</html>", b"[" * 100_000, b"1" * 5000]
)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "X-Error-Code", "X-Error-Message", "Retry-After", "ETag", "X-Repo-Commit"]),
    st.sampled_from(["", "0", "-1", "text/html", "RepoNotFound", "RevisionNotFound", "EntryNotFound", "x" * 3000]),
    max_size=3,
)
STATUSES = st.sampled_from(
    [200, 201, 204, 301, 400, 401, 402, 403, 404, 409, 410, 412, 413, 418, 422, 429, 451, 500, 503, 599]
)


@st.composite
def changes(draw: st.DrawFn) -> Callable[[Response], Response]:
    """How an answer is changed: a field of its body, all of it, its status or its headers."""
    kind = draw(st.sampled_from(["field", "field", "field", "body", "status"]))
    path, value = draw(st.lists(st.integers(0, 30), min_size=1, max_size=4)), draw(VALUES)
    remove, body, status, headers = draw(st.booleans()), draw(BODIES), draw(STATUSES), draw(HEADERS)

    def change(response: Response) -> Response:
        if kind == "body":
            return Response(response.status, {**response.headers, **headers}, body)
        if kind == "status":
            return Response(status, {**response.headers, **headers}, response.body)
        try:
            document = json.loads(response.body)
        except ValueError:
            return Response(response.status, response.headers, body)
        altered = json.dumps(_altered(document, path, value, remove)).encode()
        return Response(response.status, response.headers, altered)

    return change


def _altered(document: Any, path: list[int], value: Any, remove: bool) -> Any:
    """A document with one value replaced, or left out; `path` says which, whatever its form."""
    if not path or not isinstance(document, dict | list) or not document:
        return value
    keys = sorted(document) if isinstance(document, dict) else range(len(document))
    key = keys[path[0] % len(keys)]
    copy = dict(document) if isinstance(document, dict) else list(document)
    if len(path) == 1 and remove:
        del copy[key]
    else:
        copy[key] = _altered(document[key], path[1:], value, remove)
    return copy


def attempt(hub: Hub, action: Callable[[], Any]) -> None:
    """Does it, and tells an error that is ours from any other."""
    try:
        action()
    except OURS as error:
        message = str(error)
        assert message
        assert hub.tokens.write not in message
        assert len(" ".join(message.split())) < 2000
    finally:
        hub.go_well()


FUZZ = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(operation=st.sampled_from(OPERATIONS), change=changes(), times=st.sampled_from([1, 99]), there=st.booleans())
def test_a_push(hub, no_waiting, operation, change, times, there):
    hub.repos.clear()
    if there:
        hub.add(REPO)
    hub.fail(operation, Altered(change), times=times)
    attempt(hub, lambda: push_files(FILES, REPO, client=HubClient(hub.tokens.write, endpoint=hub.endpoint)))


@pytest.fixture
def processor(checkpoint, tmp_path) -> Path:
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    return tmp_path


# A line stands for nine times what the one before it does.
ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcd", "bcde", strict=True)
)
ALIASES += "tags: [*e]\n"


def publish(hub: Hub, checkpoint: Path, front_matter: str) -> None:
    """Has a model, with a card, in a repository of a Hub."""
    repository = hub.add(REPO)
    weights = File((checkpoint / "model.safetensors").read_bytes(), lfs=True)
    repository.objects[weights.sha256] = weights.content
    changes = {name: File((checkpoint / name).read_bytes()) for name in ("config.json", "generation_config.json")}
    card = File(f"---\n{front_matter}---\n".encode())
    repository.commit("main", {**changes, "model.safetensors": weights, "README.md": card}, "a model")


@settings(FUZZ, max_examples=15)
@given(operation=st.sampled_from(["tree", "resolve", "lfs_download", "repo_info"]), change=changes())
def test_a_push_that_downloads(default_hub, no_waiting, checkpoint, processor, operation, change):
    hub = default_hub
    hub.repos.clear()
    publish(hub, checkpoint, "license: mit\ntags: x\n")
    hub.fail(operation, Altered(change), times=99)
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", cache)
        attempt(hub, lambda: push_saved(processor, REPO, commit_message="x", token=hub.tokens.write))


@pytest.mark.parametrize(
    "path", ["training/../../../evil.yaml", "/evil.json", "results\\..\\..\\evil.json", "assets/\x00.json"]
)
def test_a_file_outside_the_repository_is_not_looked_at(hub, path):
    hub.add(REPO)
    entry = {"type": "file", "path": path, "size": 1, "oid": "0" * 40}
    hub.fail("tree", Altered(lambda _: Response.of_json([entry])))
    with pytest.raises(ValueError, match="tells of a file outside org/geodit-test"):
        read_repo(HubClient(hub.tokens.write, endpoint=hub.endpoint), REPO)


def test_a_listing_without_end_is_given_up(hub):
    hub.add(REPO)
    again = {"Link": f'<{hub.endpoint}/api/models/{REPO}/tree/main>; rel="next"'}
    hub.fail("tree", Altered(lambda _: Response.of_json([], headers=again)), times=1000)
    with pytest.raises(ConnectionError, match="answers without end"):
        read_repo(HubClient(hub.tokens.write, endpoint=hub.endpoint), REPO)


def test_a_user_without_a_name_is_one_error(hub):
    hub.fail("whoami", Altered(lambda _: Response.of_json({"type": "user"})))
    with pytest.raises(ValueError, match=r"an answer of .* cannot be read \(asking whose token this is\): KeyError"):
        HubClient(hub.tokens.write, endpoint=hub.endpoint).check_token()


@pytest.mark.parametrize(
    "front",
    [
        ALIASES,
        "tags: " + "[" * 5000,
        "tags: !!python/object/apply:os.system [x]\n",
    ],
    ids=["aliases", "depth", "code"],
)
def test_a_card_that_would_fill_the_memory_is_none(
    default_hub, no_waiting, checkpoint, processor, front, tmp_path, monkeypatch
):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    publish(default_hub, checkpoint, front)
    push_saved(processor, REPO, commit_message="x", token=default_hub.tokens.write)
    card = read_front_matter(default_hub.repos[REPO].head.files["README.md"].content.decode(), "README.md")
    assert card["license"] == "apache-2.0"
    assert len(card["tags"]) < 10


def test_what_the_card_says_is_kept_in_whatever_form(
    default_hub, no_waiting, checkpoint, processor, tmp_path, monkeypatch
):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    publish(default_hub, checkpoint, "license: mit\ntags: aerial\ndatasets: org/data\n")
    push_saved(processor, REPO, commit_message="x", token=default_hub.tokens.write)
    card = read_front_matter(default_hub.repos[REPO].head.files["README.md"].content.decode(), "README.md")
    assert (card["license"], card["datasets"]) == ("mit", ["org/data"])
    assert card["tags"][-1] == "aerial"
