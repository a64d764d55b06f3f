# SPDX-License-Identifier: Apache-2.0
"""Training on data sets that were imported: as recipes name them, augmented, and gone on with after a stop."""

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from defined_environment import DEVICE
from geodit.annotations.stored import write_split
from geodit.data.schema import Question, make_row
from geodit.trainers.runs.recipes import parse_recipe, run_recipe
from geodit.trainers.runs.stages import evaluation_questions, training_questions


def row(number):
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    box = (2.0, 3.0, 12.0, 20.0)
    questions = [
        Question("detect", "ship", boxes=(box,), labels=("ship",)),
        Question("vqa", "Is there a ship?", answer="yes"),
    ]
    return make_row(pixels, str(number), questions)


@pytest.fixture
def ships(tmp_path):
    folder = tmp_path / "ships"
    folder.mkdir()
    write_split(folder, "train", (row(number) for number in range(6)))
    write_split(folder, "validation", [row(6)])
    return folder


def recipe(tmp_path, checkpoint, folder, **values):
    plain = {
        "model_name_or_path": str(checkpoint),
        "imported": [str(folder)],
        "use_cpu": DEVICE == "cpu",
        "report_to": "none",
        "disable_tqdm": True,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "output_dir": str(tmp_path / "run"),
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain | values))
    return str(path)


def test_splits_are_trained_on_and_held_out(tmp_path, checkpoint, ships, model_and_processor):
    _, args, _ = parse_recipe(recipe(tmp_path, checkpoint, ships))
    _, processor = model_and_processor
    trained, held_out = training_questions(args, processor), evaluation_questions(args, processor)
    assert (len(trained), len(held_out)) == (12, 2)
    assert {item["image_id"] for item in trained} == {str(number) for number in range(6)}
    assert held_out[0]["image_id"] == "6"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"imported": ["nowhere"]}, "nowhere is no data set"),
        ({"objective": "dense_vision"}, "no dense labels"),
        ({"augment": True, "streaming": True, "max_steps": 1}, "not streamed"),
    ],
)
def test_what_does_not_go_together_is_one_error(tmp_path, checkpoint, ships, model_and_processor, values, message):
    def read():
        _, args, _ = parse_recipe(recipe(tmp_path, checkpoint, ships, **values))
        training_questions(args, model_and_processor[1])

    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read()


def test_an_augmented_run_that_was_stopped_ends_with_the_same_weights(tmp_path, checkpoint, ships):
    steps = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "seed": 1, "augment": True}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_recipe(recipe(tmp_path, checkpoint, ships, **steps, output_dir=str(whole)))
    stopped.mkdir()
    # What a run has left that was stopped in its second epoch.
    (whole / "checkpoint-3").rename(stopped / "checkpoint-3")
    again = recipe(tmp_path, checkpoint, ships, **steps, output_dir=str(stopped), resume_from_checkpoint="auto")
    run_recipe(again)
    weights = load_file(whole / "model.safetensors")
    for name, resumed in load_file(stopped / "model.safetensors").items():
        assert torch.equal(weights[name], resumed), name


def test_augmentation_is_another_training(tmp_path, checkpoint, ships):
    found = []
    for augment in (False, True):
        output = tmp_path / str(augment)
        run_recipe(recipe(tmp_path, checkpoint, ships, augment=augment, max_steps=3, output_dir=str(output)))
        found.append(load_file(output / "model.safetensors"))
    assert any(not torch.equal(found[0][name], tensor) for name, tensor in found[1].items())
