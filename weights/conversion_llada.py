# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in the layout of LLaDA's own code: tensor names and configuration, there and back.

LLaDA's network is Llama's under a bidirectional mask, so a conversion renames tensors and changes none. The
layout is that of `LLaDAModelLM` (https://huggingface.co/GSAI-ML/LLaDA-8B-Base).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils import CONFIG_NAME

from geodit.configuration.configuration_geodit import GeoDiTTextConfig
from geodit.configuration.text_files import read_json_object
from geodit.configuration.types_geodit import JsonObject
from geodit.weights.checkpoint_reader import CheckpointReader, match_tensors
from geodit.weights.model_tensors import (
    EMBEDDINGS_WEIGHT,
    FINAL_NORM_WEIGHT,
    OUTPUT_PROJECTION_WEIGHT,
    TEXT_LAYERS_PREFIX,
)

__all__ = [
    "LLADA_MODEL_TYPE",
    "LLaDAConfiguration",
    "convert_llada_config",
    "geodit_to_llada_name",
    "llada_config_of",
    "llada_to_geodit_name",
    "load_llada_text_state",
    "read_llada_config",
    "text_state_shapes",
]

LLADA_MODEL_TYPE = "llada"

_TOP_LEVEL_NAMES = {
    "model.transformer.wte.weight": EMBEDDINGS_WEIGHT,
    "model.transformer.ln_f.weight": FINAL_NORM_WEIGHT,
    "model.transformer.ff_out.weight": OUTPUT_PROJECTION_WEIGHT,
}
# Note that a block's ff_proj is the gate and its ff_out is down_proj.
_LAYER_NAMES = {
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ff_norm": "post_attention_layernorm",
}
_LLADA_LAYER = re.compile(r"model\.transformer\.blocks\.(\d+)\.(\w+)\.weight")
_GEODIT_LAYER = re.compile(re.escape(TEXT_LAYERS_PREFIX) + r"(\d+)\.([\w.]+)\.weight")
_TOP_LEVEL_NAMES_BACK = {ours: theirs for theirs, ours in _TOP_LEVEL_NAMES.items()}
_LAYER_NAMES_BACK = {ours: theirs for theirs, ours in _LAYER_NAMES.items()}

# Switches of LLaDA's configuration at the one value that a Llama layer implements. LLaDA's code has other
# defaults for the first group, so leaving one out is as wrong as setting it otherwise.
_REQUIRED_SWITCHES: dict[str, object] = {
    "activation_type": "silu",
    "block_type": "llama",
    "include_bias": False,
    "layer_norm_type": "rms",
    "rope": True,
}
_OPTIONAL_SWITCHES: dict[str, object] = {
    "alibi": False,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "clip_qkv": None,
    "embedding_dropout": 0.0,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_with_affine": True,
    "residual_dropout": 0.0,
    "scale_logits": False,
}


@dataclass(frozen=True)
class LLaDAConfiguration:
    """What LLaDA's `config.json` says about a text core, in GeoDiT's terms.

    Args:
        text_config: Geometry of the text core.
        mask_token_id: Id of `[M]`.
        eos_token_id: Id that ends an answer.
        pad_token_id: Id that fills a batch.
    """

    text_config: GeoDiTTextConfig
    mask_token_id: int
    eos_token_id: int
    pad_token_id: int

    @property
    def tie_word_embeddings(self) -> bool:
        """Whether the output projection is the embedding matrix (LLaDA's `weight_tying`)."""
        return bool(self.text_config.tie_word_embeddings)


def llada_to_geodit_name(name: str) -> str:
    """Return the name in `GeoDiTForMaskedDiffusion` of a tensor of LLaDA.

    Raises:
        ValueError: for a name that LLaDA's text core does not have.
    """
    if name in _TOP_LEVEL_NAMES:
        return _TOP_LEVEL_NAMES[name]
    match = _LLADA_LAYER.fullmatch(name)
    if match is None or match[2] not in _LAYER_NAMES:
        raise ValueError(f"{name!r} is not a tensor of LLaDA's text core.")
    return f"{TEXT_LAYERS_PREFIX}{match[1]}.{_LAYER_NAMES[match[2]]}.weight"


def geodit_to_llada_name(name: str) -> str:
    """Return the name in LLaDA of a tensor of `GeoDiTForMaskedDiffusion`'s text core.

    Raises:
        ValueError: for a name outside the text core.
    """
    if name in _TOP_LEVEL_NAMES_BACK:
        return _TOP_LEVEL_NAMES_BACK[name]
    match = _GEODIT_LAYER.fullmatch(name)
    if match is None or match[2] not in _LAYER_NAMES_BACK:
        raise ValueError(f"{name!r} is not a tensor of GeoDiT's text core.")
    return f"model.transformer.blocks.{match[1]}.{_LAYER_NAMES_BACK[match[2]]}.weight"


def convert_llada_config(config: JsonObject) -> LLaDAConfiguration:
    """Translate LLaDA's configuration.

    The vocabulary is `embedding_size` wide where that is larger than `vocab_size`: LLaDA pads the embedding
    matrix and the output projection with rows that have no token.

    Args:
        config: The content of `config.json`.

    Raises:
        ValueError: listing every field that is missing, invalid, or asks for something that Llama layers do
            not do.
    """
    model_type = config.get("model_type", LLADA_MODEL_TYPE)
    if model_type != LLADA_MODEL_TYPE:
        raise ValueError(f"This is a model of type {model_type!r}, but a text core is of type {LLADA_MODEL_TYPE!r}.")
    problems = [
        f"{name}={config[name]!r} is not supported (only {supported!r})"
        if name in config
        else f"{name} is missing (only {supported!r} is supported)"
        for name, supported in {**_REQUIRED_SWITCHES, **_OPTIONAL_SWITCHES}.items()
        if (name in config or name in _REQUIRED_SWITCHES) and not _same(config.get(name), supported)
    ]
    sizes = ("d_model", "n_layers", "n_heads", "vocab_size", "max_sequence_length")
    problems += [
        f"{name}={config.get(name)!r} must be a positive integer"
        for name in sizes
        if not _is_integer(config.get(name), minimum=1)
    ]
    optional_sizes = ("n_kv_heads", "mlp_hidden_size", "embedding_size")
    problems += [
        f"{name}={config[name]!r} must be a positive integer or null"
        for name in optional_sizes
        if config.get(name) is not None and not _is_integer(config[name], minimum=1)
    ]
    if config.get("mlp_hidden_size") is None and not _is_integer(config.get("mlp_ratio"), minimum=1):
        problems.append("mlp_hidden_size is missing, and so is mlp_ratio")
    problems += [
        f"{name}={config.get(name)!r} must be a token id"
        for name in ("mask_token_id", "eos_token_id", "pad_token_id")
        if not _is_integer(config.get(name), minimum=0)
    ]
    problems += [
        f"{name}={config.get(name)!r} must be a positive number"
        for name in ("rope_theta", "rms_norm_eps")
        if not isinstance(config.get(name), int | float) or config[name] <= 0
    ]
    if problems:
        raise ValueError("This LLaDA configuration cannot be converted: " + "; ".join(problems) + ".")

    num_kv_heads = config.get("n_kv_heads")
    if num_kv_heads is None:
        num_kv_heads = 1 if config.get("multi_query_attention") else config["n_heads"]
    text_config = GeoDiTTextConfig(
        vocab_size=max(config["vocab_size"], config.get("embedding_size") or 0),
        hidden_size=config["d_model"],
        intermediate_size=config.get("mlp_hidden_size") or config["mlp_ratio"] * config["d_model"],
        num_hidden_layers=config["n_layers"],
        num_attention_heads=config["n_heads"],
        num_key_value_heads=num_kv_heads,
        max_position_embeddings=config["max_sequence_length"],
        rms_norm_eps=float(config["rms_norm_eps"]),
        rope_parameters={"rope_type": "default", "rope_theta": float(config["rope_theta"])},
        attention_dropout=float(config.get("attention_dropout") or 0.0),
        tie_word_embeddings=bool(config.get("weight_tying", False)),
        bos_token_id=config.get("bos_token_id"),
        eos_token_id=config["eos_token_id"],
        pad_token_id=config["pad_token_id"],
    )
    return LLaDAConfiguration(text_config, config["mask_token_id"], config["eos_token_id"], config["pad_token_id"])


def read_llada_config(directory: str | Path) -> LLaDAConfiguration:
    """Read and translate the `config.json` of a LLaDA checkpoint.

    Raises:
        ValueError: when there is none, or as in [`convert_llada_config`].
    """
    return convert_llada_config(read_json_object(Path(directory) / CONFIG_NAME))


def llada_config_of(text_config: GeoDiTTextConfig, *, mask_token_id: int) -> JsonObject:
    """Return the `config.json` that LLaDA's own code reads for a text core; reverses [`convert_llada_config`].

    Raises:
        ValueError: for a geometry that LLaDA's code does not have.
    """
    rope = text_config.rope_parameters or {}
    problems = [
        f"{name}={value!r} (only {supported!r})"
        for name, value, supported in (
            ("hidden_act", text_config.hidden_act, "silu"),
            ("attention_bias", text_config.attention_bias, False),
            ("mlp_bias", text_config.mlp_bias, False),
            ("rope_type", rope.get("rope_type"), "default"),
            ("head_dim", text_config.head_dim, text_config.hidden_size // text_config.num_attention_heads),
        )
        if value != supported
    ]
    if problems:
        raise ValueError(f"LLaDA's own code cannot run this text core: {', '.join(problems)}.")
    return {
        "architectures": ["LLaDAModelLM"],
        "auto_map": {
            "AutoConfig": "configuration_llada.LLaDAConfig",
            "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM",
            "AutoModel": "modeling_llada.LLaDAModelLM",
        },
        "model_type": LLADA_MODEL_TYPE,
        **_REQUIRED_SWITCHES,
        **_OPTIONAL_SWITCHES,
        "attention_dropout": text_config.attention_dropout,
        "d_model": text_config.hidden_size,
        "embedding_size": text_config.vocab_size,
        "eos_token_id": text_config.eos_token_id,
        "flash_attention": False,
        "init_device": "cpu",
        "mask_token_id": mask_token_id,
        "max_sequence_length": text_config.max_position_embeddings,
        "mlp_hidden_size": text_config.intermediate_size,
        "multi_query_attention": None,
        "n_heads": text_config.num_attention_heads,
        "n_kv_heads": text_config.num_key_value_heads,
        "n_layers": text_config.num_hidden_layers,
        "pad_token_id": text_config.pad_token_id,
        "rms_norm_eps": text_config.rms_norm_eps,
        "rope_full_precision": True,
        "rope_theta": rope.get("rope_theta"),
        "use_cache": False,
        "vocab_size": text_config.vocab_size,
        "weight_tying": bool(text_config.tie_word_embeddings),
    }


def text_state_shapes(text_config: GeoDiTTextConfig) -> dict[str, tuple[int, ...]]:
    """Return names (GeoDiT's) and shapes of all tensors of a text core; `lm_head.weight` only if it is not tied."""
    hidden, width = text_config.hidden_size, text_config.intermediate_size
    head_dim = hidden // text_config.num_attention_heads
    kv_width = head_dim * (text_config.num_key_value_heads or text_config.num_attention_heads)
    layer = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv_width, hidden),
        "self_attn.v_proj": (kv_width, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (width, hidden),
        "mlp.up_proj": (width, hidden),
        "mlp.down_proj": (hidden, width),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        EMBEDDINGS_WEIGHT: (text_config.vocab_size, hidden),
        FINAL_NORM_WEIGHT: (hidden,),
    }
    for index in range(text_config.num_hidden_layers):
        for name, shape in layer.items():
            shapes[f"{TEXT_LAYERS_PREFIX}{index}.{name}.weight"] = shape
    if not text_config.tie_word_embeddings:
        shapes[OUTPUT_PROJECTION_WEIGHT] = (text_config.vocab_size, hidden)
    return shapes


def load_llada_text_state(directory: str | Path) -> dict[str, torch.Tensor]:
    """Read the text core of a LLaDA checkpoint, one safetensors file or several with an index.

    Args:
        directory: Folder with `config.json` and the weights.

    Returns:
        State dict in GeoDiT's names, in the dtype of the files, ready for
        `GeoDiTForMaskedDiffusion.load_state_dict(state, strict=False)` (which leaves the vision tower and the
        projector as they are). It holds every tensor of the text core and nothing else.

    Raises:
        ValueError: when files are missing or unreadable, or listing every tensor that is unknown, missing,
            double or of the wrong shape.
    """
    reader = CheckpointReader(directory)
    expected = text_state_shapes(read_llada_config(directory).text_config)
    sources = match_tensors(reader, llada_to_geodit_name, expected, geodit_to_llada_name)
    return {target: reader.read(source) for target, source in sources.items()}


def _same(value: object, supported: object) -> bool:
    # LLaDA writes null where a switch follows include_bias, which is false here.
    return value == supported or (value is None and supported is False)


def _is_integer(value: object, *, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum
