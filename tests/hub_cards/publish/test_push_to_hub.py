# SPDX-License-Identifier: Apache-2.0
"""`push_to_hub` of a model, a processor and a configuration: the repository holds what `geodit push` puts there."""

import pytest
from huggingface_hub import ModelCard, constants

from geodit.configuration import remote_code_geodit
from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.hub_cards.publish.file_selection import published_files
from geodit.hub_cards.publish.hub_client import HubClient
from geodit.hub_cards.publish.push import push_files
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor

REPO = "org/geodit-test"


@pytest.fixture(autouse=True)
def logged_in(default_hub, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", default_hub.tokens.write)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(checkpoint) -> GeoDiTForMaskedDiffusion:
    return GeoDiTForMaskedDiffusion.from_pretrained(checkpoint)


@pytest.fixture
def processor(checkpoint) -> GeoDiTProcessor:
    return GeoDiTProcessor.from_pretrained(checkpoint, local_files_only=True)


def contents(hub, revision="main"):
    files = hub.repos[REPO].at(revision).files
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


def card_of(hub) -> str:
    return contents(hub)["README.md"].decode()


def pushed_whole(folder) -> dict[str, bytes]:
    """What a push of the whole folder puts there."""
    return {
        file.path_in_repo: file.content if isinstance(file.content, bytes) else file.content.read_bytes()
        for file in published_files(folder, repo_id=REPO)
    }


@pytest.mark.parametrize("order", [("model", "processor"), ("processor", "model")])
def test_model_and_processor_make_up_what_a_whole_push_does(default_hub, tmp_path, model, processor, order):
    parts = {"model": model, "processor": processor}
    for name in order:
        parts[name].save_pretrained(tmp_path / "whole")
        parts[name].push_to_hub(REPO)
    assert contents(default_hub) == pushed_whole(tmp_path / "whole")
    assert [commit.message for commit in default_hub.repos[REPO].history()] == [
        *(f"Upload {type(parts[name]).__name__}" for name in reversed(order)),
        "initial commit",
    ]


def test_a_model_alone_has_code_and_card(default_hub, model):
    commit = model.push_to_hub(REPO, private=True, tags=["harbors"], commit_message="Publish")
    assert commit.oid == default_hub.repos[REPO].head.sha
    assert default_hub.repos[REPO].private
    files = contents(default_hub)
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md", *CODE_FILES} == set(files)
    card = ModelCard(card_of(default_hub))
    assert "harbors" in card.data.tags
    assert f"{model.num_parameters():,} parameters" in card.text


def test_a_processor_alone_has_no_card_yet(default_hub, processor):
    processor.push_to_hub(REPO)
    assert {"processor_config.json", "tokenizer.json", *CODE_FILES} <= set(contents(default_hub))
    assert "README.md" not in contents(default_hub)


def test_what_the_card_says_of_others_stays(default_hub, checkpoint, model):
    files = published_files(
        checkpoint, repo_id=REPO, license="mit", base_model="org/base", datasets=["org/scenes"], tags=["harbors"]
    )
    push_files(files, REPO, client=HubClient())
    before = contents(default_hub)
    model.lm_head.weight.data.zero_()
    model.push_to_hub(REPO)
    after = contents(default_hub)
    assert after["model.safetensors"] != before["model.safetensors"]
    assert after["README.md"] == before["README.md"]
    assert set(after) == set(before)


def test_the_weights_that_stay_are_not_downloaded(default_hub, model, processor):
    model.push_to_hub(REPO)
    asked = len(default_hub.requests)
    processor.push_to_hub(REPO)
    weights = [
        request for request in default_hub.requests[asked:] if request.args.get("path", "") == "model.safetensors"
    ]
    assert weights
    assert all("range" in {name.lower() for name in request.headers} for request in weights)


def test_pushed_again_there_is_no_commit(default_hub, model):
    first = model.push_to_hub(REPO)
    assert model.push_to_hub(REPO).oid == first.oid


def test_a_pull_request_of_a_processor(default_hub, model, processor):
    model.push_to_hub(REPO)
    before = contents(default_hub)
    commit = processor.push_to_hub(REPO, create_pr=True)
    assert commit.pr_url == f"{default_hub.endpoint}/{REPO}/discussions/1"
    assert contents(default_hub) == before
    changed = contents(default_hub, "refs/pr/1")
    assert "processor_config.json" in changed
    assert changed["README.md"] != before["README.md"]


def test_a_configuration_is_pushed_with_its_code(default_hub):
    GeoDiTConfig().push_to_hub(REPO)
    assert set(contents(default_hub)) == {"config.json", *CODE_FILES}


@pytest.mark.parametrize("token", [False, "hf_wrong"])
def test_without_access_it_is_one_error(default_hub, model, token):
    with pytest.raises(PermissionError) as error:
        model.push_to_hub(REPO, token=token)
    assert str(token) not in str(error.value).replace("token=False", "")
    assert not default_hub.repos


def test_the_code_of_a_checkpoint_pushes_as_transformers_does(default_hub, model, monkeypatch):
    """As it is where the package is not installed."""
    monkeypatch.setattr(remote_code_geodit, "_PACKAGE", "geodit_missing")
    model.push_to_hub(REPO)
    assert {"config.json", "generation_config.json", "model.safetensors", *CODE_FILES} <= set(contents(default_hub))
