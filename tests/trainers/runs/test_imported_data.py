# SPDX-License-Identifier: Apache-2.0
"""Training on data sets that were imported: as recipes name them, augmented, and gone on with after a stop."""

import itertools
from collections import Counter

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
        ({"augment": True, "objective": "grpo"}, "augment is for objective masked_diffusion, not for grpo"),
        ({"imported": ["ships=0"]}, "with a weight above 0, got 'ships=0'"),
        ({"imported": ["ships=many"]}, "with a weight above 0, got 'ships=many'"),
        ({"imported": ["ships=2"], "streaming": True, "max_steps": 1}, "for data that are not streamed"),
        ({"imported": ["ships=2"], "objective": "grpo"}, "takes imported data without weights"),
    ],
)
def test_what_does_not_go_together_is_one_error(tmp_path, checkpoint, ships, model_and_processor, values, message):
    def read():
        _, args, _ = parse_recipe(recipe(tmp_path, checkpoint, ships, **values))
        training_questions(args, model_and_processor[1])

    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read()


def test_sources_are_mixed_by_weight(tmp_path, checkpoint, ships, model_and_processor):
    more = tmp_path / "more=1"
    more.mkdir()
    write_split(more, "train", (row(number) for number in range(100, 104)))
    _, args, _ = parse_recipe(recipe(tmp_path, checkpoint, ships, imported=[f"{ships}=0.5", str(more), f"{ships}=2"]))
    assert args.weighted_imports() == [(str(ships), 0.5), (str(more), 1.0), (str(ships), 2.0)]
    mixed = training_questions(args, model_and_processor[1])
    assert len(mixed) == 6 + 8 + 24
    counts = Counter(item["image_id"] for item in mixed)
    assert all(counts[str(number)] == 2 for number in range(100, 104))
    assert sum(counts[str(number)] for number in range(6)) == 30
    assert len(evaluation_questions(args, model_and_processor[1])) == 4


@pytest.mark.parametrize("changes", [{}, {"augment": True, "train_sampling_strategy": "group_by_length"}])
def test_a_mixed_run_that_was_stopped_ends_with_the_same_weights(tmp_path, checkpoint, ships, changes):
    steps = {"max_steps": 6, "save_strategy": "steps", "save_steps": 4, "seed": 1, **changes}
    steps["imported"] = [f"{ships}=0.5"]  # three steps to an epoch
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_recipe(recipe(tmp_path, checkpoint, ships, **steps, output_dir=str(whole)))
    stopped.mkdir()
    (whole / "checkpoint-4").rename(stopped / "checkpoint-4")
    run_recipe(recipe(tmp_path, checkpoint, ships, **steps, output_dir=str(stopped), resume_from_checkpoint="auto"))
    weights = load_file(whole / "model.safetensors")
    for name, resumed in load_file(stopped / "model.safetensors").items():
        assert torch.equal(weights[name], resumed), name


@pytest.mark.parametrize("streaming", [False, True])
def test_an_augmented_run_that_was_stopped_ends_with_the_same_weights(tmp_path, checkpoint, ships, streaming):
    steps = {"max_steps": 9, "save_strategy": "steps", "save_steps": 8, "seed": 1, "augment": True}
    steps["streaming"] = streaming
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_recipe(recipe(tmp_path, checkpoint, ships, **steps, output_dir=str(whole)))
    stopped.mkdir()
    # What a run has left that was stopped in its second epoch.
    (whole / "checkpoint-8").rename(stopped / "checkpoint-8")
    again = recipe(tmp_path, checkpoint, ships, **steps, output_dir=str(stopped), resume_from_checkpoint="auto")
    run_recipe(again)
    weights = load_file(whole / "model.safetensors")
    for name, resumed in load_file(stopped / "model.safetensors").items():
        assert torch.equal(weights[name], resumed), name


def test_a_stream_has_the_same_questions(tmp_path, checkpoint, ships, model_and_processor):
    _, args, _ = parse_recipe(recipe(tmp_path, checkpoint, ships, streaming=True, max_steps=3))
    stream = training_questions(args, model_and_processor[1])
    found = [(item["image_id"], item["question"].task) for item in itertools.islice(stream, 12)]
    assert sorted(found) == sorted((str(number), task) for number in range(6) for task in ("detect", "vqa"))


@pytest.mark.parametrize("streaming", [False, True])
def test_augmentation_is_another_training(tmp_path, checkpoint, ships, streaming):
    found = []
    for augment in (False, True):
        output = tmp_path / str(augment)
        values = {"augment": augment, "streaming": streaming, "max_steps": 3, "output_dir": str(output)}
        run_recipe(recipe(tmp_path, checkpoint, ships, **values))
        found.append(load_file(output / "model.safetensors"))
    assert any(not torch.equal(found[0][name], tensor) for name, tensor in found[1].items())
