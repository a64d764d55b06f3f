# SPDX-License-Identifier: Apache-2.0
"""The memory estimate: what autograd keeps, tensor by tensor, and how the parts add up."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers.trainer_utils import unwrap_peft_model

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.diffusion_geodit import (
    forward_process,
    masked_diffusion_loss,
    weighted_token_losses,
)
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.trainers.lora import add_adapter, prepare_adapter
from geodit.trainers.runs.memory_estimate import COMPONENTS, BatchShape, _Shapes, estimate_memory
from geodit.trainers.trainable import set_trainable_parts

SHAPE = {
    "text_config": {
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 600,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    },
    "vision_config": {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 48,
        "patch_size": 8,
        "vision_use_head": False,
    },
    "image_token_id": 3,
    "mask_token_id": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
ROWS, PROMPT, CANVAS = 3, 12, 16
STAGES = {
    "stage 1": ["projector"],
    "stage 2": ["vision_tower", "projector", "language_model"],
    "text": ["language_model"],
}


def make_model(attention="sdpa", dtype=torch.float32, **text):
    torch.manual_seed(0)
    config = GeoDiTConfig(**{**SHAPE, "text_config": {**SHAPE["text_config"], **text}})
    model = GeoDiTForMaskedDiffusion(config).to(dtype).train()
    model.set_attn_implementation(attention)
    return model


def make_batch(model):
    """Rows of an image, a prompt and a canvas; one is shorter, so that there is a mask."""
    num_image_tokens = model.config.num_image_tokens
    ids = torch.randint(10, 600, (ROWS, num_image_tokens + PROMPT + CANVAS))
    ids[:, :num_image_tokens] = model.config.image_token_id
    canvas = torch.zeros_like(ids, dtype=torch.bool)
    canvas[:, -CANVAS:] = True
    attention_mask = torch.ones_like(ids)
    attention_mask[0, num_image_tokens] = 0
    side = model.config.vision_config.image_size
    inputs = {"input_ids": ids, "attention_mask": attention_mask, "pixel_values": torch.rand(ROWS, 3, side, side)}
    shape = BatchShape(ROWS, ids.shape[1], ROWS, num_masked=ROWS * CANVAS)
    return inputs, canvas, shape


def kept_by_autograd(model, inputs, canvas, autocast=None):
    """Bytes of all storages that the graph of a loss holds, but for the model's own and the batch's."""
    own = [*model.parameters(), *model.buffers(), *inputs.values()]
    known = {tensor.untyped_storage().data_ptr() for tensor in own}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage  # held, so that no other takes its place
        return tensor

    noised = forward_process(inputs["input_ids"], canvas, 4, timesteps=torch.ones(ROWS))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast is not None):
            outputs = model(
                **{**inputs, "input_ids": noised.input_ids}, canvas_mask=canvas, logits_to_keep=noised.targets
            )
        loss = masked_diffusion_loss(weighted_token_losses(outputs.logits, inputs["input_ids"], noised), noised)
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def estimated_to_be_kept(model, shape, autocast=None):
    """The same as the estimate has it: activations, and the copies of weights that autocast makes."""
    stages = _Shapes(unwrap_peft_model(model), shape, autocast).stages()
    return sum(part.saved + part.logits + part.weight_copies for stage in stages for part in stage.parts)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "autocast"])
@pytest.mark.parametrize("stage", STAGES)
def test_activations_are_what_autograd_keeps(stage, precision, attention):
    model = make_model(attention, torch.bfloat16 if precision == "bfloat16" else torch.float32)
    set_trainable_parts(model, STAGES[stage])
    autocast = torch.bfloat16 if precision == "autocast" else None
    inputs, canvas, shape = make_batch(model)
    measured = kept_by_autograd(model, inputs, canvas, autocast)
    assert estimated_to_be_kept(model, shape, autocast=autocast) == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(
    ("weights", "autocast"),
    [(torch.float32, None), (torch.float32, torch.bfloat16), (torch.bfloat16, None), (torch.bfloat16, torch.bfloat16)],
)
def test_activations_of_an_adapter_are_what_autograd_keeps(weights, autocast, dropout):
    peft = pytest.importorskip("peft")
    model = add_adapter(make_model(dtype=weights), peft.LoraConfig(r=4, lora_dropout=dropout))
    if autocast is not None:
        prepare_adapter(model, autocast=True)
    inputs, canvas, shape = make_batch(model)
    measured = kept_by_autograd(model.train(), inputs, canvas, autocast)
    assert estimated_to_be_kept(model, shape, autocast=autocast) == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_grouped_keys_and_values_are_repeated(attention):
    model = make_model(attention, num_key_value_heads=2)
    inputs, canvas, shape = make_batch(model)
    assert estimated_to_be_kept(model, shape) == pytest.approx(kept_by_autograd(model, inputs, canvas), rel=0.01)


def allocated_at_most(step):
    """Bytes that PyTorch's allocator hands out within a call, at their most."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    sizes = [event.nbytes() for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(sizes))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("stage", ["stage 1", "stage 2"])
def test_the_peak_is_what_an_update_allocates(stage, autocast, checkpointing):
    model = make_model(hidden_size=128, intermediate_size=352, head_dim=32, vocab_size=2000)
    set_trainable_parts(model, STAGES[stage])
    if checkpointing:
        model.gradient_checkpointing_enable()  # activation_checkpointing_enable from Transformers 5.23 on
    inputs, canvas, shape = make_batch(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)

    def loss():
        noised = forward_process(inputs["input_ids"], canvas, 4, timesteps=torch.ones(ROWS))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast is not None):
            logits = model(
                **{**inputs, "input_ids": noised.input_ids}, canvas_mask=canvas, logits_to_keep=canvas
            ).logits
        return masked_diffusion_loss(weighted_token_losses(logits.float(), inputs["input_ids"], noised), noised)

    def update():
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    update()  # makes the optimizer states
    estimate = estimate_memory(model, shape, autocast=autocast, activation_checkpointing=checkpointing)
    resident = estimate.sizes["weights"] + estimate.sizes["optimizer"]
    assert estimate.peak == pytest.approx(resident + allocated_at_most(update), rel=0.03)


@pytest.fixture(scope="module")
def model():
    """Eight billion parameters without storage."""
    with torch.device("meta"):
        return GeoDiTForMaskedDiffusion(GeoDiTConfig())


class TestProperties:
    SHAPE = BatchShape(4, 800, 4, 4 * 32)

    def test_the_components_add_up(self, model):
        estimate = estimate_memory(model, self.SHAPE)
        assert set(estimate.sizes) == set(estimate.at_peak) == set(COMPONENTS)
        assert estimate.peak == sum(estimate.at_peak.values()) <= sum(estimate.sizes.values())
        assert all(0 <= estimate.at_peak[name] <= estimate.sizes[name] for name in COMPONENTS)
        parameters = model.num_parameters()
        buffers = sum(b.numel() * b.itemsize for b in model.buffers())
        assert (estimate.sizes["weights"], estimate.sizes["optimizer"]) == (4 * parameters + buffers, 8 * parameters)
        assert estimate.sizes["gradients"] == 4 * parameters
        assert estimate.to_dict()["peak"] == estimate.peak

    @pytest.mark.parametrize(
        "more", [{"batch_size": 5}, {"sequence_length": 900}, {"num_pictures": 5}, {"num_masked": 160}]
    )
    @pytest.mark.parametrize("checkpointing", [False, True])
    def test_a_larger_batch_takes_more(self, model, checkpointing, more):
        options = {"activation_checkpointing": checkpointing, "autocast": torch.bfloat16}
        larger = estimate_memory(model, replace(self.SHAPE, **more), **options)
        smaller = estimate_memory(model, self.SHAPE, **options)
        assert sum(larger.sizes.values()) > sum(smaller.sizes.values())
        assert larger.peak >= smaller.peak

    def test_what_saves_memory_saves_memory(self, model):
        def peak(**options):
            return estimate_memory(model, replace(self.SHAPE, batch_size=24, num_pictures=24), **options).peak

        assert peak(activation_checkpointing=True) < peak()
        assert peak(autocast=torch.bfloat16) < peak()
        assert peak(optimizer_states=0) < peak() < peak(gradient_accumulation=True)

    def test_a_quantized_base_has_fewer_bytes(self):
        peft = pytest.importorskip("peft")
        with torch.device("meta"):
            model = add_adapter(GeoDiTForMaskedDiffusion(GeoDiTConfig()).to(torch.bfloat16), peft.LoraConfig())
        whole, quantized = (estimate_memory(model, self.SHAPE, quantized_bits=bits) for bits in (None, 4.5))
        linear = 32 * (4 * 4096**2 + 3 * 4096 * 12288)
        assert whole.sizes["weights"] - quantized.sizes["weights"] == linear * (16 - 4.5) / 8
        assert whole.sizes["gradients"] == quantized.sizes["gradients"] < 0.01 * whole.sizes["weights"]

    @pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"sequence_length": 0}, {"num_masked": -1}])
    def test_an_impossible_batch_is_refused(self, wrong):
        with pytest.raises(ValueError, match="at least one row"):
            replace(self.SHAPE, **wrong)
