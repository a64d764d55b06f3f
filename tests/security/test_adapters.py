# SPDX-License-Identifier: Apache-2.0
"""Adapters of a stranger: no module of theirs is imported, no pattern runs for ever, no tensor is taken unseen."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("peft")

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.weights.adapters import load_adapter, load_merged

# On a name of forty letters, more steps than there are atoms.
ENDLESS = r"((\w|.)+\.?)+(?<!.)"


@pytest.fixture
def folder(adapter, tmp_path):
    return Path(shutil.copytree(adapter, tmp_path / "adapter"))


def edit(folder, **fields):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_tensors(folder, change):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


@pytest.fixture
def hurried(monkeypatch):
    """A fifth of a second for the patterns, in place of five seconds."""
    monkeypatch.setattr("geodit.weights.adapter_checks._SECONDS", 0.2)


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": ENDLESS},
        {"exclude_modules": ENDLESS},
        {"rank_pattern": {ENDLESS: 2}},
        {"alpha_pattern": {ENDLESS: 2}},
        {"modules_to_save": [ENDLESS]},
        {"layers_pattern": ENDLESS, "layers_to_transform": [0], "target_modules": ["q_proj"]},
        {"target_modules": "(" * 500},
        {"target_modules": "a" * 100_000},
    ],
    ids=lambda fields: "+".join(fields),
)
@pytest.mark.usefixtures("hurried")
def test_a_pattern_that_does_not_end_is_refused(folder, fields):
    edit(folder, **fields)
    with pytest.raises(ValueError, match=rf"has a pattern in {next(iter(fields))}|must be names of modules"):
        load_merged(folder)


def test_a_pattern_stands_for_the_modules_that_it_names(folder, checkpoint):
    by_name = load_merged(folder).state_dict()
    targets = json.loads((folder / "adapter_config.json").read_text())["target_modules"]
    edit(
        folder,
        target_modules=rf".*\.({'|'.join(targets)})" if isinstance(targets, list) else targets,
        rank_pattern={r".*q_proj": 4},
    )
    by_pattern = load_merged(folder).state_dict()
    assert by_name.keys() == by_pattern.keys()
    assert all(torch.equal(by_name[name], by_pattern[name]) for name in by_name)


def test_the_first_pattern_of_ranks_that_matches_counts(folder, checkpoint):
    def halve(tensors):
        for name in [name for name in tensors if "q_proj" in name]:
            rows = tensors[name]
            tensors[name] = (rows[:2] if "lora_A" in name else rows[:, :2]).contiguous()

    change_tensors(folder, halve)
    edit(folder, rank_pattern={r"layers\.\d+\.self_attn\.q_proj": 2, ".*q_proj": 3})
    network = GeoDiTForMaskedDiffusion.from_pretrained(checkpoint)
    adapted = load_adapter(network, folder)
    ranks = {name: len(value) for name, value in adapted.named_parameters() if "q_proj.lora_A" in name}
    assert set(ranks.values()) == {2}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config, which GeoDiT does not take"),
        ({"layer_replication": [[0, 10**9]]}, "layer_replication, which GeoDiT does not take"),
        ({"r": 10**9}, "r=1,000,000,000, but no side of its tensors"),
        ({"rank_pattern": {"q_proj": 10**9}}, "but no side of its tensors"),
        ({"peft_type": "UNHEARD_OF"}, "UNHEARD_OF"),
        ({"peft_type": ["LORA"]}, "cannot be loaded"),
        ({"r": "eight"}, "adapter"),
        ({"lora_alpha": None}, "adapter"),
        ({"target_modules": 7}, "adapter"),
    ],
)
def test_a_field_that_cannot_be_is_refused(folder, fields, message):
    edit(folder, **fields)
    with pytest.raises(ValueError, match=message):
        load_merged(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", "{}", "[" * 100_000])
def test_a_configuration_that_is_none_is_named(folder, content):
    (folder / "adapter_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"adapter_config\.json"):
        load_merged(folder)


def test_tensors_that_were_cut_off_are_named(folder):
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors is cut off or damaged"):
        load_merged(folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_none_are_found(folder, value):
    change_tensors(folder, lambda tensors: next(iter(tensors.values())).view(-1)[-1:].fill_(value))
    with pytest.raises(ValueError, match="NaN or infinite"):
        load_merged(folder)


def test_integers_in_the_place_of_numbers_are_found(folder):
    def to_integers(tensors):
        name = next(iter(tensors))
        tensors[name] = tensors[name].to(torch.int32)

    change_tensors(folder, to_integers)
    with pytest.raises(ValueError, match=r"of the type torch\.int32"):
        load_merged(folder)


def test_the_program_says_it_in_one_line(geodit, folder, image):
    edit(folder, peft_type="UNHEARD_OF")
    assert "UNHEARD_OF" in geodit.fails("predict", image, "--task", "caption", "--adapter", folder)
