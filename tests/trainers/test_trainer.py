# SPDX-License-Identifier: Apache-2.0
"""The Trainer: the right loss, the right parts, and the same update however the batch is cut."""

import pytest
import torch

from geodit.trainers.trainable import set_trainable_parts
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

# Plain SGD, so that a difference in a gradient stays one of its size.
ONE_UPDATE = {"max_steps": 1, "learning_rate": 1e-2, "optim": "sgd", "max_grad_norm": 0.0, "warmup_steps": 0}
LOSSES = [
    {},
    {"loss_weighting": "uniform", "loss_normalization": "token", "stratified_timesteps": True},
    {"loss_weighting": "masked_mean", "loss_normalization": "sequence"},
    {"loss_weighting": "masked_mean", "loss_normalization": "token", "supervise_padding": False},
    {"complementary_masks": True, "supervise_padding": False},
]


def test_the_papers_optimizer_settings_are_the_defaults(tmp_path):
    args = GeoDiTTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert (args.adam_beta1, args.adam_beta2, args.weight_decay) == (0.9, 0.95, 0.0)
    assert (args.lr_scheduler_type, args.get_warmup_steps(1000), args.num_train_epochs) == ("cosine", 30, 1)
    assert args.learning_rate == 1e-5
    assert args.optim.startswith("adamw")


def test_stage_one_trains_the_projector_and_nothing_else(make_trainer, model_and_processor, items, tmp_path):
    model, processor = model_and_processor
    before = {name: value.clone() for name, value in model.state_dict().items()}
    make_trainer(model, processor, items, tmp_path, trainable_parts=["projector"], learning_rate=1e-2).train()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("model.multi_modal_projector.")}


def test_stage_two_trains_everything(make_trainer, model_and_processor, items, tmp_path):
    model, processor = model_and_processor
    before = {name: value.clone() for name, value in model.state_dict().items()}
    make_trainer(model, processor, items, tmp_path, learning_rate=1e-2).train()
    assert [name for name, value in model.state_dict().items() if torch.equal(value, before[name])] == []


def test_the_vision_tower_may_have_a_learning_rate_of_its_own(make_trainer, model_and_processor, items, tmp_path):
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


@pytest.mark.parametrize("options", LOSSES)
def test_an_update_does_not_depend_on_how_the_batch_is_cut(
    make_trainer, model_and_processor, items, tmp_path, options
):
    """Rows of different canvas lengths, so that padding and counting would both show; also the noise is the same."""
    model, processor = model_and_processor
    start = {name: value.clone() for name, value in model.state_dict().items()}
    losses, weights = [], []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        model.load_state_dict(start)
        cut = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": accumulation}
        trainer = make_trainer(model, processor, items, tmp_path, **ONE_UPDATE, **options, **cut)
        losses.append(trainer.train().training_loss)
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-6, rtol=1e-4, msg=name)
    assert not weights[0]["lm_head.weight"].equal(start["lm_head.weight"])


def test_logits_are_computed_where_the_loss_is_taken_and_nowhere_else(
    make_trainer, model_and_processor, items, tmp_path
):
    model, processor = model_and_processor
    rows = []
    model.lm_head.register_forward_pre_hook(lambda module, inputs: rows.append(inputs[0].shape[0]))
    for supervise_padding in (True, False):
        make_trainer(model, processor, items, tmp_path, **ONE_UPDATE, supervise_padding=supervise_padding).train()
    canvas = sum((32, 16, 8, 32))
    assert rows[1] < rows[0] < canvas


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss_weighting": "p"}, "loss_weighting must be one of inverse, uniform, masked_mean, got 'p'"),
        ({"loss_normalization": "batch"}, "loss_normalization must be one of sequence, token, got 'batch'"),
        ({"complementary_masks": True, "mask_eps": 0.5}, "mask_eps must be below 0.5"),
        ({"eval_nll_draws": -1}, "eval_nll_draws must not be negative"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0.1 has no effect on the masked diffusion loss"),
        ({"enable_jit_checkpoint": True}, "at SIGTERM the update is finished and saved anyway"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        GeoDiTTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **arguments)


def test_training_learns_the_answers(make_trainer, model_and_processor, items, tmp_path):
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
    inputs = inputs.to(model.device)
    output = model.eval().generate(**inputs, max_new_tokens=8, max_denoising_steps=4)
    assert processor.decode_canvas(output[0, inputs["input_ids"].shape[1] :]) == "2"


def test_evaluation_uses_the_same_noise_every_time(make_trainer, model_and_processor, items, tmp_path):
    model, processor = model_and_processor
    trainer = make_trainer(model, processor, items, tmp_path)
    losses = set()
    for seed in (5, 6):
        torch.manual_seed(seed)
        losses.add(trainer.evaluate(items)["eval_loss"])
    assert len(losses) == 1


def test_other_arguments_are_refused(model_and_processor, tmp_path):
    from transformers import TrainingArguments

    model, _ = model_and_processor
    with pytest.raises(ValueError, match="args must be GeoDiTTrainingArguments"):
        GeoDiTTrainer(model=model, args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True))
    args = GeoDiTTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(ValueError, match="compute_loss_func has no effect on GeoDiTTrainer"):
        GeoDiTTrainer(model=model, args=args, compute_loss_func=lambda outputs, labels, num_items_in_batch: 0)
