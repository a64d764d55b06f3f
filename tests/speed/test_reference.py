# SPDX-License-Identifier: Apache-2.0
"""The reference loop is a reference only if generate() gives the same tokens."""

import copy

import pytest
import torch

from geodit.speed.reference import reference_generate


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def typed_model(request, model):
    typed = copy.deepcopy(model).to(request.param)
    typed.config.attention_mode = "full"
    return typed


@pytest.mark.parametrize(("canvas_length", "steps"), [(1, 1), (8, 1), (8, 3), (8, 4), (8, 8), (5, 7)])
def test_its_tokens_are_those_of_generate(typed_model, inputs, canvas_length, steps):
    tokens = reference_generate(
        typed_model, inputs.input_ids, inputs.pixel_values, canvas_length=canvas_length, steps=steps
    )
    expected = typed_model.generate(
        inputs.input_ids, inputs.pixel_values, max_new_tokens=canvas_length, max_denoising_steps=steps
    )
    assert torch.equal(tokens, expected[:, inputs.input_ids.shape[1] :])


def test_it_tells_of_the_images_and_of_every_step(model, inputs):
    model.config.attention_mode = "full"
    marks = []
    reference_generate(model, inputs.input_ids, inputs.pixel_values, canvas_length=4, steps=6, mark=marks.append)
    assert marks == list(range(7))


def test_every_step_computes_everything(model, inputs):
    """The network on all tokens, and logits of all positions, also where nothing is left to commit."""
    model.config.attention_mode = "full"
    seen = []
    handles = [
        layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
        for layer in (model.model.language_model.layers[-1].mlp, model.lm_head)
    ]
    reference_generate(model, inputs.input_ids, inputs.pixel_values, canvas_length=4, steps=6)
    for handle in handles:
        handle.remove()
    assert seen == [21 + 4] * 2 * 6
