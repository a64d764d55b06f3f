# SPDX-License-Identifier: Apache-2.0
"""How models of others are loaded: by classes of Transformers, from LLaVA's own layout, by their own code."""

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from geodit.evaluation.other_models.families import Prompt
from geodit.evaluation.other_models.generators import ChatMethodGenerator, GeoDiTGenerator
from geodit.evaluation.other_models.loading import load_other_model
from geodit.evaluation.other_models.original_llava import interpolate_positions
from geodit.weights.bundled import bundled_checkpoint
from other_tiny_models import TEXT, byte_tokenizer, llava, save_checkpoint

RENAMED = (
    ("model.vision_tower.", "model.vision_tower.vision_tower.vision_model."),
    ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
    ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ("model.language_model.", "model."),
)
# What comes along as code: a model that answers by a method `chat`, and leaves a trace when it is imported.
OWN_CODE = """
from pathlib import Path
import torch
from transformers import PreTrainedConfig, PreTrainedModel

Path(r"{trace}").write_text("imported")

class ChattyConfig(PreTrainedConfig):
    model_type = "internvl_chat"

class ChattyModel(PreTrainedModel):
    config_class = ChattyConfig

    def __init__(self, config):
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.post_init()

    def chat(self, tokenizer, pixel_values, question, generation_config):
        assert not generation_config["do_sample"]
        return f"{{list(pixel_values.shape)}} {{question}} {{generation_config['max_new_tokens']}}"
"""


@pytest.fixture
def image():
    return Image.effect_noise((50, 30), 90).convert("RGB")


@pytest.fixture
def own_code(tmp_path):
    """A checkpoint that only its own code can run, and the trace that running the code leaves."""
    folder, trace = tmp_path / "earthdial-tiny", tmp_path / "trace"
    folder.mkdir()
    (folder / "chatty.py").write_text(OWN_CODE.format(trace=trace))
    config = {
        "model_type": "internvl_chat",
        "architectures": ["ChattyModel"],
        "auto_map": {"AutoConfig": "chatty.ChattyConfig", "AutoModel": "chatty.ChattyModel"},
        "force_image_size": 28,
        "max_dynamic_patch": 6,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    byte_tokenizer().save_pretrained(folder)
    return folder, trace


def original_layout(folder, *, tower_apart=False, **config):
    """Save a tiny LLaVA as its own code does: other names, no `<image>` token, and perhaps a tower elsewhere."""
    model, _processor = llava()
    tokenizer = byte_tokenizer()
    model.resize_token_embeddings(len(tokenizer))
    tensors = {}
    for name, tensor in model.state_dict().items():
        old, new = next(((ours, theirs) for ours, theirs in RENAMED if name.startswith(ours)), ("", ""))
        tensors[new + name.removeprefix(old)] = tensor.contiguous()
    tower = folder / "clip"
    tower.mkdir(parents=True)
    model.config.vision_config.save_pretrained(tower)
    prefix = "model.vision_tower.vision_tower."
    if tower_apart:
        apart = {name.removeprefix(prefix): tensors.pop(name) for name in sorted(tensors) if name.startswith(prefix)}
        save_file(apart, tower / "model.safetensors", metadata={"format": "pt"})
    checkpoint = folder / "vhm-tiny"
    checkpoint.mkdir()
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(checkpoint)
    written = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "model_type": "llava",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_tower": str(tower),
        "mm_vision_select_layer": -2,
        **config,
    }
    (checkpoint / "config.json").write_text(json.dumps(written))
    return checkpoint, model


@pytest.mark.parametrize("tower_apart", [False, True])
def test_a_model_in_the_layout_of_llava_answers_as_in_that_of_transformers(tmp_path, image, tower_apart):
    checkpoint, model = original_layout(tmp_path, tower_apart=tower_apart)
    loaded = load_other_model(str(checkpoint), device="cpu")
    assert loaded.family.name == "vhm"
    network = loaded.generator.model
    assert network.config.image_token_id == loaded.generator.processor.tokenizer.unk_token_id
    expected = model.state_dict()
    assert network.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    (answer,) = loaded.generator.generate([image], [Prompt("{VQA} How many?")], 5)
    assert answer.num_tokens <= 5


def test_weights_that_are_missing_are_named(tmp_path):
    checkpoint, _ = original_layout(tmp_path)
    tensors = load_file(checkpoint / "model.safetensors")
    del tensors["model.mm_projector.2.weight"]
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 tensors of a LLaVA-1\.5, such as .*linear_2\.weight"):
        load_other_model(str(checkpoint), device="cpu")


def test_pickled_weights_are_refused(tmp_path):
    checkpoint, model = original_layout(tmp_path)
    (checkpoint / "model.safetensors").unlink()
    torch.save(model.state_dict(), checkpoint / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin"):
        load_other_model(str(checkpoint), device="cpu")


def test_geochat_sees_larger_images_than_its_tower_was_made_for(tmp_path, image):
    checkpoint, _ = original_layout(tmp_path, model_type="geochat")
    loaded = load_other_model(str(checkpoint), family="geochat", device="cpu", dtype="bfloat16")
    assert loaded.generator.model.config.vision_config.image_size == 504
    assert loaded.generator.model.dtype == torch.bfloat16
    (answer,) = loaded.generator.generate([image], [Prompt("[refer] the ship")], 2)
    assert 1 <= answer.num_tokens <= 2


def test_positions_are_interpolated_from_corner_to_corner():
    positions = torch.cat([torch.full((1, 1), 9.0), torch.arange(4.0)[:, None]])
    larger = interpolate_positions(positions, 3)
    assert larger[0, 0] == 9
    grid = larger[1:].reshape(3, 3)
    # Corners stay; what lies between two is their mean, and the middle that of all four.
    assert torch.allclose(grid, torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.5, 2.0], [2.0, 2.5, 3.0]]))
    assert interpolate_positions(positions, 2) is positions


def test_code_of_a_checkpoint_is_run_only_on_request(own_code, image):
    folder, trace = own_code
    with pytest.raises(ValueError, match="read that code, and then pass --trust-remote-code"):
        load_other_model(str(folder), device="cpu")
    assert not trace.exists()

    loaded = load_other_model(str(folder), device="cpu", trust_remote_code=True)
    assert trace.exists()
    assert loaded.family.name == "earthdial"
    assert isinstance(loaded.generator, ChatMethodGenerator)
    tall = Image.new("RGB", (30, 50))
    prompts = [Prompt("\n Where?", before="[refer] "), Prompt("What is it?")]
    first, second = loaded.generator.generate([image, tall], prompts, 9)
    # Tiles of 28 pixels in the shape of the image, and a small version of the whole.
    assert first.text == "[7, 3, 28, 28] [refer] <image>\n Where? 9"
    assert second.text == "[7, 3, 28, 28] <image>\nWhat is it? 9"
    assert second.num_tokens == second.forward_passes == len(second.text) + 1


def test_a_model_without_classes_or_code_cannot_be_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"model_type 'bert', .*, and brings no code of its own"):
        load_other_model(str(tmp_path), device="cpu")
    (tmp_path / "config.json").write_text('{"model_type": "llava_llada"}')
    with pytest.raises(ValueError, match="geodit assemble --from-llada-v"):
        load_other_model(str(tmp_path), device="cpu")
    (tmp_path / "config.json").write_text('{"model_type": "x", "auto_map": {"AutoConfig": "a.B"}}')
    with pytest.raises(
        ValueError, match="offers none of AutoModelForImageTextToText, AutoModelForCausalLM, AutoModel"
    ):
        load_other_model(str(tmp_path), device="cpu", trust_remote_code=True)


def test_geodit_is_asked_as_another_family_only_if_it_was_made_of_it(tmp_path, image):
    with pytest.raises(ValueError, match="is a checkpoint of GeoDiT: evaluate it as such, without a family"):
        load_other_model(str(bundled_checkpoint()))
    with pytest.raises(ValueError, match="not as one of 'llava'"):
        load_other_model(str(bundled_checkpoint()), family="llava")
    loaded = load_other_model(str(bundled_checkpoint()), family="llada_v", device="cpu")
    assert isinstance(loaded.generator, GeoDiTGenerator)
    answers = loaded.generator.generate([image, image], [Prompt("How many ships?"), Prompt("Describe it.")], 8)
    assert [answer.num_tokens for answer in answers] == [8, 8]
    assert all(1 <= answer.forward_passes <= 8 for answer in answers)


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match="dtype must be one of auto, float32, bfloat16, float16, not 'int8'"):
        load_other_model(str(tmp_path), dtype="int8")
    shutil.copy(save_checkpoint("llava", tmp_path / "a") / "config.json", tmp_path)
    with pytest.raises(ValueError, match="unknown family of models 'gpt'"):
        load_other_model(str(tmp_path), family="gpt")
