# SPDX-License-Identifier: Apache-2.0
"""What training does not compute, and what it computes in other ways to the same end."""

import functools

import pytest
import torch

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from tiny_models import build_model


@pytest.fixture(scope="module")
def make_trainer(make_trainer):
    return functools.partial(make_trainer, logging_steps=1, learning_rate=0.05, warmup_steps=0, optim="sgd")


def losses_of(make_trainer, model, processor, items, tmp_path, **arguments) -> list[float]:
    """Losses of a run, which leaves the model itself as it was."""
    copy = GeoDiTForMaskedDiffusion(model.config)
    copy.load_state_dict(model.state_dict())
    trainer = make_trainer(copy, processor, items, tmp_path, **arguments)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_the_vocabulary_is_projected_to_masked_positions_only(model_and_processor, items, tmp_path, make_trainer):
    model, processor = model_and_processor
    masked, projected = [], []
    model.register_forward_pre_hook(
        lambda _, args, inputs: masked.append(inputs["input_ids"] == model.config.mask_token_id), with_kwargs=True
    )
    model.lm_head.register_forward_hook(lambda _, args, output: projected.append((args[0].shape, output.shape)))
    make_trainer(model, processor, items, tmp_path).train()
    assert len(projected) == len(masked) == 2
    hidden_size, vocab_size = model.config.text_config.hidden_size, model.config.text_config.vocab_size
    for where, (before, after) in zip(masked, projected, strict=True):
        assert 0 < where.sum() < 0.5 * where.numel()
        assert before == (where.sum(), hidden_size)
        assert after == (where.sum(), vocab_size)


def test_activation_checkpointing_gives_the_same_losses(model_and_processor, items, tmp_path, make_trainer):
    """It runs a layer twice, forward and again in the backward pass."""
    model, processor = model_and_processor
    expected = losses_of(make_trainer, model, processor, items, tmp_path)
    calls = []
    layer = model.model.language_model.layers[0].self_attn
    handle = layer.register_forward_hook(lambda *_: calls.append(1))
    trainer = make_trainer(model, processor, items, tmp_path, activation_checkpointing=True)
    trainer.train()
    handle.remove()
    assert [entry["loss"] for entry in trainer.state.log_history if "loss" in entry] == pytest.approx(expected)
    assert len(calls) == 4


def test_a_compiled_model_gives_the_same_losses(items, tmp_path, make_trainer, device):
    """Its graphs run as captured: generating code for them takes too long for a test, as more layers do."""
    model, processor = build_model(text={"num_hidden_layers": 1})
    model.to(device)
    questions = [item for item in items if item["question"].task == "vqa"]
    torch._dynamo.reset()
    common = {"per_device_train_batch_size": 2, "max_steps": 1}
    expected = losses_of(make_trainer, model, processor, questions, tmp_path, **common)
    arguments = {"torch_compile": True, "torch_compile_backend": "eager", **common}
    assert losses_of(make_trainer, model, processor, questions, tmp_path, **arguments) == pytest.approx(
        expected, rel=1e-5
    )
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


def test_mixed_precision_computes_in_bfloat16_and_keeps_weights_in_float32(
    model_and_processor, items, tmp_path, make_trainer
):
    model, processor = model_and_processor
    dtypes = set()
    model.lm_head.register_forward_hook(lambda _, args, output: dtypes.add(output.dtype))
    trainer = make_trainer(model, processor, items, tmp_path, bf16=True)
    trainer.train()
    assert dtypes == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(entry["loss"] > 0 for entry in trainer.state.log_history if "loss" in entry)
