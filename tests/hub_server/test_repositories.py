# SPDX-License-Identifier: Apache-2.0
"""The Hub of the tests answers the real client as the Hub does: accounts, repositories, branches and tags."""

import json

import pytest
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from transformers import BertConfig

from hub_server.hub import Hub

CARD = "---\nlicense: apache-2.0\ntags: [remote-sensing]\n---\n# A model\n"


def status_of(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return error.value.response.status_code


def test_whoami_tells_user_organizations_and_what_the_token_allows(hub: Hub, api: HfApi):
    who = api.whoami()
    assert (who["name"], [organization["name"] for organization in who["orgs"]]) == ("ada", ["org"])
    assert who["auth"]["accessToken"]["role"] == "write"
    assert api.whoami(hub.tokens.read)["auth"]["accessToken"]["role"] == "read"


def test_a_wrong_token_is_refused_everywhere(hub: Hub, api: HfApi):
    api.create_repo("org/model")
    for call in (api.whoami, lambda token: api.model_info("org/model", token=token)):
        with pytest.raises(HfHubHTTPError) as error:
            call(token=hub.tokens.wrong)
        assert status_of(error) == 401


def test_a_repository_begins_with_one_commit(hub: Hub, api: HfApi):
    url = api.create_repo("org/model")
    assert (url, url.repo_id) == (f"{hub.endpoint}/org/model", "org/model")
    assert [commit.title for commit in api.list_repo_commits("org/model")] == ["initial commit"]
    assert api.list_repo_files("org/model") == [".gitattributes"]


def test_a_repository_without_an_organization_is_the_users(hub: Hub, api: HfApi):
    assert api.create_repo("model").repo_id == "ada/model"


def test_a_repository_is_created_once(hub: Hub, api: HfApi):
    api.create_repo("org/model")
    with pytest.raises(HfHubHTTPError) as error:
        api.create_repo("org/model")
    assert status_of(error) == 409
    assert api.create_repo("org/model", exist_ok=True).repo_id == "org/model"


def test_models_and_data_sets_are_kept_apart(hub: Hub, api: HfApi):
    api.create_repo("org/scenes", repo_type="dataset")
    assert list(hub.repos) == ["datasets/org/scenes"]
    assert api.dataset_info("org/scenes").id == "org/scenes"
    assert not api.repo_exists("org/scenes")


@pytest.mark.parametrize(("who", "status"), [("read", 403), ("stranger", 403), ("wrong", 401), (None, 401)])
def test_only_a_member_with_a_token_to_write_creates_a_repository(hub: Hub, who: str | None, status: int):
    token = getattr(hub.tokens, who) if who else False
    with pytest.raises(HfHubHTTPError) as error:
        HfApi(endpoint=hub.endpoint, token=token).create_repo("org/model")
    assert status_of(error) == status
    assert not hub.repos


def test_a_private_repository_does_not_exist_for_others(hub: Hub, api: HfApi):
    api.create_repo("org/model", private=True)
    assert api.model_info("org/model").private
    assert api.model_info("org/model", token=hub.tokens.read).private
    for token, status in ((hub.tokens.stranger, 404), (False, 401)):
        with pytest.raises(RepositoryNotFoundError) as error:
            api.model_info("org/model", token=token)
        assert status_of(error) == status


def test_auth_check_tells_reading_from_writing(hub: Hub, api: HfApi):
    api.create_repo("org/model")
    api.auth_check("org/model", write=True)
    api.auth_check("org/model", token=hub.tokens.read)
    with pytest.raises(HfHubHTTPError) as error:
        api.auth_check("org/model", token=hub.tokens.read, write=True)
    assert status_of(error) == 403


def test_model_info_holds_files_and_metadata_of_the_card(hub: Hub, api: HfApi):
    api.create_repo("org/model")
    api.upload_file(path_or_fileobj=CARD.encode(), path_in_repo="README.md", repo_id="org/model")
    info = api.model_info("org/model", files_metadata=True)
    assert info.sha == hub.repos["org/model"].head.sha
    assert info.card_data.license == "apache-2.0"
    assert {file.rfilename: file.size for file in info.siblings}["README.md"] == len(CARD)


def test_branches_and_tags_are_revisions(hub: Hub, api: HfApi):
    api.create_repo("org/model")
    first = hub.repos["org/model"].head.sha
    api.create_tag("org/model", tag="v1")
    api.create_branch("org/model", branch="next/step")
    made = api.upload_file(path_or_fileobj=b"a", path_in_repo="a.txt", repo_id="org/model", revision="next/step")
    refs = api.list_repo_refs("org/model")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": first, "next/step": made.oid}
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": first}
    assert api.model_info("org/model", revision="next/step").sha == made.oid
    assert api.model_info("org/model", revision="v1").sha == first
    assert api.model_info("org/model", revision=made.oid).sha == made.oid


def test_a_branch_is_created_once(hub: Hub, api: HfApi):
    api.create_repo("org/model")
    api.create_branch("org/model", branch="next")
    api.create_branch("org/model", branch="next", exist_ok=True)
    with pytest.raises(HfHubHTTPError) as error:
        api.create_branch("org/model", branch="next")
    assert status_of(error) == 409


def test_an_unknown_revision_is_told_from_an_unknown_repository(hub: Hub, api: HfApi):
    api.create_repo("org/model")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/model", revision="nowhere")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/other")


def test_a_good_card_is_valid(default_hub: Hub):
    ModelCard(CARD).validate()
    assert len(default_hub.requested("validate_yaml")) == 1


def test_transformers_pushes_to_the_default_hub(default_hub: Hub):
    BertConfig(hidden_size=8).push_to_hub("org/model", private=True, token=default_hub.tokens.write)
    repo = default_hub.repos["org/model"]
    assert repo.private
    assert json.loads(repo.head.files["config.json"].content)["hidden_size"] == 8


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("tags: aerial", '"tags" must be an array of strings'),
        ("license: [1]", '"license" must be a string or an array of strings'),
        ("library_name: []", '"library_name" must be a string'),
        ("base_model_relation: child", '"base_model_relation" must be one of adapter, finetune, merge, quantized'),
        ("model-index: [{results: []}]", '"model-index[0].name" is required'),
        ("model-index: [{name: a, results: [{}]}]", '"model-index[0].results[0].task.type" is required'),
        (
            "model-index: [{name: a, results: [{task: {type: b}, dataset: {}, metrics: [{type: e}]}]}]",
            '"model-index[0].results[0].metrics[0].value" is required',
        ),
        ("a: [", "bad YAML"),
        ("- a", "the metadata must be an object"),
    ],
)
def test_wrong_metadata_is_named(hub: Hub, api: HfApi, metadata: str, message: str):
    api.create_repo("org/model")
    card = f"---\n{metadata}\n---\n".encode()
    with pytest.raises(ValueError, match="Invalid metadata") as error:
        api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id="org/model")
    assert message in str(error.value)
    assert not hub.requested("commit")


def test_a_card_without_metadata_is_warned_of(hub: Hub, api: HfApi):
    api.create_repo("org/model")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api.upload_file(path_or_fileobj=b"# A model\n", path_in_repo="README.md", repo_id="org/model")
