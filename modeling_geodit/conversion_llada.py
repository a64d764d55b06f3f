# SPDX-License-Identifier: Apache-2.0
"""Reading checkpoints in the layout of LLaDA's own code: tensor names, configuration, safetensors files.

LLaDA's network is Llama's under a bidirectional mask, so a conversion renames tensors and changes none. The
layout is that of `LLaDAModelLM` (https://huggingface.co/GSAI-ML/LLaDA-8B-Base).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from geodit.configuration.configuration_geodit import GeoDiTTextConfig

_LM_HEAD = "lm_head.weight"
_TOP_LEVEL_NAMES = {
    "model.transformer.wte.weight": "model.language_model.embed_tokens.weight",
    "model.transformer.ln_f.weight": "model.language_model.norm.weight",
    "model.transformer.ff_out.weight": _LM_HEAD,
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
_GEODIT_LAYER = re.compile(r"model\.language_model\.layers\.(\d+)\.([\w.]+)\.weight")
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
    """Name in `GeoDiTForMaskedDiffusion` of a tensor of LLaDA.

    Raises:
        ValueError: for a name that LLaDA's text core does not have.
    """
    if name in _TOP_LEVEL_NAMES:
        return _TOP_LEVEL_NAMES[name]
    match = _LLADA_LAYER.fullmatch(name)
    if match is None or match[2] not in _LAYER_NAMES:
        raise ValueError(f"{name!r} is not a tensor of LLaDA's text core.")
    return f"model.language_model.layers.{match[1]}.{_LAYER_NAMES[match[2]]}.weight"


def geodit_to_llada_name(name: str) -> str:
    """Name in LLaDA of a tensor of `GeoDiTForMaskedDiffusion`'s text core.

    Raises:
        ValueError: for a name outside the text core.
    """
    if name in _TOP_LEVEL_NAMES_BACK:
        return _TOP_LEVEL_NAMES_BACK[name]
    match = _GEODIT_LAYER.fullmatch(name)
    if match is None or match[2] not in _LAYER_NAMES_BACK:
        raise ValueError(f"{name!r} is not a tensor of GeoDiT's text core.")
    return f"model.transformer.blocks.{match[1]}.{_LAYER_NAMES_BACK[match[2]]}.weight"


def convert_llada_config(config: Mapping[str, Any]) -> LLaDAConfiguration:
    """Translate LLaDA's configuration.

    The vocabulary is `embedding_size` wide where that is larger than `vocab_size`: LLaDA pads the embedding
    matrix and the output projection with rows that have no token.

    Args:
        config: The content of `config.json`.

    Raises:
        ValueError: listing every field that is missing, invalid, or asks for something that Llama layers do
            not do.
    """
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
    return convert_llada_config(_read_json(Path(directory) / CONFIG_NAME))


def text_state_shapes(text_config: GeoDiTTextConfig) -> dict[str, tuple[int, ...]]:
    """Names (GeoDiT's) and shapes of all tensors of a text core; `lm_head.weight` only if it is not tied."""
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
        "model.language_model.embed_tokens.weight": (text_config.vocab_size, hidden),
        "model.language_model.norm.weight": (hidden,),
    }
    for index in range(text_config.num_hidden_layers):
        for name, shape in layer.items():
            shapes[f"model.language_model.layers.{index}.{name}.weight"] = shape
    if not text_config.tie_word_embeddings:
        shapes[_LM_HEAD] = (text_config.vocab_size, hidden)
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
    directory = Path(directory)
    expected = text_state_shapes(read_llada_config(directory).text_config)
    state: dict[str, torch.Tensor] = {}
    seen: set[str] = set()
    problems: list[str] = []
    for path in _weight_files(directory):
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - not a dict
                    try:
                        name = llada_to_geodit_name(key)
                    except ValueError:
                        problems.append(f"{key}: unknown")
                        continue
                    problem = _check_tensor(name, file.get_slice(key).get_shape(), expected, seen)
                    seen.add(name)
                    if problem is None:
                        state[name] = file.get_tensor(key)
                    else:
                        problems.append(f"{key}: {problem}")
        except SafetensorError as error:
            raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    problems += [f"{geodit_to_llada_name(name)}: missing" for name in expected if name not in seen]
    if problems:
        raise ValueError(f"{directory} does not hold the text core it declares: " + "; ".join(problems) + ".")
    return state


def _check_tensor(name: str, shape: list[int], expected: Mapping[str, tuple[int, ...]], seen: Set[str]) -> str | None:
    """What is wrong with a tensor of a file, if anything; the name is GeoDiT's."""
    if name not in expected:
        return "not part of the text core that config.json describes"
    if name in seen:
        return "in more than one file"
    if tuple(shape) != expected[name]:
        return f"shape {tuple(shape)}, but config.json asks for {expected[name]}"
    return None


def _weight_files(directory: Path) -> list[Path]:
    """Safetensors files of a checkpoint: those of the index, or the single one."""
    index_path = directory / SAFE_WEIGHTS_INDEX_NAME
    if index_path.is_file():
        weight_map = _read_json(index_path).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError(f"{index_path} has no weight_map.")
        names = sorted({str(name) for name in weight_map.values()})
    else:
        names = [SAFE_WEIGHTS_NAME]
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise ValueError(f"{index_path} points outside its folder: {', '.join(outside)}.")
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise ValueError(f"{directory} lacks {', '.join(missing)}: weights are read from safetensors files only.")
    return [directory / name for name in names]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object.")
    return content


def _same(value: object, supported: object) -> bool:
    # LLaDA writes null where a switch follows include_bias, which is false here.
    return value == supported or (value is None and supported is False)


def _is_integer(value: object, *, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


__all__ = [
    "LLaDAConfiguration",
    "convert_llada_config",
    "geodit_to_llada_name",
    "llada_to_geodit_name",
    "load_llada_text_state",
    "read_llada_config",
    "text_state_shapes",
]
