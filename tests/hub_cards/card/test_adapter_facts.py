# SPDX-License-Identifier: Apache-2.0
"""The card of an adapter names its base, and says how to load the two together."""

import json
import re

import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from geodit.hub_cards.card.adapter_facts import is_adapter, read_adapter
from geodit.hub_cards.card.model_card import build_model_card, write_model_card


def set_config(folder, **fields):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_an_adapter_is_told_from_a_checkpoint(adapter, checkpoint):
    assert is_adapter(adapter)
    assert not is_adapter(checkpoint)


def test_the_files_describe_it(adapter):
    described = read_adapter(adapter)
    assert described.kind == "LORA"
    tensors = load_file(adapter / "adapter_model.safetensors")
    assert described.num_parameters == sum(tensor.numel() for tensor in tensors.values())
    settings = dict(described.settings)
    assert (settings["r"], settings["lora_alpha"]) == ("4", "8")
    assert settings["modules_to_save"] == "`multi_modal_projector`"


def test_the_metadata_name_the_base(adapter):
    set_config(adapter, base_model_name_or_path="org/geodit-8b")
    card = build_model_card(adapter, repo_id="org/geodit-trees", tags=["trees"])
    metadata = yaml.safe_load(card.content.split("---\n")[1])
    assert metadata["base_model"] == "org/geodit-8b"
    assert metadata["base_model_relation"] == "adapter"
    assert metadata["library_name"] == "peft"
    assert {"geodit", "lora", "trees"} <= set(metadata["tags"])
    assert "[org/geodit-8b](https://huggingface.co/org/geodit-8b)" in card.text
    assert 'GeoDiTPipeline.from_pretrained(adapter="org/geodit-trees")' in card.text
    assert 'GeoDiTForMaskedDiffusion.from_pretrained("org/geodit-8b")' in card.text


def test_a_base_at_a_revision_is_loaded_at_that(adapter):
    set_config(adapter, base_model_name_or_path="org/geodit-8b", revision="abc123")
    text = build_model_card(adapter).text
    assert "at `abc123`" in text
    assert 'from_pretrained("org/geodit-8b", revision="abc123")' in text


def test_a_base_in_a_folder_is_named_and_not_linked(adapter, checkpoint):
    card = build_model_card(adapter)
    assert card.data.base_model is None
    assert f"`{checkpoint.name}`" in card.text
    assert str(checkpoint.parent) not in card.content
    assert f'from_pretrained("path/to/{checkpoint.name}", adapter="path/to/geodit-lora")' in card.text
    assert "The base is not on the Hub under a name that is known" in card.text


def test_the_bundled_base_is_found_by_everyone(adapter):
    set_config(adapter, base_model_name_or_path="geodit-tiny")
    text = build_model_card(adapter).text
    assert 'GeoDiTPipeline.from_pretrained(adapter="path/to/geodit-lora")' in text
    assert "not on the Hub" not in text


def test_sections_are_those_of_an_adapter(adapter):
    (adapter / "training").mkdir()
    (adapter / "training" / "lora.yaml").write_text("use_peft: true\nlora_r: 4\nnum_neon_tiles: 10\n")
    text = build_model_card(adapter).text
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings == [
        *("How to use", "Tasks", "Adapter", "Training", "Intended use", "Limits", "Code", "Licence", "Citation")
    ]
    assert "| `lora_r` | 4 |" in text
    assert "\n\n\n" not in text
    assert not re.search(r"\{\{|\{%|\bNone\b|\bUndefined\b", text)


def test_the_code_in_the_card_runs(adapter, checkpoint, tmp_path, monkeypatch, capsys):
    Image.new("RGB", (40, 60), "teal").save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", build_model_card(adapter).text, flags=re.DOTALL)
    example = example.replace(f"path/to/{checkpoint.name}", str(checkpoint))
    exec(example.replace("path/to/geodit-lora", str(adapter)), {})
    assert capsys.readouterr().out.strip()


def test_pefts_own_card_is_replaced(adapter):
    path = write_model_card(adapter, repo_id="org/x")
    assert path.read_text().count("\n# ") == 1
    assert "[More Information Needed]" not in path.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "adapter_config.json is not JSON"),
        ("{}", "has no field 'peft_type'"),
        ('{"peft_type": "LORA"}', "has no field 'base_model_name_or_path'"),
        ('{"peft_type": "LORA", "base_model_name_or_path": null}', "base_model_name_or_path must be a string"),
    ],
)
def test_a_damaged_adapter_is_refused(adapter, content, message):
    (adapter / "adapter_config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        build_model_card(adapter)


def test_damaged_weights_are_refused(adapter):
    (adapter / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"the weights in .* cannot be read"):
        build_model_card(adapter)
