# SPDX-License-Identifier: Apache-2.0
"""The dry run: its figures are those of the run that follows, and it allocates no weights."""

import json

import pytest
import yaml
from torch.utils.data import IterableDataset
from transformers import AutoProcessor

from defined_environment import DEVICE
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.runs import dry_run as module
from geodit.trainers.runs.dry_run import dry_run, measure_data, plan_updates
from geodit.trainers.runs.recipes import parse_recipe
from geodit.trainers.runs.stages import training_questions
from geodit.trainers.trainable import count_parameters
from geodit.trainers.trainer import GeoDiTTrainer

peft = pytest.importorskip("peft")


@pytest.fixture
def recipe(base, tmp_path):
    def write(**values):
        path = tmp_path / "recipe.yaml"
        common = {
            "model_name_or_path": str(base),
            "num_scenes": 3,
            "cache_dir": str(tmp_path / "cache"),
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 4,
            "use_cpu": DEVICE == "cpu",
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
        }
        path.write_text(yaml.safe_dump({**common, **values}))
        return str(path)

    return write


@pytest.mark.parametrize(
    "values",
    [
        {"num_train_epochs": 1},
        {"num_train_epochs": 2, "gradient_accumulation_steps": 3, "per_device_train_batch_size": 2},
        {"attention_mode": "prefix", "questions_per_row": 5, "num_text_scenes": 2},
        {"use_peft": True, "lora_r": 2},
    ],
)
def test_the_figures_are_those_of_the_run(recipe, values):
    path = recipe(**values, trainable_parts=["vision_tower", "projector", "language_model"])
    planned = dry_run(path)

    model_args, data_args, training_args = parse_recipe(path)
    training_args.include_num_input_tokens_seen = "non_padding"
    model = GeoDiTForMaskedDiffusion.from_pretrained(model_args.model_name_or_path)
    processor = AutoProcessor.from_pretrained(model_args.model_name_or_path)
    model.config.attention_mode = model_args.attention_mode or "full"
    trainer = GeoDiTTrainer(
        model,
        training_args,
        peft_config=peft.LoraConfig(r=2) if model_args.use_peft else None,
        processing_class=processor,
        train_dataset=training_questions(data_args, processor),
    )
    trainer.train()
    assert planned.parameters == count_parameters(trainer.model)
    assert planned.updates.steps == trainer.state.max_steps == trainer.state.global_step
    assert planned.updates.tokens == trainer.state.num_input_tokens_seen
    assert planned.updates.epochs == trainer.state.epoch
    assert planned.data.exact
    assert planned.data.rows == len(trainer.train_dataset)


def test_the_longest_row_is_that_of_the_collator(base, items):
    model = GeoDiTForMaskedDiffusion.from_pretrained(base)
    processor = AutoProcessor.from_pretrained(base)
    size = measure_data(items, processor, model.config)
    batch = GeoDiTDataCollator(processor)(items)
    assert size.longest_row == batch["input_ids"].shape[1]
    assert size.longest_canvas == (batch["labels"] != -100).sum(1).max()
    assert (size.answers, size.tokens) == (len(items), batch["attention_mask"].sum())
    assert (size.padded, size.pictures_per_row) == (True, 1)


def test_a_large_data_set_is_sampled_and_a_stream_begun(base, items, monkeypatch, tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            yield from items

    model = GeoDiTForMaskedDiffusion.from_pretrained(base)
    processor = AutoProcessor.from_pretrained(base)
    monkeypatch.setattr(module, "MAX_COUNTED_ROWS", 4)
    sampled = measure_data(items, processor, model.config)
    assert (sampled.rows, sampled.counted_rows, sampled.exact) == (8, 4, False)
    begun = measure_data(Stream(), processor, model.config)
    assert (begun.rows, begun.counted_rows, begun.exact) == (None, 4, False)
    arguments = {"output_dir": str(tmp_path), "use_cpu": True, "per_device_train_batch_size": 2}
    with pytest.raises(ValueError, match="say with max_steps how many updates"):
        plan_updates(begun, module.GeoDiTTrainingArguments(**arguments))
    plan = plan_updates(begun, module.GeoDiTTrainingArguments(**arguments, max_steps=5))
    assert (plan.steps, plan.epochs, plan.tokens) == (5, None, round(begun.tokens / 4 * 2 * 5))
    with pytest.raises(ValueError, match="the data set is empty"):
        measure_data([], processor, model.config)


def test_of_a_checkpoint_only_the_configuration_is_read(base, recipe, tmp_path):
    """Eight billion parameters, of which there is no file."""
    checkpoint = tmp_path / "geodit-8b"
    checkpoint.mkdir()
    AutoProcessor.from_pretrained(base).save_pretrained(checkpoint)
    config = {"model_type": "geodit", "architectures": ["GeoDiTForMaskedDiffusion"]}
    (checkpoint / "config.json").write_text(json.dumps(config))
    planned = dry_run(recipe(model_name_or_path=str(checkpoint), bf16=True))
    assert planned.parameters["language_model"].total == 8_015_581_184
    assert planned.memory.sizes["weights"] == pytest.approx(4 * 8.45e9, rel=0.01)


def test_a_new_model_is_counted_as_well(recipe, geometry):
    planned = dry_run(recipe(model_name_or_path=None, geometry=str(geometry), location_bins=16))
    assert sum(count.total for count in planned.parameters.values()) > 0
    assert planned.model == str(geometry)


def test_dense_pretraining_is_refused(recipe):
    with pytest.raises(ValueError, match="is for objective masked_diffusion, not for dense_vision"):
        dry_run(recipe(objective="dense_vision"))


@pytest.mark.parametrize(
    ("optim", "states"), [("adamw_torch_fused", 2), ("sgd", 0), ("lion_32bit", 1), ("paged_adamw_8bit", 0.5)]
)
def test_optimizers_keep_different_amounts(recipe, optim, states):
    planned = dry_run(recipe(optim=optim))
    assert planned.memory.sizes["optimizer"] == states * planned.memory.sizes["gradients"]


def test_complementary_masks_take_the_memory_of_twice_the_rows(recipe):
    path = recipe()
    plain, both = (dry_run(path, ["--complementary_masks", given]) for given in ("false", "true"))
    twice = dry_run(path, ["--per_device_train_batch_size", "8"])
    assert both.memory_kept.sizes["activations"] > 1.9 * plain.memory_kept.sizes["activations"]
    # Both views together hide each token once.
    assert plain.memory_kept.sizes["logits"] == both.memory_kept.sizes["logits"] < twice.memory_kept.sizes["logits"]
    assert both.updates == plain.updates


def test_checkpointing_and_quantization_of_the_recipe_are_seen(recipe):
    path = recipe(use_peft=True, dtype="bfloat16", activation_checkpointing=True)
    planned = dry_run(path)
    assert planned.memory is planned.memory_checkpointed
    assert planned.memory.sizes["activations"] < planned.memory_kept.sizes["activations"]
    weights = [
        dry_run(path, arguments).memory.sizes["weights"] for arguments in ([], ["--load_in_8bit"], ["--load_in_4bit"])
    ]
    assert weights[0] > weights[1] > weights[2]
