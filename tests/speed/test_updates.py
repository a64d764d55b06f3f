# SPDX-License-Identifier: Apache-2.0
"""Training updates whose time and memory are measured train what they are said to train."""

import pytest
import torch

from geodit.speed.models import build_model
from geodit.speed.updates import UpdateSettings, measure_updates
from geodit.trainers.runs.memory_estimate import BatchShape, estimate_memory

LORA = UpdateSettings(2, 5, 6, lora_rank=3, activation_checkpointing=True)
STAGE_1 = UpdateSettings(2, 5, 6, trainable_parts=["projector"])


@pytest.fixture
def fresh(shape, cpu):
    return build_model(shape.config(4), torch.float32, cpu)


def changed_by(model, settings):
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    measured = measure_updates(model, settings, updates=2)
    after = dict(model.named_parameters())
    return measured, {name for name, value in before.items() if name in after and not torch.equal(after[name], value)}


def test_stage_1_trains_the_projector(fresh):
    measured, changed = changed_by(fresh, STAGE_1)
    projector = {name for name, _ in fresh.named_parameters() if "projector" in name}
    assert changed == projector
    assert measured.trained == sum(p.numel() for name, p in fresh.named_parameters() if name in projector)


def test_lora_trains_an_adapter_with_a_copy_of_the_projector(fresh):
    measured, changed = changed_by(fresh, LORA)
    assert changed == set()
    adapter = [p for name, p in fresh.named_parameters() if "lora_" in name or "modules_to_save" in name]
    assert measured.trained == sum(parameter.numel() for parameter in adapter)
    assert any(parameter.abs().sum() > 0 for name, parameter in fresh.named_parameters() if "lora_B" in name)


def test_tokens_and_times_are_those_of_whole_updates(fresh):
    measured = measure_updates(fresh, STAGE_1, updates=2)
    assert measured.tokens == 2 * (4 + 5 + 6)
    assert len(measured.seconds) == 2
    low, high = (measured.tokens / seconds for seconds in (max(measured.seconds), min(measured.seconds)))
    assert low <= measured.tokens_per_second <= high
    assert measured.peak_bytes is None  # a processor does not tell
    assert measured.loss > 1


def test_the_estimate_is_that_of_what_is_trained(fresh):
    measured = measure_updates(fresh, STAGE_1, updates=1)
    batch = BatchShape(2, 15, 2, 12, padded=False)
    assert measured.estimate == estimate_memory(fresh, batch, autocast=torch.bfloat16)


def test_every_token_of_a_canvas_is_masked(fresh):
    projected = []
    handle = fresh.lm_head.register_forward_pre_hook(lambda module, args: projected.append(args[0].shape[:-1].numel()))
    measure_updates(fresh, STAGE_1, updates=1)
    handle.remove()
    assert projected == [12, 12]


def test_the_document_has_settings_and_figures(fresh):
    written = measure_updates(fresh, LORA, updates=1).to_dict()
    assert (written["lora_rank"], written["activation_checkpointing"], written["batch_size"]) == (3, True, 2)
    assert written["estimate"]["peak"] == sum(written["estimate"]["at_peak"].values())
    assert len(written["seconds"]) == 1
