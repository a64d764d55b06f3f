# SPDX-License-Identifier: Apache-2.0
"""Between the call of `generate()` and its first step nothing makes the host wait for a device.

On the meta device there is nothing to read: whatever asks for a number fails. What the host has to know it looks at
where the processor made it.
"""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from decoding_cases import prompts_of
from defined_environment import DEVICE
from ending_model import IMAGE, build_ending_model
from geodit.modeling_geodit.host_copies_geodit import to_device
from geodit.modeling_geodit.prompts_geodit import device_for

META = torch.device("meta")
# From the fourth on it is asked whether steps of fixed shapes are needed.
OPTIONS = {"max_new_tokens": 8, "max_denoising_steps": 3, "capture_step": True}


class Waits(TorchDispatchMode):
    """Lists the copies from the CPU to the meta device that would wait for all that was launched before."""

    def __init__(self):
        super().__init__()
        self.copies = []
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func._schema.name == "aten::_to_copy" and args[0].device.type == "cpu" and kwargs.get("device") == META:
            self.copies.append(args[0].shape)
            if not kwargs.get("non_blocking"):
                self.found.append(args[0].shape)
        if func._schema.name == "aten::copy_" and args[0].is_meta and args[1].device.type == "cpu" and args[1].dim():
            self.found.append(args[1].shape)
        return func(*args, **kwargs)


def on_meta(mode):
    model = build_ending_model(mode, num_layers=3, num_key_value_heads=1).wrapped
    return copy.deepcopy(model).to(META)


@pytest.mark.parametrize("mode", ["prefix", "full"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"guidance_scale": 1.5},
        {"temperature": 0.8, "seed": 3},
        {"remasking": "random", "generator": [torch.Generator(), torch.Generator(), torch.Generator()]},
        {"canvas_lengths": [4, 8, 6]},
        {"block_length": 4, "initial_canvas_length": 4},
        {"prefix_refresh_steps": 2},
    ],
    ids=lambda options: "-".join(options),
)
def test_prompts_of_the_cpu_are_answered_without_reading_from_the_model(mode, options):
    model = on_meta(mode)
    with Waits() as waits:
        sequences = model.generate(**prompts_of(3, 6, seed=0), **OPTIONS, **options)
    assert sequences.is_meta
    assert sequences.shape == (3, 18)
    assert waits.found == []
    assert waits.copies  # the ids at least


@pytest.mark.parametrize("mode", ["prefix", "full"])
def test_so_are_questions_about_images_that_were_encoded_before(mode):
    model, inputs = on_meta(mode), prompts_of(2, 6, seed=0)
    with Waits() as waits:
        prefix = model.encode_image(inputs.pop("pixel_values"))
        assert model.generate(**inputs, image_prefix=prefix, **OPTIONS).is_meta
    assert waits.found == []


def test_so_are_many_prompts_until_it_is_asked_which_are_finished():
    model, loaded = on_meta("prefix"), []

    def batches():
        for seed in range(2):
            loaded.append(seed)
            yield prompts_of(2, 6, seed=seed)

    with pytest.raises((RuntimeError, NotImplementedError), match="meta"), Waits() as waits:
        list(model.generate_many(batches(), slots=4, **OPTIONS))
    assert loaded == [0, 1]
    assert waits.found == []


class TestChecks:
    """They are made on the CPU, with numbers, before the model is asked for any."""

    def test_of_placeholders_without_images(self):
        inputs = prompts_of(2, 6, seed=0)
        del inputs["pixel_values"]
        with pytest.raises(ValueError, match="hold 8 image placeholders, but no pixel_values"):
            on_meta("prefix").generate(**inputs, **OPTIONS)

    def test_of_the_number_of_placeholders(self):
        inputs = prompts_of(2, 6, seed=0)
        inputs["pixel_values"] = inputs["pixel_values"][:1]
        with pytest.raises(ValueError, match="holds 8 image tokens, but the 1 images given need 4"):
            on_meta("prefix").generate(**inputs, **OPTIONS)

    def test_of_placeholders_of_encoded_images(self):
        model, inputs = on_meta("prefix"), prompts_of(2, 6, seed=0)
        prefix = model.encode_image(inputs.pop("pixel_values"))
        inputs["input_ids"][1] = inputs["input_ids"][1].masked_fill(inputs["input_ids"][1] == IMAGE, 5)
        with pytest.raises(ValueError, match=r"\[4, 4\] of them in these rows, but \[4, 0\]"):
            model.generate(**inputs, image_prefix=prefix, **OPTIONS)


def test_prompts_may_be_on_the_device_as_well():
    model = build_ending_model("prefix", num_layers=3, num_key_value_heads=1).wrapped.to(DEVICE)
    inputs = {name: value.to(DEVICE) for name, value in prompts_of(2, 6, seed=0).items()}
    from_device = model.generate(**inputs, **OPTIONS)
    assert from_device.device.type == torch.device(DEVICE).type
    assert torch.equal(from_device, model.generate(**prompts_of(2, 6, seed=0), **OPTIONS))


def test_the_device_of_a_model_with_hooks_is_left_to_them():
    model = on_meta("prefix")
    assert device_for(model, torch.zeros(1)) == META
    model.get_input_embeddings()._hf_hook = object()
    assert device_for(model, torch.zeros(1)) == torch.device("cpu")


def test_a_check_would_find_what_waits():
    with Waits() as waits:
        torch.zeros(3).to(META)
        torch.zeros(4, device=META).copy_(torch.zeros(4))
        to_device(torch.zeros(5), META)
    assert waits.found == [(3,), (4,)]
    assert waits.copies == [(3,), (5,)]
