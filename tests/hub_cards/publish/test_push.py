# SPDX-License-Identifier: Apache-2.0
"""Pushing to the Hub of the tests with the real client: one commit or none, whatever goes wrong."""

import shutil
import threading

import pytest

from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.hub_cards.publish.file_selection import PublishedFile, published_files
from geodit.hub_cards.publish.hub_client import HubClient
from geodit.hub_cards.publish.push import push_files
from hub_server.faults import DropRequest, DropResponse, Slow, Status
from hub_server.hub import Hub

REPO = "org/geodit-test"
WEIGHTS = bytes(range(256)) * 8


@pytest.fixture
def client(hub: Hub, no_waiting) -> HubClient:
    """A client that tries three times."""
    return HubClient(hub.tokens.write, endpoint=hub.endpoint, waits=(1, 2))


def some_files(**changes: bytes) -> list[PublishedFile]:
    """A small model: one file that goes to LFS, and two that do not; `_` in a name of a change stands for the dot."""
    contents = {
        "README.md": b"---\nlicense: mit\n---\n# A model\n",
        "config.json": b"{}",
        "model.safetensors": WEIGHTS,
    }
    contents |= {name.replace("_", "."): content for name, content in changes.items()}
    return [PublishedFile(path, content) for path, content in contents.items()]


def contents(hub: Hub, revision: str = "main", repo_id: str = REPO) -> dict[str, bytes]:
    files = hub.repos[repo_id].at(revision).files
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


def messages(hub: Hub) -> list[str]:
    """Of the commits of the main branch, the last one first."""
    return [commit.message for commit in hub.repos[REPO].history()]


EXPECTED = {file.path_in_repo: file.content for file in some_files()}


class TestPush:
    def test_all_files_are_in_one_commit(self, hub, client):
        result = push_files(some_files(), REPO, client=client, message="Publish", description="It is small.")
        assert contents(hub) == EXPECTED
        head = hub.repos[REPO].head
        assert (head.message, head.description, head.author) == ("Publish", "It is small.", "ada")
        assert messages(hub) == ["Publish", "initial commit"]
        assert result.repo_id == REPO
        assert result.commit.oid == head.sha
        assert {file.path_in_repo for file in result.changed} == set(EXPECTED)
        assert result.num_bytes == sum(map(len, EXPECTED.values()))

    def test_a_repository_without_an_owner_is_the_users(self, hub, client):
        assert push_files(some_files(), "geodit-test", client=client).repo_id == "ada/geodit-test"
        assert contents(hub, repo_id="ada/geodit-test") == EXPECTED

    @pytest.mark.parametrize("private", [True, False])
    def test_a_new_repository_is_as_private_as_asked(self, hub, client, private):
        push_files(some_files(), REPO, client=client, private=private)
        assert hub.repos[REPO].private is private

    def test_a_public_repository_is_not_pushed_to_as_a_private_one(self, hub, client):
        push_files(some_files(), REPO, client=client)
        with pytest.raises(ValueError, match=f"{REPO} exists and is public"):
            push_files(some_files(config_json=b"secret"), REPO, client=client, private=True)
        assert contents(hub) == EXPECTED

    def test_pushed_again_only_what_changed_is_sent(self, hub, client):
        push_files(some_files(), REPO, client=client)
        uploads = len(hub.requested("lfs_upload"))
        result = push_files(some_files(config_json=b'{"a": 1}'), REPO, client=client, message="Again")
        assert [file.path_in_repo for file in result.changed] == ["config.json"]
        assert list(hub.repos[REPO].head.changes) == ["config.json"]
        assert messages(hub) == ["Again", "Upload a GeoDiT model", "initial commit"]
        assert len(hub.requested("lfs_upload")) == uploads
        assert WEIGHTS not in hub.requested("commit")[-1].body

    def test_pushed_again_without_a_change_there_is_no_commit(self, hub, client):
        first = push_files(some_files(), REPO, client=client)
        commits = len(hub.requested("commit"))
        again = push_files(some_files(), REPO, client=client)
        assert again.commit.oid == first.commit.oid
        assert (again.changed, again.removed) == ((), ())
        assert len(hub.requested("commit")) == commits

    def test_what_else_the_repository_has_stays(self, hub, client):
        push_files([PublishedFile("notes.txt", b"mine")], REPO, client=client)
        push_files(some_files(), REPO, client=client)
        assert contents(hub) == EXPECTED | {"notes.txt": b"mine"}

    def test_weights_and_code_of_an_earlier_version_do_not(self, hub, client):
        old = {
            "model-00001-of-00002.safetensors": WEIGHTS,
            "model-00002-of-00002.safetensors": WEIGHTS[:512],
            "model.safetensors.index.json": b"{}",
            "forgotten_geodit.py": b"1",
            CODE_FILES[0]: b"2",
        }
        push_files([*(PublishedFile(*item) for item in old.items())], REPO, client=client)
        new = {CODE_FILES[1]: b"3"}
        result = push_files([*some_files(), *(PublishedFile(*item) for item in new.items())], REPO, client=client)
        assert contents(hub) == EXPECTED | new
        assert set(result.removed) == set(old)
        assert len(hub.requested("commit")) == 2

    def test_weights_stay_where_none_take_their_place(self, hub, client):
        push_files(some_files(), REPO, client=client)
        result = push_files([PublishedFile("tokenizer.json", b"{}")], REPO, client=client)
        assert result.removed == ()
        assert contents(hub) == EXPECTED | {"tokenizer.json": b"{}"}

    def test_nothing_is_left_out_because_of_a_gitignore(self, hub, client):
        push_files([PublishedFile(".gitignore", b"*.json\n")], REPO, client=client)
        push_files(some_files(), REPO, client=client)
        assert contents(hub) == EXPECTED | {".gitignore": b"*.json\n"}

    def test_a_checkpoint_is_pushed_from_its_folder(self, hub, client, checkpoint):
        files = published_files(checkpoint, repo_id=REPO)
        push_files(files, REPO, client=client)
        expected = {
            file.path_in_repo: file.content if isinstance(file.content, bytes) else file.content.read_bytes()
            for file in files
        }
        assert contents(hub) == expected
        assert {"README.md", "model.safetensors", "config.json", "generation_config.json", *CODE_FILES} <= set(
            expected
        )
        assert "processor_config.json" in expected

    def test_an_adapter_and_a_model_do_not_share_a_repository(self, hub, client):
        adapter = [PublishedFile("adapter_config.json", b"{}"), PublishedFile("adapter_model.safetensors", WEIGHTS)]
        push_files(some_files(), REPO, client=client)
        with pytest.raises(ValueError, match="holds a whole model: push an adapter to a repository of its own"):
            push_files(adapter, REPO, client=client)
        push_files(adapter, "org/adapter", client=client)
        with pytest.raises(ValueError, match="holds an adapter: push a whole model to a repository of its own"):
            push_files(some_files(), "org/adapter", client=client)
        assert contents(hub) == EXPECTED
        assert set(contents(hub, repo_id="org/adapter")) == {file.path_in_repo for file in adapter}


class TestBranches:
    def test_a_branch_is_made_from_the_main_one(self, hub, client):
        push_files(some_files(), REPO, client=client)
        push_files(some_files(config_json=b"[]"), REPO, client=client, revision="next/step", message="Next")
        assert contents(hub) == EXPECTED
        assert contents(hub, "next/step") == EXPECTED | {"config.json": b"[]"}
        assert list(hub.repos[REPO].at("next/step").changes) == ["config.json"]

    def test_a_branch_that_is_there_goes_on(self, hub, client):
        for content in (b"1", b"2"):
            push_files(some_files(config_json=content), REPO, client=client, revision="next")
        assert [commit.message for commit in hub.repos[REPO].history("next")] == [
            "Upload a GeoDiT model",
            "Upload a GeoDiT model",
            "initial commit",
        ]
        assert contents(hub, "next")["config.json"] == b"2"

    def test_no_branch_is_left_for_a_commit_that_failed(self, hub, client):
        push_files(some_files(), REPO, client=client)
        hub.fail("commit", Status(403))
        with pytest.raises(PermissionError):
            push_files(some_files(config_json=b"[]"), REPO, client=client, revision="next")
        assert [ref.name for ref in client.api.list_repo_refs(REPO).branches] == ["main"]

    def test_nor_is_one_where_the_hub_goes_away_meanwhile(self, hub, client):
        push_files(some_files(), REPO, client=client)
        hub.fail("commit", Status(500))
        hub.fail("commit", Status(403))
        with pytest.raises(PermissionError):
            push_files(some_files(config_json=b"[]"), REPO, client=client, revision="next")
        assert [ref.name for ref in client.api.list_repo_refs(REPO).branches] == ["main"]

    @pytest.mark.parametrize("revision", ["0123456789" * 4, " "])
    def test_what_is_no_branch_is_refused(self, hub, client, revision):
        with pytest.raises(ValueError, match="a push goes to a branch"):
            push_files(some_files(), REPO, client=client, revision=revision)
        assert hub.requests == []


class TestPullRequests:
    @pytest.fixture(autouse=True)
    def published(self, hub, client):
        push_files(some_files(), REPO, client=client)

    def test_it_holds_what_changed_and_the_branch_stays_as_it_is(self, hub, client):
        result = push_files(
            some_files(config_json=b"[]"), REPO, client=client, create_pr=True, message="Better", description="Why."
        )
        assert result.commit.pr_url == f"{hub.endpoint}/{REPO}/discussions/1"
        assert contents(hub) == EXPECTED
        assert contents(hub, "refs/pr/1") == EXPECTED | {"config.json": b"[]"}
        assert list(hub.repos[REPO].at("refs/pr/1").changes) == ["config.json"]
        (opened,) = client.api.get_repo_discussions(REPO)
        assert (opened.title, opened.num, opened.is_pull_request) == ("Better", 1, True)

    def test_a_pull_request_can_be_pushed_to(self, hub, client):
        push_files(some_files(config_json=b"[]"), REPO, client=client, create_pr=True)
        push_files(some_files(config_json=b"[1]"), REPO, client=client, revision="refs/pr/1")
        assert contents(hub, "refs/pr/1") == EXPECTED | {"config.json": b"[1]"}
        assert contents(hub) == EXPECTED

    def test_whoever_may_not_write_can_open_one(self, hub):
        stranger = HubClient(hub.tokens.stranger, endpoint=hub.endpoint)
        push_files(some_files(model_safetensors=WEIGHTS * 2), REPO, client=stranger, create_pr=True)
        assert contents(hub, "refs/pr/1")["model.safetensors"] == WEIGHTS * 2
        assert contents(hub) == EXPECTED

    def test_without_a_change_there_is_none(self, hub, client):
        assert push_files(some_files(), REPO, client=client, create_pr=True).commit.pr_url is None
        assert list(client.api.get_repo_discussions(REPO)) == []

    def test_it_needs_a_repository_and_a_branch(self, hub, client):
        with pytest.raises(ValueError, match="there is no repository org/other to open a pull request on"):
            push_files(some_files(), "org/other", client=client, create_pr=True)
        with pytest.raises(ValueError, match="has no branch next"):
            push_files(some_files(), REPO, client=client, create_pr=True, revision="next")
        assert list(hub.repos) == [REPO]

    @pytest.mark.parametrize("after", [None, 5])
    def test_one_whose_answer_was_lost_is_not_opened_again(self, hub, client, after):
        hub.fail("commit", DropResponse(after))
        result = push_files(some_files(config_json=b"[]"), REPO, client=client, create_pr=True, message="Better")
        assert result.commit.pr_url == f"{hub.endpoint}/{REPO}/discussions/1"
        assert result.commit.oid == hub.repos[REPO].at("refs/pr/1").sha
        assert len(list(client.api.get_repo_discussions(REPO))) == 1


# What a push asks of the Hub, in order; `lfs_upload` and what follows it is repeated by huggingface_hub.
OPERATIONS = (
    "whoami",
    "repo_info",
    "tree",
    "preupload",
    "lfs_batch",
    "lfs_upload",
    "lfs_verify",
    "validate_yaml",
    "commit",
)


class TestFaults:
    """The Hub holds an earlier version."""

    README = b"---\nlicense: mit\n---\n# A better model\n"
    NEW = some_files(README_md=README, model_safetensors=WEIGHTS * 2)

    @pytest.fixture(autouse=True)
    def published(self, hub):
        push_files(some_files(), REPO, client=HubClient(hub.tokens.write, endpoint=hub.endpoint))

    def unchanged(self, hub: Hub) -> bool:
        return contents(hub) == EXPECTED and messages(hub) == ["Upload a GeoDiT model", "initial commit"]

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize(
        "fault",
        [Status(429), Status(500), Status(503), DropRequest(), DropRequest(9), DropResponse(), DropResponse(3)],
        ids=repr,
    )
    def test_what_passes_is_tried_again(self, hub, client, operation, fault):
        hub.fail(operation, fault)
        result = push_files(self.NEW, REPO, client=client, message="New")
        assert contents(hub) == EXPECTED | {"README.md": self.README, "model.safetensors": WEIGHTS * 2}
        assert messages(hub) == ["New", "Upload a GeoDiT model", "initial commit"]
        assert result.commit.oid == hub.repos[REPO].head.sha
        assert {file.path_in_repo for file in result.changed} == {"README.md", "model.safetensors"}

    @pytest.mark.parametrize("operation", ["create_repo", "whoami"])
    def test_making_a_repository_is_tried_again(self, hub, client, operation):
        hub.fail(operation, DropResponse())
        push_files(some_files(), "org/other", client=client)
        assert contents(hub, repo_id="org/other") == EXPECTED

    @pytest.mark.parametrize(
        ("operation", "fault"),
        [
            (operation, fault)
            for operation in OPERATIONS
            for fault in (Status(500), DropRequest(), DropResponse())
            # That commit is made, and the next attempt finds it.
            if (operation, fault) != ("commit", DropResponse())
        ],
        ids=repr,
    )
    def test_what_stays_is_one_error_and_changes_nothing(self, hub, client, operation, fault):
        hub.fail(operation, fault, times=99)
        with pytest.raises(ConnectionError) as error:
            push_files(self.NEW, REPO, client=client)
        message = str(error.value)
        assert message.startswith((f"{hub.endpoint} answered 500 again and again", "the connection to"))
        assert "\n" not in message
        assert hub.tokens.write not in message
        assert self.unchanged(hub)

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize("status", [401, 403])
    def test_what_will_not_pass_is_not_tried_again(self, hub, no_waiting, operation, status):
        hub.fail(operation, Status(status))
        with pytest.raises(PermissionError) as error:
            push_files(self.NEW, REPO, client=HubClient(hub.tokens.write, endpoint=hub.endpoint))
        assert "\n" not in str(error.value)
        assert hub.tokens.write not in str(error.value)
        assert no_waiting == []
        assert self.unchanged(hub)

    def test_what_was_uploaded_is_not_sent_again(self, hub, client):
        hub.fail("commit", Status(500), times=3)
        with pytest.raises(ConnectionError, match="goes on from what has been uploaded"):
            push_files(self.NEW, REPO, client=client)
        assert self.unchanged(hub)
        uploads = len(hub.requested("lfs_upload"))
        push_files(self.NEW, REPO, client=client)
        assert contents(hub)["model.safetensors"] == WEIGHTS * 2
        assert len(hub.requested("lfs_upload")) == uploads

    def test_a_commit_whose_answer_was_lost_is_not_made_again(self, hub, client):
        commits = len(hub.requested("commit"))
        hub.fail("commit", DropResponse())
        result = push_files(self.NEW, REPO, client=client, message="New")
        assert result.commit.oid == hub.repos[REPO].head.sha
        assert len(hub.requested("commit")) == commits + 1

    def test_a_commit_of_someone_else_in_between_is_built_on(self, hub, client):
        fault = Slow()
        hub.fail("validate_yaml", fault)
        outcome = []
        pushing = threading.Thread(
            target=lambda: outcome.append(
                push_files(some_files(README_md=self.README), REPO, client=client, message="Mine")
            )
        )
        pushing.start()
        assert fault.reached.wait(60)
        push_files(
            [PublishedFile("notes.txt", b"theirs")], REPO, client=HubClient(hub.tokens.write, endpoint=hub.endpoint)
        )
        fault.released.set()
        pushing.join(60)
        assert contents(hub) == EXPECTED | {"README.md": self.README, "notes.txt": b"theirs"}
        assert outcome[0].commit.oid == hub.repos[REPO].head.sha

    @pytest.mark.parametrize("status", [409, 412])
    def test_a_conflict_is_tried_again_and_reported_if_it_stays(self, hub, client, no_waiting, status):
        hub.fail("commit", Status(status), times=3)
        with pytest.raises(ConnectionError, match="changed by others again and again"):
            push_files(self.NEW, REPO, client=client)
        assert no_waiting == [1, 2]
        assert self.unchanged(hub)
        hub.fail("commit", Status(status))
        push_files(self.NEW, REPO, client=client)
        assert contents(hub)["README.md"] == self.README

    def test_a_slow_answer_is_waited_for(self, hub, client):
        fault = Slow()
        hub.fail("commit", fault)
        pushing = threading.Thread(target=push_files, args=(self.NEW, REPO), kwargs={"client": client})
        pushing.start()
        assert fault.reached.wait(60)
        assert pushing.is_alive()
        fault.released.set()
        pushing.join(60)
        assert contents(hub)["README.md"] == self.README

    def test_the_hub_says_how_long_to_wait(self, hub, client, no_waiting):
        hub.fail("commit", Status(429, headers={"Retry-After": "7"}))
        hub.fail("commit", Status(429, headers={"RateLimit": '"api";r=0;t=40'}))
        push_files(self.NEW, REPO, client=client)
        assert no_waiting == [7, 40]

    def test_a_card_that_the_hub_refuses_is_one_error(self, hub, client):
        with pytest.raises(ValueError, match=r"Invalid metadata in README\.md\. - .*license") as error:
            push_files(some_files(README_md=b"---\nlicense: [1]\n---\n"), REPO, client=client)
        assert "\n" not in str(error.value)
        assert self.unchanged(hub)


class TestTokens:
    @pytest.fixture(autouse=True)
    def no_other_token(self, monkeypatch, tmp_path):
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))

    def test_without_one_nothing_is_asked(self, hub):
        with pytest.raises(PermissionError, match="there is no token of the Hub: log in by `hf auth login`"):
            HubClient(endpoint=hub.endpoint)
        assert hub.requests == []

    @pytest.mark.parametrize("token", ["hf_abc\nX-Other: 1", "hf abc", "hf_é"])
    def test_what_cannot_be_one_is_not_quoted(self, hub, token):
        with pytest.raises(PermissionError, match="spaces or characters that no token has") as error:
            HubClient(token, endpoint=hub.endpoint)
        assert token not in str(error.value)

    @pytest.mark.parametrize(
        ("who", "message"),
        [
            ("wrong", "does not accept the token"),
            ("read", "the token of ada can only read: make one with write access"),
        ],
    )
    def test_a_wrong_one_and_one_that_reads_are_told_apart(self, hub, who, message):
        token = getattr(hub.tokens, who)
        with pytest.raises(PermissionError, match=message) as error:
            push_files(some_files(), REPO, client=HubClient(token, endpoint=hub.endpoint))
        assert token not in str(error.value)
        assert not hub.repos

    def test_the_user_may_have_no_access(self, hub, client):
        push_files(some_files(), REPO, client=client)
        stranger = HubClient(hub.tokens.stranger, endpoint=hub.endpoint)
        with pytest.raises(PermissionError, match="no permission"):
            push_files(some_files(config_json=b"[]", model_safetensors=WEIGHTS * 2), REPO, client=stranger)
        with pytest.raises(PermissionError, match="no permission"):
            push_files(some_files(), "org/another", client=stranger)
        assert contents(hub) == EXPECTED
        assert list(hub.repos) == [REPO]

    def test_a_client_does_not_show_its_token(self, hub, client):
        assert repr(client) == f"HubClient({hub.endpoint!r})"


def test_offline_it_says_so(hub, client, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="cannot be reached in offline mode: unset HF_HUB_OFFLINE"):
        push_files(some_files(), REPO, client=client)
    assert hub.requests == []


def test_shards_on_disk_are_pushed_as_they_are(hub, client, checkpoint, tmp_path):
    folder = tmp_path / "sharded"
    shutil.copytree(checkpoint, folder)
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion

    (folder / "model.safetensors").unlink()
    GeoDiTForMaskedDiffusion.from_pretrained(checkpoint).save_pretrained(folder, max_shard_size="20KB")
    push_files(published_files(checkpoint, repo_id=REPO), REPO, client=client)
    result = push_files(published_files(folder, repo_id=REPO), REPO, client=client)
    assert result.removed == ("model.safetensors",)
    shards = {path.name for path in folder.glob("*.safetensors")}
    assert len(shards) > 1
    assert shards | {"model.safetensors.index.json"} <= set(contents(hub))
