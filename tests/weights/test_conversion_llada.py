# SPDX-License-Identifier: Apache-2.0
"""Reading LLaDA checkpoints: every tensor is accounted for, and what cannot be converted is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from geodit.weights.conversion_llada import (
    convert_llada_config,
    geodit_to_llada_name,
    llada_to_geodit_name,
    load_llada_text_state,
    read_llada_config,
    text_state_shapes,
)

GOLDEN = Path(__file__).parents[1] / "fixtures" / "llada-tiny"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def llada_config():
    return json.loads((GOLDEN / "config.json").read_text())


@pytest.fixture
def tensors():
    state = {}
    for path in sorted(GOLDEN.glob("model-*.safetensors")):
        state |= load_file(path)
    return state


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the configuration in a folder of its own, to which a test adds weights."""
    shutil.copy(GOLDEN / "config.json", tmp_path)
    return tmp_path


class TestNames:
    @pytest.mark.parametrize(
        ("llada", "geodit"),
        [
            ("model.transformer.wte.weight", "model.language_model.embed_tokens.weight"),
            ("model.transformer.ff_out.weight", "lm_head.weight"),
            (
                "model.transformer.blocks.2.ff_proj.weight",
                "model.language_model.layers.2.mlp.gate_proj.weight",
            ),
            (
                "model.transformer.blocks.2.ff_out.weight",
                "model.language_model.layers.2.mlp.down_proj.weight",
            ),
            (
                "model.transformer.blocks.31.attn_out.weight",
                "model.language_model.layers.31.self_attn.o_proj.weight",
            ),
        ],
    )
    def test_names_translate_both_ways(self, llada, geodit):
        assert llada_to_geodit_name(llada) == geodit
        assert geodit_to_llada_name(geodit) == llada

    def test_all_names_of_a_checkpoint_translate_there_and_back(self, tensors):
        assert [geodit_to_llada_name(llada_to_geodit_name(name)) for name in tensors] == list(tensors)

    @pytest.mark.parametrize(
        "name", ["model.transformer.blocks.0.rotary.weight", "model.transformer.wpe.weight", "lm_head.bias"]
    )
    def test_a_name_that_is_not_lladas_is_refused(self, name):
        with pytest.raises(ValueError, match=name):
            llada_to_geodit_name(name)

    def test_only_the_text_core_has_names_in_llada(self):
        with pytest.raises(ValueError, match="text core"):
            geodit_to_llada_name("model.multi_modal_projector.linear_1.weight")


class TestConfig:
    def test_geometry(self):
        llada = read_llada_config(GOLDEN)
        text = llada.text_config
        assert (text.hidden_size, text.intermediate_size, text.num_hidden_layers) == (64, 160, 3)
        assert (text.num_attention_heads, text.num_key_value_heads, text.vocab_size) == (4, 4, 512)
        assert text.rope_parameters["rope_theta"] == 500000.0
        assert text.rms_norm_eps == 1e-5
        assert (llada.mask_token_id, llada.eos_token_id, llada.pad_token_id) == (511, 500, 500)
        assert not llada.tie_word_embeddings

    def test_a_padded_embedding_matrix_widens_the_vocabulary(self, llada_config):
        assert convert_llada_config({**llada_config, "embedding_size": 640}).text_config.vocab_size == 640
        assert convert_llada_config({**llada_config, "embedding_size": None}).text_config.vocab_size == 512

    @pytest.mark.parametrize(
        ("changes", "heads"),
        [
            ({"n_kv_heads": 2}, 2),
            ({"n_kv_heads": None}, 4),
            ({"n_kv_heads": None, "multi_query_attention": True}, 1),
        ],
    )
    def test_key_value_heads(self, llada_config, changes, heads):
        assert convert_llada_config({**llada_config, **changes}).text_config.num_key_value_heads == heads

    def test_the_width_of_the_mlp_may_be_given_as_a_ratio(self, llada_config):
        text = convert_llada_config({**llada_config, "mlp_hidden_size": None, "mlp_ratio": 4}).text_config
        assert text.intermediate_size == 256

    def test_tied_embeddings_have_no_output_projection_of_their_own(self, llada_config):
        llada = convert_llada_config({**llada_config, "weight_tying": True})
        assert llada.tie_word_embeddings
        assert "lm_head.weight" not in text_state_shapes(llada.text_config)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("alibi", True),
            ("attention_layer_norm", True),
            ("activation_type", "swiglu"),
            ("bias_for_layer_norm", True),
            ("block_group_size", 2),
            ("block_type", "sequential"),
            ("clip_qkv", 8.0),
            ("include_bias", True),
            ("include_qkv_bias", True),
            ("input_emb_norm", True),
            ("layer_norm_type", "low_precision"),
            ("rope", False),
            ("scale_logits", True),
        ],
    )
    def test_what_a_llama_layer_does_not_do_is_refused_by_name(self, llada_config, name, value):
        with pytest.raises(ValueError, match=f"{name}={value!r} is not supported"):
            convert_llada_config({**llada_config, name: value})

    def test_all_problems_are_listed_at_once(self, llada_config):
        del llada_config["rope"]
        changes = {"alibi": True, "d_model": "wide", "n_kv_heads": 0, "mask_token_id": None, "rope_theta": -1}
        with pytest.raises(ValueError, match="cannot be converted") as error:
            convert_llada_config({**llada_config, **changes})
        for name in (
            "rope is missing",
            "alibi=True",
            "d_model=",
            "n_kv_heads=",
            "mask_token_id=",
            "rope_theta=",
        ):
            assert name in str(error.value)

    @pytest.mark.parametrize(("content", "complaint"), [("{", "is not JSON"), ("[]", "JSON object")])
    def test_a_broken_file_is_named(self, tmp_path, content, complaint):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=rf"config\.json.*{complaint}"):
            read_llada_config(tmp_path)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(ValueError, match=r"config\.json cannot be read"):
            read_llada_config(tmp_path)


class TestWeights:
    def test_shards_hold_every_tensor_once(self, tensors):
        state = load_llada_text_state(GOLDEN)
        shapes = text_state_shapes(read_llada_config(GOLDEN).text_config)
        assert {name: tuple(tensor.shape) for name, tensor in state.items()} == shapes
        for name, tensor in tensors.items():
            assert torch.equal(state[llada_to_geodit_name(name)], tensor)

    def test_a_single_file_does_as_well(self, checkpoint, tensors):
        save_file(tensors, checkpoint / "model.safetensors")
        state, sharded = load_llada_text_state(checkpoint), load_llada_text_state(GOLDEN)
        assert state.keys() == sharded.keys()
        assert all(torch.equal(state[name], sharded[name]) for name in state)

    def test_the_dtype_is_that_of_the_file(self, checkpoint, tensors):
        save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, checkpoint / "model.safetensors")
        assert {tensor.dtype for tensor in load_llada_text_state(checkpoint).values()} == {torch.bfloat16}

    def test_unknown_missing_and_misshapen_tensors_are_all_listed(self, checkpoint, tensors):
        del tensors["model.transformer.ln_f.weight"]
        tensors["model.transformer.wpe.weight"] = torch.zeros(2)
        tensors["model.transformer.blocks.3.ff_out.weight"] = torch.zeros(2)
        tensors["model.transformer.wte.weight"] = torch.zeros(500, 64)
        save_file(tensors, checkpoint / "model.safetensors")
        with pytest.raises(ValueError, match="does not hold the tensors it declares") as error:
            load_llada_text_state(checkpoint)
        message = str(error.value)
        assert "model.transformer.ln_f.weight: missing" in message
        assert "model.transformer.wpe.weight: unknown" in message
        assert "model.transformer.blocks.3.ff_out.weight: not part of the model" in message
        assert "model.transformer.wte.weight: shape (500, 64), but config.json asks for (512, 64)" in message
        assert message.count("model.transformer.") == 4

    def test_a_tensor_in_two_shards_is_refused(self, checkpoint, tensors):
        save_file(tensors, checkpoint / "a.safetensors")
        save_file({"model.transformer.ln_f.weight": torch.zeros(64)}, checkpoint / "b.safetensors")
        weight_map = {
            **dict.fromkeys(tensors, "a.safetensors"),
            "model.transformer.ln_f.weight": "b.safetensors",
        }
        (checkpoint / INDEX).write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(ValueError, match=r"model\.transformer\.ln_f\.weight: in more than one file"):
            load_llada_text_state(checkpoint)

    def test_a_missing_shard_is_named(self, checkpoint):
        shutil.copy(GOLDEN / INDEX, checkpoint)
        shutil.copy(GOLDEN / "model-00001-of-00002.safetensors", checkpoint)
        with pytest.raises(ValueError, match=r"lacks model-00002-of-00002\.safetensors"):
            load_llada_text_state(checkpoint)

    def test_pickled_weights_are_not_read(self, checkpoint):
        (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\x04")
        with pytest.raises(ValueError, match="only safetensors files are read"):
            load_llada_text_state(checkpoint)

    def test_an_index_cannot_point_outside_its_folder(self, checkpoint):
        (checkpoint / INDEX).write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
        with pytest.raises(ValueError, match="is outside its folder"):
            load_llada_text_state(checkpoint)

    def test_an_index_without_files_is_refused(self, checkpoint):
        (checkpoint / INDEX).write_text("{}")
        with pytest.raises(ValueError, match="has no weight_map"):
            load_llada_text_state(checkpoint)

    def test_a_truncated_file_is_named(self, checkpoint):
        content = (GOLDEN / "model-00001-of-00002.safetensors").read_bytes()
        (checkpoint / "model.safetensors").write_bytes(content[:1000])
        with pytest.raises(ValueError, match=r"model\.safetensors is not a readable safetensors file"):
            load_llada_text_state(checkpoint)
