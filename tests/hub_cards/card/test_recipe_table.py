# SPDX-License-Identifier: Apache-2.0
"""Recipes as others see them."""

import pytest

from geodit.hub_cards.card.recipe_table import dataset_names, public_recipe, recipes_table
from geodit.hub_cards.card.training_history import TrainingStage
from geodit.trainers.runs.recipe_arguments import DataArguments


def rows(**recipe):
    return {row[0]: row[1] for row in recipes_table([TrainingStage("only", recipe, ())]).rows}


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ({}, ()),
        ({"datasets": None}, ()),
        ({"datasets": ["rsicd=/home/alice/RSICD", "mmrs-1m:optical=data/m"]}, ("rsicd", "mmrs-1m:optical")),
        ({"datasets": "rsicd=/home/alice/RSICD"}, ("rsicd",)),
    ],
)
def test_data_sets_are_named_without_their_paths(recipe, names):
    assert dataset_names(recipe) == names


def test_a_card_shows_the_names_of_data_sets_alone():
    assert rows(datasets=["rsicd=/home/alice/RSICD", "aid=AID"])["`datasets`"] == "rsicd, aid"


def test_what_only_concerns_who_ran_it_is_not_shown():
    hidden = {
        "output_dir": "runs/a",
        "push_to_hub": True,
        "hub_model_id": "alice/geodit",
        "hub_strategy": "every_save",
        "hub_token": "secret",
        "sample_every_steps": 5,
    }
    assert set(rows(seed=1, **hidden)) == {"`seed`"}


def test_what_an_adapter_and_grpo_learn_by_is_shown_in_an_order_of_its_own():
    recipe = {
        "learning_rate": 2e-4,
        "lora_r": 16,
        "use_peft": True,
        "load_in_4bit": True,
        "objective": "grpo",
        "num_generations": 8,
        "reward_functions": ["iou", "hit"],
        "streaming": True,
    }
    names = list(rows(**recipe))
    assert names == [
        f"`{name}`"
        for name in (
            *("objective", "use_peft", "load_in_4bit", "lora_r", "reward_functions", "num_generations"),
            *("learning_rate", "streaming"),
        )
    ]


def test_a_published_recipe_has_no_folders_and_no_secrets():
    recipe = {
        "model_name_or_path": "/home/alice/runs/stage1",
        "datasets": ["mmrs-1m:optical=/data/mmrs", "rsicd=RSICD"],
        "hub_token": "secret",
        "push_to_hub_token": "secret",
        "fsdp_config": {"path": ["/home/alice/fsdp.yaml"]},
        "learning_rate": 1e-3,
    }
    public = public_recipe(recipe)
    assert public == {
        "model_name_or_path": "stage1",
        "datasets": ["mmrs-1m:optical=PATH", "rsicd=PATH"],
        "fsdp_config": {"path": ["fsdp.yaml"]},
        "learning_rate": 1e-3,
    }
    # Still what a recipe can say.
    assert DataArguments(datasets=public["datasets"]).named_datasets() == [
        ("mmrs-1m", "optical", "PATH"),
        ("rsicd", "train", "PATH"),
    ]
