# SPDX-License-Identifier: Apache-2.0
"""The Trainer: the right loss, the right parts, and the same update however the batch is cut."""

import pytest
import torch
from torch.utils.data import Dataset

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.trainable import set_trainable_parts
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

# With timesteps fixed at 1 everything is masked, so that runs can be compared whatever order they draw noise in.
ALL_MASKED = 1.0 - 1e-6


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def make_trainer(model, processor, items, tmp_path, **arguments) -> GeoDiTTrainer:
    settings = {
        "output_dir": str(tmp_path),
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",
        **arguments,
    }
    return GeoDiTTrainer(
        model=model,
        args=GeoDiTTrainingArguments(**settings),
        data_collator=GeoDiTDataCollator(processor),
        processing_class=processor,
        train_dataset=Items(items),
    )


def test_the_papers_optimizer_settings_are_the_defaults(tmp_path):
    args = GeoDiTTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert (args.adam_beta1, args.adam_beta2, args.weight_decay) == (0.9, 0.95, 0.0)
    assert (args.lr_scheduler_type, args.get_warmup_steps(1000), args.num_train_epochs) == ("cosine", 30, 1)
    assert args.learning_rate == 1e-5
    assert args.optim.startswith("adamw")


def test_stage_one_trains_the_projector_and_nothing_else(model_and_processor, items, tmp_path):
    model, processor = model_and_processor
    before = {name: value.clone() for name, value in model.state_dict().items()}
    make_trainer(model, processor, items, tmp_path, trainable_parts=["projector"], learning_rate=1e-2).train()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("model.multi_modal_projector.")}


def test_stage_two_trains_everything(model_and_processor, items, tmp_path):
    model, processor = model_and_processor
    before = {name: value.clone() for name, value in model.state_dict().items()}
    make_trainer(model, processor, items, tmp_path, learning_rate=1e-2).train()
    assert [name for name, value in model.state_dict().items() if torch.equal(value, before[name])] == []


def test_the_vision_tower_may_have_a_learning_rate_of_its_own(model_and_processor, items, tmp_path):
    model, processor = model_and_processor
    trainer = make_trainer(model, processor, items, tmp_path, learning_rate=1e-2, vision_learning_rate=1e-4)
    optimizer = trainer.create_optimizer()
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    tower = {id(p) for p in model.model.vision_tower.parameters()}
    assert len(rates) == len(list(model.parameters()))
    assert all(rate == (1e-4 if key in tower else 1e-2) for key, rate in rates.items())


def test_parts_are_named_or_refused(model_and_processor, tmp_path):
    model, _ = model_and_processor
    with pytest.raises(ValueError, match="Unknown part 'vision'; the parts are vision_tower, projector"):
        set_trainable_parts(model, ["vision"])
    with pytest.raises(ValueError, match="trainable_parts must name at least one"):
        GeoDiTTrainingArguments(output_dir=str(tmp_path), trainable_parts=["vision"], use_cpu=True)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(8, 1), (2, 4), (1, 8)])
def test_an_update_does_not_depend_on_how_the_batch_is_cut(
    model_and_processor, items, tmp_path, batch_size, accumulation
):
    """Rows of different canvas lengths, so that padding and counting tokens would both show."""
    model, processor = model_and_processor
    reference = GeoDiTForMaskedDiffusion(model.config)
    reference.load_state_dict(model.state_dict())
    common = {"mask_eps": ALL_MASKED, "max_steps": 1, "learning_rate": 1e-2, "optim": "sgd", "max_grad_norm": 0.0}
    whole = make_trainer(
        reference, processor, items, tmp_path, per_device_train_batch_size=8, warmup_steps=0, **common
    )
    cut = make_trainer(
        model,
        processor,
        items,
        tmp_path,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        warmup_steps=0,
        **common,
    )
    losses = [trainer.train().training_loss for trainer in (whole, cut)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for (name, expected), parameter in zip(reference.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, atol=1e-6, rtol=1e-4, msg=name)


def test_training_learns_the_answers(model_and_processor, items, tmp_path):
    model, processor = model_and_processor
    trainer = make_trainer(
        model,
        processor,
        items[:3],
        tmp_path,
        max_steps=250,
        learning_rate=1e-2,
        per_device_train_batch_size=3,
        logging_steps=10,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-3:]) < 0.25 * sum(losses[:3])
    question = items[2]["question"]
    inputs = processor(images=items[2]["image"], text=question.query, task="vqa", return_tensors="pt")
    output = model.eval().generate(**inputs, max_new_tokens=8, max_denoising_steps=4)
    assert processor.decode_canvas(output[0, inputs["input_ids"].shape[1] :]) == "2"


def test_evaluation_uses_the_same_noise_every_time(model_and_processor, items, tmp_path):
    model, processor = model_and_processor
    trainer = make_trainer(model, processor, items, tmp_path)
    losses = set()
    for seed in (5, 6):
        torch.manual_seed(seed)
        losses.add(trainer.evaluate(Items(items))["eval_loss"])
    assert len(losses) == 1


def test_a_killed_run_resumes_from_its_checkpoint(model_and_processor, items, tmp_path):
    model, processor = model_and_processor
    start = {name: value.clone() for name, value in model.state_dict().items()}
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2, "seed": 3}
    make_trainer(model, processor, items, tmp_path, **settings).train()
    expected = {name: value.clone() for name, value in model.state_dict().items()}

    model.load_state_dict(start)
    resumed = make_trainer(model, processor, items, tmp_path, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.state.global_step == 4
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_other_arguments_are_refused(model_and_processor, tmp_path):
    from transformers import TrainingArguments

    model, _ = model_and_processor
    with pytest.raises(ValueError, match="args must be GeoDiTTrainingArguments"):
        GeoDiTTrainer(model=model, args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True))
