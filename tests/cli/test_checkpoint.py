# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants

from geodit.cli.checkpoint import load_pipeline, resolve_model, split_revision
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion


def test_without_a_model_the_bundled_one_answers(geodit, image):
    result = geodit("predict", image, "--task", "classify", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["model"] == "geodit-tiny"


def test_the_bundled_checkpoint_is_small():
    files = [file for file in Path(resolve_model(None)).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 16 * 2**20


def test_the_bundled_checkpoint_has_a_name():
    assert resolve_model("geodit-tiny") == resolve_model(None)


def test_what_is_no_path_is_a_name_on_the_hub():
    assert resolve_model("someone/geodit-8b") == "someone/geodit-8b"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("someone/geodit-8b", ("someone/geodit-8b", None)),
        ("someone/geodit-8b@v1", ("someone/geodit-8b", "v1")),
        ("someone/geodit-8b@refs/pr/1", ("someone/geodit-8b", "refs/pr/1")),
        ("geodit-tiny", ("geodit-tiny", None)),
    ],
)
def test_a_hub_id_may_name_a_revision(name, expected):
    assert split_revision(name) == expected


def test_a_directory_is_itself(tmp_path):
    (tmp_path / "a@b").mkdir()
    assert split_revision(str(tmp_path / "a@b")) == (str(tmp_path / "a@b"), None)


def test_a_model_and_an_adapter_are_loaded_at_their_commits(default_hub, checkpoint, adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    api = HfApi(endpoint=default_hub.endpoint, token=default_hub.tokens.write)
    commits = {}
    for name, folder, weights in (
        ("org/base", checkpoint, "model.safetensors"),
        ("org/lora", adapter, "adapter_model.safetensors"),
    ):
        api.create_repo(name)
        commits[name] = api.upload_folder(repo_id=name, folder_path=folder).oid
        api.upload_file(repo_id=name, path_or_fileobj=b"damaged", path_in_repo=weights)
    pinned = {name: f"{name}@{commit}" for name, commit in commits.items()}
    model = GeoDiTForMaskedDiffusion.from_pretrained(checkpoint)
    loaded = load_pipeline(pinned["org/base"]).model
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    merged = load_pipeline(pinned["org/base"], adapter=pinned["org/lora"]).model
    expected = load_pipeline(str(checkpoint), adapter=str(adapter)).model
    assert all(torch.equal(a, b) for a, b in zip(merged.parameters(), expected.parameters(), strict=True))
