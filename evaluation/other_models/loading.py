# SPDX-License-Identifier: Apache-2.0
"""Loading a model of others by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.types_geodit import Arguments, JsonObject
from geodit.evaluation.other_models.families import Family, find_family, get_family
from geodit.evaluation.other_models.generators import (
    ChatMethodGenerator,
    Generator,
    GeoDiTGenerator,
    TransformersGenerator,
)
from geodit.evaluation.other_models.image_processors import load_image_processor
from geodit.evaluation.other_models.model import OtherModel
from geodit.evaluation.other_models.original_llava import is_original_llava, load_original_llava

__all__ = ["is_geodit", "load_other_model"]

_DTYPES = ("auto", "float32", "bfloat16", "float16")
# The classes by which a checkpoint's own code may be called, the most telling first.
_REMOTE_CLASSES: Mapping[str, Any] = {
    "AutoModelForImageTextToText": AutoModelForImageTextToText,
    "AutoModelForCausalLM": AutoModelForCausalLM,
    "AutoModel": AutoModel,
}


def is_geodit(model: str, revision: str | None = None) -> bool:
    """Return whether a checkpoint is one of GeoDiT, by the `model_type` in its `config.json`.

    Args:
        model: Directory or Hub id.
        revision: Branch, tag or commit.

    Raises:
        OSError: If there is no such checkpoint.
    """
    return _read_config(model, revision).get("model_type") == GeoDiTConfig.model_type


def load_other_model(
    model: str,
    *,
    family: str | None = None,
    revision: str | None = None,
    device: str | torch.device | None = None,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    max_new_tokens: Mapping[str, int] | None = None,
    classes: Sequence[str] | None = None,
    closed_set: Sequence[str] = (),
) -> OtherModel:
    """Load an image-text-to-text model that is not GeoDiT's, to ask it our questions.

    A checkpoint in the layout of Transformers is run by its classes; LLaVA-1.5 and what is made of it (GeoChat, VHM)
    in LLaVA's own layout as well. Code that a checkpoint brings along is run only on request, and weights are never
    unpickled.

    Args:
        model: Directory or Hub id.
        family: Name of its family; by default the one that its name or its `model_type` tells, else `generic`.
        revision: Branch, tag or commit.
        device: Where to run it; by default a GPU if there is one.
        dtype: Type of the weights; `auto` for that of the checkpoint.
        trust_remote_code: Whether to run the code that the checkpoint brings along.
        max_new_tokens: How many tokens an answer may have, by task, where it is not the default.
        classes: The classes among which to choose, for `classify`; by default the model is told none.
        closed_set: The tasks in which the answers of the data set are the only choices; it can be `classify`.

    Raises:
        ValueError: If the family or the type is unknown, the model is GeoDiT's and no family is named, or it can only
            be run by its own code and that was not asked for.
        OSError: If there is no such checkpoint, or it has no weights in safetensors.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, not {dtype!r}")
    config = _read_config(model, revision)
    found = find_family(model, config) if family is None else get_family(family)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options: Arguments = {"revision": revision or "main"}
    weights: Arguments = {**options, "dtype": dtype, "use_safetensors": True}
    generator = _load(model, config, found, options, weights, device, trust_remote_code, named=family is not None)
    return OtherModel(model, generator, max_new_tokens=max_new_tokens, classes=classes, closed_set=closed_set)


def _load(
    model: str,
    config: JsonObject,
    family: Family,
    options: Arguments,
    weights: Arguments,
    device: str | torch.device,
    trust_remote_code: bool,
    *,
    named: bool,
) -> Generator:
    """Load model and processor by the way that the checkpoint needs."""
    model_type = config.get("model_type")
    network: Any
    if model_type == GeoDiTConfig.model_type:
        return _load_geodit(model, family, options, weights, device, named=named)
    if is_original_llava(config):
        network, processor = load_original_llava(model, config, **weights)
        return TransformersGenerator(family, network.to(device), processor)
    own_code = config.get("auto_map")
    if model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not (own_code and trust_remote_code):
        network = AutoModelForImageTextToText.from_pretrained(model, **weights)
        return TransformersGenerator(family, network.to(device), load_image_processor(model, model_type, **options))
    if not own_code:
        hint = ": make a GeoDiT checkpoint of it with `geodit assemble --from-llada-v`, and load that"
        raise ValueError(
            f"{model} has the model_type {model_type!r}, which Transformers cannot load as an image-text-to-text "
            f"model{hint if family.name == 'llada_v' else ', and brings no code of its own'}"
        )
    if not trust_remote_code:
        raise ValueError(
            f"{model} can only be run by the code that it brings along, which was not asked for: "
            "read that code, and then pass --trust-remote-code"
        )
    name = next((one for one in _REMOTE_CLASSES if one in own_code), None)
    if name is None:
        raise ValueError(f"the code of {model} offers none of {', '.join(_REMOTE_CLASSES)}")
    network = _REMOTE_CLASSES[name].from_pretrained(model, trust_remote_code=True, **weights).to(device)
    if callable(getattr(network, "chat", None)):
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=True, **options)
        return ChatMethodGenerator(family, network, tokenizer)
    return TransformersGenerator(
        family, network, load_image_processor(model, model_type, trust_remote_code=True, **options)
    )


def _load_geodit(
    model: str,
    family: Family,
    options: Arguments,
    weights: Arguments,
    device: str | torch.device,
    *,
    named: bool,
) -> Generator:
    """Load a checkpoint of GeoDiT that is to be asked by another family's prompts."""
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor

    if family.name != "llada_v":
        hint = f"not as one of {family.name!r}" if named else "without a family"
        raise ValueError(f"{model} is a checkpoint of GeoDiT: evaluate it as such, {hint}")
    network: Any = GeoDiTForMaskedDiffusion.from_pretrained(model, **weights)
    network.to(device)
    return GeoDiTGenerator(family, network, GeoDiTProcessor.from_pretrained(model, **options))


def _read_config(model: str, revision: str | None) -> JsonObject:
    """Read `config.json` as it is, without any of the checkpoint's code."""
    if Path(model).expanduser().is_dir():
        model = str(Path(model).expanduser())
    config: JsonObject
    config, _ = PreTrainedConfig.get_config_dict(model, revision=revision or "main")
    if not config:
        raise OSError(f"{model} is not a checkpoint: it has no config.json")
    return config
