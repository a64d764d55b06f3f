# SPDX-License-Identifier: Apache-2.0
"""Where a checkpoint came from, as far as others can follow."""

import json

import pytest

from geodit.configuration.hub_ids import is_hub_id
from geodit.hub_cards.card.base_models import BaseModel, read_base_models
from geodit.hub_cards.card.model_card import build_model_card
from geodit.hub_cards.card.training_history import TrainingStage


def stage(name, **recipe):
    return TrainingStage(name, {"output_dir": f"runs/{name}", **recipe}, ())


def assembled(folder, **sources):
    (folder / "assembly.json").write_text(json.dumps({"sources": sources}))


def test_the_sources_of_an_assembled_checkpoint(tmp_path):
    assembled(tmp_path, text="GSAI-ML/LLaDA-8B-Instruct", vision="/home/alice/siglip")
    text, vision = read_base_models(tmp_path, [])
    assert text == BaseModel("GSAI-ML/LLaDA-8B-Instruct", "text core", on_hub=True)
    assert text.licence == "mit"
    assert vision == BaseModel("siglip", "vision tower", on_hub=False)
    assert vision.licence is None


def test_a_stage_starts_from_a_model_that_no_stage_has_written(tmp_path):
    stages = [
        stage("stage1", model_name_or_path="someone/geodit-8b"),
        stage("stage2", model_name_or_path="runs/stage1/", vision_tower="runs/tower"),
    ]
    assert read_base_models(tmp_path, stages) == [
        BaseModel("someone/geodit-8b", "whole model", on_hub=True),
        # It stands among the runs: a folder that was not kept, and no repository of somebody called runs.
        BaseModel("tower", "vision tower", on_hub=False),
    ]


def test_the_bundled_checkpoint_is_named(tmp_path):
    assert read_base_models(tmp_path, [stage("a", model_name_or_path="geodit-tiny")]) == [
        BaseModel("geodit-tiny", "whole model", on_hub=False)
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("org/name", True), ("name", False), ("/org/name", False), ("a/b/c", False), ("./name", False), ("org/", False)],
)
def test_hub_ids_have_an_owner_and_a_name(name, expected):
    assert is_hub_id(name) is expected


def test_a_folder_that_is_there_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("org/name")
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert not is_hub_id("org/name")


def test_the_card_links_the_models_and_gives_the_licences_that_are_known(bare):
    assembled(bare, text="GSAI-ML/LLaDA-8B-Instruct", vision="someone/siglip", note="/home/alice/secret")
    card = build_model_card(bare)
    assert card.data.base_model == ["GSAI-ML/LLaDA-8B-Instruct", "someone/siglip"]
    assert (
        "| [GSAI-ML/LLaDA-8B-Instruct](https://huggingface.co/GSAI-ML/LLaDA-8B-Instruct) | text core | mit |"
    ) in card.text
    assert "| vision tower | see its own page |" in card.text
    assert "alice" not in card.content
    assert build_model_card(bare, base_model="org/one").data.base_model == "org/one"
