# SPDX-License-Identifier: Apache-2.0
"""Weights and settings of a stranger: read whole and finite, from their own folder, or refused in one sentence."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SiglipVisionConfig, SiglipVisionModel

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion, GeoDiTModel
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.weights.vision_towers import load_vision_tower
from hub_server.repository import File

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(checkpoint, tmp_path):
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


def edit(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_weights(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


def shard(folder, file_name):
    """Make the weights those of an index that names one file."""
    names = list(load_file(folder / "model.safetensors"))
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, file_name)}))
    (folder / "model.safetensors").rename(folder / "kept.safetensors")


class TestFilesOfTheWeights:
    @pytest.mark.parametrize(
        ("named", "message"),
        [
            ("weights.bin", "only safetensors files"),
            ("../kept.safetensors", "outside its folder"),
            ("/etc/passwd", "outside its folder"),
            ("..\\kept.safetensors", "outside its folder"),
            (["kept.safetensors"], "outside its folder"),
        ],
    )
    def test_an_index_names_safetensors_beside_it(self, folder, named, message):
        shard(folder, named)
        # Where a file of that name would be opened: a pipe, which never answers.
        if isinstance(named, str) and not named.startswith("/"):
            os.mkfifo(folder / named)
        with pytest.raises(ValueError, match=message) as caught:
            GeoDiTForMaskedDiffusion.from_pretrained(folder)
        assert INDEX in str(caught.value)

    @pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": []}', "{", "[" * 100_000])
    def test_an_index_is_an_object_with_a_weight_map(self, folder, content):
        shard(folder, "kept.safetensors")
        (folder / INDEX).write_text(content)
        with pytest.raises(ValueError, match=f"{INDEX} (has no weight_map|is not valid JSON)"):
            GeoDiTForMaskedDiffusion.from_pretrained(folder)

    def test_an_index_with_a_file_that_is_not_there_names_it(self, folder):
        shard(folder, "gone.safetensors")
        with pytest.raises(ValueError, match=r"lacks gone\.safetensors"):
            GeoDiTForMaskedDiffusion.from_pretrained(folder)

    def test_an_index_of_the_hub_is_refused_before_what_it_names_is_fetched(self, folder, default_hub, tmp_path):
        shard(folder, "weights.bin")
        repo = default_hub.add("stranger/model")
        files = {path.name: File(path.read_bytes()) for path in folder.iterdir()}
        repo.commit("main", {**files, "weights.bin": File(b"pickle")}, "all")
        with pytest.raises(ValueError, match="only safetensors files"):
            GeoDiTForMaskedDiffusion.from_pretrained("stranger/model", cache_dir=tmp_path / "cache")
        asked = [request.path for request in default_hub.requests]
        assert any(path.endswith(INDEX) for path in asked)
        assert not any(path.endswith("weights.bin") for path in asked)

    def test_weights_that_were_cut_off_are_named(self, folder):
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        with pytest.raises(ValueError, match="cannot be loaded, its files are damaged"):
            GeoDiTForMaskedDiffusion.from_pretrained(folder)


class TestTensors:
    def test_a_missing_one_is_named(self, folder):
        change_weights(folder, lambda tensors: tensors.pop("lm_head.weight"))
        with pytest.raises(ValueError, match=r"lm_head\.weight is missing"):
            GeoDiTForMaskedDiffusion.from_pretrained(folder)

    def test_one_too_many_is_named(self, folder):
        change_weights(folder, lambda tensors: tensors.update(extra=torch.ones(2)))
        with pytest.raises(ValueError, match="extra is not part of the model"):
            GeoDiTForMaskedDiffusion.from_pretrained(folder)

    def test_one_of_another_shape_is_named(self, folder):
        change_weights(folder, lambda tensors: tensors.update({"lm_head.weight": torch.ones(2, 2)}))
        with pytest.raises(ValueError, match=r"lm_head\.weight has the shape \(2, 2\) in place of \(\d+, 32\)"):
            GeoDiTForMaskedDiffusion.from_pretrained(folder)

    @pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
    def test_one_of_integers_is_named(self, folder, dtype):
        def to_integers(tensors):
            tensors["lm_head.weight"] = tensors["lm_head.weight"].to(dtype)

        change_weights(folder, to_integers)
        with pytest.raises(ValueError, match=r"lm_head\.weight is of type"):
            GeoDiTForMaskedDiffusion.from_pretrained(folder)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_one_number_that_is_none_is_found(self, folder, value, dtype):
        def spoil(tensors):
            tensors["model.multi_modal_projector.linear_1.weight"].view(-1)[-1] = value

        change_weights(folder, spoil)
        with pytest.raises(
            ValueError, match=r"multi_modal_projector\.linear_1\.weight holds values that are NaN or infinite"
        ):
            GeoDiTForMaskedDiffusion.from_pretrained(folder, dtype=dtype)

    def test_large_numbers_whose_sum_overflows_are_numbers(self, folder):
        change_weights(folder, lambda tensors: tensors["model.multi_modal_projector.linear_1.weight"].fill_(3e38))
        loaded = GeoDiTForMaskedDiffusion.from_pretrained(folder, dtype=torch.float32)
        assert loaded.model.multi_modal_projector.linear_1.weight[0, 0] == torch.tensor(3e38)

    def test_the_error_is_all_that_is_said(self, folder, caplog, monkeypatch):
        monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
        change_weights(folder, lambda tensors: tensors.pop("lm_head.weight"))
        with pytest.raises(ValueError, match="is missing"):
            GeoDiTForMaskedDiffusion.from_pretrained(folder)
        assert "LOAD REPORT" not in caplog.text
        GeoDiTForMaskedDiffusion.from_pretrained(folder, output_loading_info=True)
        assert "LOAD REPORT" in caplog.text

    def test_who_asks_for_the_report_gets_it_in_place_of_the_error(self, folder):
        change_weights(folder, lambda tensors: tensors.pop("lm_head.weight"))
        _, info = GeoDiTForMaskedDiffusion.from_pretrained(folder, output_loading_info=True)
        assert list(info["missing_keys"]) == ["lm_head.weight"]

    def test_the_network_without_its_head_is_loaded_from_a_whole_model(self, folder):
        assert GeoDiTModel.from_pretrained(folder).multi_modal_projector.linear_1.weight.isfinite().all()

    def test_no_memory_is_taken_for_a_model_far_larger_than_its_files(self, folder):
        config = json.loads((folder / "config.json").read_text())
        edit(
            folder / "config.json",
            text_config={**config["text_config"], "hidden_size": 2**15, "head_dim": 2**14, "vocab_size": 2**21},
        )
        with pytest.raises(ValueError, match=r"describes a model of \d{3},\d{3},\d{3},\d{3} parameters"):
            GeoDiTForMaskedDiffusion.from_pretrained(folder)


class TestVisionTower:
    @pytest.fixture
    def tower(self, tmp_path):
        config = SiglipVisionConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4
        )
        SiglipVisionModel(config).save_pretrained(tmp_path / "tower")
        return tmp_path / "tower"

    def test_is_loaded(self, tower):
        assert load_vision_tower(tower).config.hidden_size == 8

    def test_a_pickle_is_not_read(self, tower):
        tensors = load_file(tower / "model.safetensors")
        (tower / "model.safetensors").unlink()
        torch.save(tensors, tower / "pytorch_model.bin")
        with pytest.raises(ValueError, match="holds its weights as pickles"):
            load_vision_tower(tower)

    def test_a_tensor_that_is_missing_or_not_finite_is_named(self, tower):
        change_weights(tower, lambda tensors: next(iter(tensors.values())).fill_(torch.nan))
        with pytest.raises(ValueError, match="NaN or infinite"):
            load_vision_tower(tower)
        change_weights(tower, lambda tensors: tensors.popitem())
        with pytest.raises(ValueError, match="is missing"):
            load_vision_tower(tower)


class TestSettings:
    @pytest.mark.parametrize("value", [0, -1, "eight", 1.5, True, None, [], 10**9])
    @pytest.mark.parametrize(
        ("part", "name"),
        [("text_config", "hidden_size"), ("text_config", "num_hidden_layers"), ("vision_config", "image_size")],
    )
    def test_a_size_is_a_positive_integer_that_a_model_can_have(self, folder, part, name, value):
        config = json.loads((folder / "config.json").read_text())
        edit(folder / "config.json", **{part: {**config[part], name: value}})
        with pytest.raises(ValueError, match=rf"{name}|hidden size"):
            GeoDiTConfig.from_pretrained(folder)

    @pytest.mark.parametrize("content", ["[]", "null", '"text"', "{", "[" * 100_000, ""])
    def test_config_json_is_an_object(self, folder, content):
        (folder / "config.json").write_text(content)
        with pytest.raises((ValueError, OSError)):
            GeoDiTConfig.from_pretrained(folder)

    @pytest.mark.parametrize("named", ["stranger/kernel", "kernels-community/flash-attn", "flash_attention_2"])
    @pytest.mark.parametrize("part", [None, "text_config"])
    def test_attention_that_is_code_of_a_repository_is_not_taken_from_config_json(self, folder, named, part):
        config = json.loads((folder / "config.json").read_text())
        field = {"attn_implementation": named}
        edit(folder / "config.json", **(field if part is None else {part: {**config[part], **field}}))
        with pytest.raises(ValueError, match="which may be code of another repository"):
            GeoDiTForMaskedDiffusion.from_pretrained(folder)

    @pytest.mark.parametrize(
        ("file", "fields", "message"),
        [
            ("processor_config.json", {"num_image_tokens": 10**9}, "writes 1,000,000,000 tokens"),
            ("processor_config.json", {"tasks": None}, None),
            ("generation_config.json", {"max_denoising_steps": "many"}, "max_denoising_steps"),
            ("tokenizer_config.json", {"tokenizer_class": 7}, "cannot be loaded"),
        ],
    )
    def test_what_does_not_fit_together_is_found_when_it_is_loaded(self, folder, file, fields, message):
        edit(folder / file, **fields)
        if message is None:
            GeoDiTPipeline.from_pretrained(folder)
            return
        with pytest.raises(ValueError, match=message):
            GeoDiTPipeline.from_pretrained(folder)

    @pytest.mark.parametrize("size", [{"height": 10**9, "width": 10**9}, {"height": "a", "width": 32}, 64])
    def test_an_image_processor_makes_what_the_tower_takes(self, folder, size):
        content = json.loads((folder / "processor_config.json").read_text())
        edit(folder / "processor_config.json", image_processor={**content["image_processor"], "size": size})
        with pytest.raises(ValueError, match="size"):
            GeoDiTPipeline.from_pretrained(folder)

    def test_a_chat_template_that_refuses_is_one_sentence(self, folder):
        (folder / "chat_template.jinja").write_text("<image>{{ raise_exception('no\nsuch role') }}")
        with pytest.raises(ValueError, match="no such role"):
            GeoDiTPipeline.from_pretrained(folder)

    def test_a_prompt_cannot_ask_for_memory(self, folder):
        content = json.loads((folder / "processor_config.json").read_text())
        content["tasks"]["vqa"]["prompt"] = "{query:>9999999999}"
        edit(folder / "processor_config.json", tasks=content["tasks"])
        with pytest.raises(ValueError, match=r"may hold \{query\} and no other field"):
            GeoDiTPipeline.from_pretrained(folder)

    def test_a_token_that_the_vocabulary_lacks_is_named(self, folder):
        edit(folder / "generation_config.json", mask_token_id=10**9)
        pipeline = GeoDiTPipeline.from_pretrained(folder)
        with pytest.raises(ValueError, match="mask_token_id has 1000000000"):
            pipeline(torch.zeros(8, 8, 3, dtype=torch.uint8).numpy(), "caption", max_denoising_steps=1)


def test_the_program_says_it_in_one_line(geodit, folder, image):
    change_weights(folder, lambda tensors: tensors.pop("lm_head.weight"))
    assert "lm_head.weight is missing" in geodit.fails("predict", image, "--task", "caption", "--model", folder)
