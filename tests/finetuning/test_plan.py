# SPDX-License-Identifier: Apache-2.0
"""What is decided, by what, and with which reason."""

from dataclasses import replace

import pytest
import yaml

from finetuning_data import ship_row
from geodit.annotations.stored import write_split
from geodit.finetuning.device_memory import DeviceMemory, device_memory
from geodit.finetuning.options import FinetuneOptions
from geodit.finetuning.plan import FinetunePlan, plan_finetuning
from geodit.processing.processing_geodit import GeoDiTProcessor

GIB = 2**30
CPU = DeviceMemory("the CPU", 8 * GIB, False)
GPU = DeviceMemory("the CPU", 80 * GIB, True)  # as if it computed like a GPU


def plan(ships, checkpoint, memory=CPU, processes=1, **options):
    given = FinetuneOptions(**{"model": str(checkpoint), **options})
    return plan_finetuning([str(ships)], "runs/ships", given, memory, num_processes=processes)


def decided(found):
    return {one.name: one.value for one in found.decisions}


def test_a_recipe_and_its_reasons(ships, checkpoint):
    found = plan(ships, checkpoint)
    recipe = found.recipe
    assert recipe["use_peft"]
    assert recipe["augment"]
    assert recipe["imported"] == [str(ships)]
    assert recipe["load_best_model_at_end"]
    assert recipe["metric_for_best_model"] == "score"
    assert recipe["eval_steps"] == recipe["save_steps"]
    assert all(one.reason for one in found.decisions)
    assert {"model", "precision", "learning rate", "micro-batch", "epochs", "best checkpoint"} <= set(decided(found))
    assert yaml.safe_load(found.to_yaml()) == recipe
    assert FinetunePlan.from_dict(found.to_dict()) == found


def test_precision_follows_the_device(ships, checkpoint):
    assert not plan(ships, checkpoint).recipe["bf16"]
    adapter, full = plan(ships, checkpoint, GPU), plan(ships, checkpoint, GPU, full=True)
    assert adapter.recipe["bf16"]
    assert full.recipe["bf16"]
    assert adapter.dtype == "bfloat16"
    assert full.dtype == "float32"  # of what is trained


def test_all_weights_learn_more_slowly_than_an_adapter(ships, checkpoint):
    adapter, full = plan(ships, checkpoint), plan(ships, checkpoint, full=True)
    assert full.recipe["learning_rate"] < adapter.recipe["learning_rate"]
    assert "use_peft" not in full.recipe


def test_an_update_has_as_many_rows_on_any_number_of_devices(ships, checkpoint):
    for processes in (1, 2, 4):
        recipe = plan(ships, checkpoint, processes=processes).recipe
        rows = recipe["per_device_train_batch_size"] * recipe["gradient_accumulation_steps"] * processes
        assert rows == 16


def test_less_memory_takes_smaller_batches_then_recomputes_then_gives_up(ships, checkpoint):
    found = []
    free = 2**30
    while True:
        free = int(free * 0.75)
        memory = DeviceMemory("a small device", free, False)
        try:
            recipe = plan(ships, checkpoint, memory, quantize="none", use_cpu=True).recipe
        except ValueError:
            break
        assert recipe["per_device_train_batch_size"] * recipe["gradient_accumulation_steps"] == 16
        found.append((recipe["activation_checkpointing"], -recipe["per_device_train_batch_size"]))
    assert found == sorted(found)
    assert len(set(found)) > 3
    with pytest.raises(ValueError, match=r"GiB at least, and a small device has .* free: choose a smaller model"):
        plan(ships, checkpoint, memory, quantize="none", use_cpu=True)


def test_canvases_grow_with_the_longest_answer(ships, checkpoint):
    processor = GeoDiTProcessor.from_pretrained(checkpoint)
    write_split(ships, "train", [ship_row(20, boxes=9), *(ship_row(number) for number in range(8))])
    found = plan(ships, checkpoint)
    needed = 9 * 4  # location tokens
    assert processor.canvas_length("detect") < needed
    assert found.canvas_lengths == {"detect": 40}
    assert found.recipe["canvas_lengths"] == ["detect=40"]
    assert plan(ships, checkpoint, canvas_lengths=(("detect", 48),)).canvas_lengths == {"detect": 48}
    with pytest.raises(ValueError, match="too short: its answers have up to 36 tokens"):
        plan(ships, checkpoint, canvas_lengths=(("detect", 16),))


def test_few_examples_are_seen_more_often(ships, checkpoint):
    few = plan(ships, checkpoint).recipe["num_train_epochs"]
    write_split(ships, "train", (ship_row(number) for number in range(1000)))
    assert few == 20
    assert plan(ships, checkpoint).recipe["num_train_epochs"] < few


def test_what_is_given_is_not_decided(ships, checkpoint):
    given = {"learning_rate": 1e-3, "max_steps": 7, "batch_size": 4, "micro_batch_size": 2, "augment": False}
    found = plan(ships, checkpoint, **given, overrides=(("weight_decay", "0.5"), ("lora_r", "3")))
    recipe = found.recipe
    assert (recipe["learning_rate"], recipe["max_steps"], found.updates) == (1e-3, 7, 7)
    assert (recipe["per_device_train_batch_size"], recipe["gradient_accumulation_steps"]) == (2, 2)
    assert (recipe["weight_decay"], recipe["lora_r"], recipe["augment"]) == (0.5, 3, False)
    assert not {"learning rate", "epochs"} & set(decided(found))


def test_data_without_a_validation_split_are_one_error(tmp_path, checkpoint):
    folder = tmp_path / "ships"
    folder.mkdir()
    write_split(folder, "train", [ship_row(0)])
    with pytest.raises(ValueError, match="has no validation split"):
        plan(folder, checkpoint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1.0, "max_steps": 2}, "give one of them"),
        ({"lora_rank": 0}, "lora_rank must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number above 0"),
        ({"full": True, "quantize": "4bit"}, "quantized weights cannot be trained"),
        ({"patience": -1}, "patience"),
        ({"overrides": (("seed", "3"),)}, "seed cannot be overridden here"),
    ],
)
def test_options_that_make_no_sense_are_one_error(options, message):
    with pytest.raises(ValueError, match=message):
        FinetuneOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "ground_accuracy"}, "metric must be one of loss, detect_f1, score, vqa_accuracy"),
        ({"overrides": (("no_such_field", "3"),)}, "a recipe has no field"),
    ],
)
def test_options_that_do_not_fit_the_data_are_one_error(ships, checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        plan(ships, checkpoint, **options)


def test_memory_of_this_machine():
    memory = device_memory(use_cpu=True)
    assert memory.device == "the CPU"
    assert 0 < memory.budget < memory.free
    assert replace(memory, free=100).budget == 85
