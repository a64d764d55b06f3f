# SPDX-License-Identifier: Apache-2.0
"""Adapters of PEFT on a GeoDiT checkpoint: found, checked, loaded and merged.

An adapter is a folder with `adapter_config.json`, which names its base, and `adapter_model.safetensors`. The folders
that [`GeoDiTTrainer`] writes have the processor and the generation configuration beside them.
"""

from __future__ import annotations

import json
import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors.torch import load_file
from transformers.utils.peft_utils import (
    ADAPTER_CONFIG_NAME,
    ADAPTER_SAFE_WEIGHTS_NAME,
    find_adapter_config_file,
)

from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.foreign_files_geodit import refusing_broken_files
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.configuration.text_files import read_json_object
from geodit.configuration.types_geodit import JsonObject
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.weights.adapter_checks import (
    check_adapter_fields,
    check_adapter_values,
    read_adapter_shapes,
    settle_patterns,
)
from geodit.weights.bundled import BUNDLED, bundled_checkpoint, checkpoint_name, resolve_checkpoint
from geodit.weights.checkpoint_sources import find_checkpoint

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel
    from torch import nn

__all__ = [
    "adapter_base",
    "adapter_kind",
    "adapter_of",
    "check_adapter_kind",
    "complete_adapter_folder",
    "find_adapter",
    "load_adapter",
    "load_merged",
    "processor_folder",
    "wrap_with_adapter",
]

_ADAPT_LAYERS = "use one that adapts the layers of the text core, such as LoraConfig"
# Why a method of PEFT is of no use here, where it is not for one of the two reasons in `check_adapter_kind`.
_UNFIT_KINDS = {
    "ADALORA": "its ranks change by a call after every step that no Trainer makes",
    "BEFT": "it trains biases, which the layers of the text core do not have",
    "LILY": "it cannot be merged into the weights",
    "POLY": "it needs task ids with every batch",
    "SHADOW": "it runs a second network that is made for causal models",
    "XLORA": "it mixes adapters that were trained before",
}


def find_adapter(adapter: str | PathLike[str], *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """Find the folder of an adapter.

    Args:
        adapter: A folder, or a Hub id, which is downloaded to the cache of huggingface_hub.
        revision: Branch, tag or commit of a Hub id.
        local_files_only: Whether a Hub id is looked for in the cache alone.

    Raises:
        ValueError: If there is none of that name, it is no adapter, or its weights are pickled.
    """
    folder = find_checkpoint(str(adapter), revision=revision, local_files_only=local_files_only)
    if not (folder / ADAPTER_CONFIG_NAME).is_file():
        hint = " It is a whole checkpoint: load it as the model." if (folder / "config.json").is_file() else ""
        raise ValueError(f"{adapter} is not an adapter: it has no {ADAPTER_CONFIG_NAME}.{hint}")
    if not (folder / ADAPTER_SAFE_WEIGHTS_NAME).is_file():
        raise ValueError(
            f"The adapter {adapter} has no {ADAPTER_SAFE_WEIGHTS_NAME}; other files of weights are not read."
        )
    return folder


def adapter_base(folder: str | PathLike[str]) -> str:
    """Return the name of the checkpoint that an adapter was trained on, as [`from_pretrained`] takes it.

    The checkpoint that comes with this package is found under the name that a Trainer saves, `geodit-tiny`, and under
    its path in another installation, which PEFT saves by itself.

    Args:
        folder: The folder of the adapter.

    Raises:
        ValueError: If the adapter does not say, or its configuration cannot be read.
    """
    base = _read_config(Path(folder)).get("base_model_name_or_path")
    if not base:
        raise ValueError(
            f"The adapter {folder} does not name its base in {ADAPTER_CONFIG_NAME}: say which model it is for."
        )
    return _resolve_base(str(base))


def adapter_of(
    name: str | PathLike[str], *, revision: str | None = None, local_files_only: bool = False
) -> str | None:
    """Return the base that an adapter names, where one may have been given in place of a checkpoint.

    Args:
        name: Folder or Hub id.
        revision: Branch, tag or commit of a Hub id.
        local_files_only: Whether a Hub id is looked for in the cache alone.

    Returns:
        The name of the base as the adapter has it, `""` if it has none; `None` for a whole checkpoint, and for what
        is not there or cannot be reached.

    Raises:
        ValueError: If the configuration of the adapter cannot be read.
    """
    name = resolve_checkpoint(str(name))
    try:
        path = find_adapter_config_file(name, revision=revision, local_files_only=local_files_only)
    except (OSError, ValueError):  # a name that there cannot be
        return None
    if path is None or (Path(name) / "config.json").is_file():
        return None
    return str(_read_config(Path(path).parent).get("base_model_name_or_path") or "")


def adapter_kind(config: PeftConfig) -> str:
    """Return the method of an adapter, by PEFT's name for it, such as `"LORA"`."""
    return str(getattr(config.peft_type, "value", config.peft_type))


def check_adapter_kind(config: PeftConfig) -> None:
    """Refuse the methods of PEFT whose adapters a GeoDiT model cannot answer with.

    Raises:
        ValueError: If it is one of them.
    """
    reason = _UNFIT_KINDS.get(adapter_kind(config))
    if config.is_prompt_learning or config.is_adaption_prompt:
        reason = "it adds virtual tokens to a text, and generate() denoises a canvas without them"
    elif getattr(config, "alora_invocation_tokens", None):
        reason = "an activated LoRA is for text that is written from left to right"
    if reason:
        raise ValueError(f"GeoDiT takes no adapter of the kind {adapter_kind(config)}, as {reason}: {_ADAPT_LAYERS}.")


def wrap_with_adapter(model: nn.Module, config: PeftConfig) -> PeftModel:
    """Put a new adapter on a model, as [`~peft.get_peft_model`] does, whose errors it raises."""
    import peft

    with warnings.catch_warnings():
        # PEFT 0.20 asks models for what Transformers 5.23 has given another name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        adapted: PeftModel = peft.get_peft_model(model, config)
    return adapted


def load_adapter(
    model: GeoDiTForMaskedDiffusion, folder: str | PathLike[str], *, is_trainable: bool = False
) -> PeftModel:
    """Put an adapter on a model, as [`~peft.PeftModel.from_pretrained`] does, once all of it is known to fit.

    Args:
        model: The base. It is changed in place.
        folder: The folder of the adapter.
        is_trainable: Whether to go on training the adapter.

    Returns:
        The model with the adapter; its parameters are frozen unless `is_trainable`.

    Raises:
        ValueError: If the adapter is damaged, asks for what is not done here, is of a kind that
            [`check_adapter_kind`] refuses, or for a model of other layers or shapes. The model is then no longer of
            use.
    """
    import peft

    folder = Path(folder)
    fields = _read_config(folder)
    trained_on = fields.get("base_model_name_or_path")
    with refusing_broken_files(f"The adapter {folder}"):
        config = peft.PeftConfig.from_pretrained(str(folder))
        check_adapter_kind(config)
        found = read_adapter_shapes(folder / ADAPTER_SAFE_WEIGHTS_NAME)
        check_adapter_fields(fields, found, folder)
        settle_patterns(config, [name for name, _ in model.named_modules()], folder)
        config.inference_mode = not is_trainable
        config.base_model_name_or_path = None  # get_peft_model takes the name of the model at hand
        try:
            adapted = wrap_with_adapter(model, config)
        except ValueError as error:
            raise ValueError(
                f"The adapter {folder}, trained on {trained_on}, is not for this model: {str(error).splitlines()[0]}"
            ) from error
    # PEFT saves the base of an adapted embedding or output projection as well.
    with_embeddings = any(name.endswith(".base_layer.weight") for name in found)
    state = peft.get_peft_model_state_dict(adapted, save_embedding_layers=with_embeddings)
    expected = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if found != expected:
        raise ValueError(
            f"The adapter {folder}, trained on {trained_on}, does not fit this model: {_difference(found, expected)}"
        )
    tensors = load_file(folder / ADAPTER_SAFE_WEIGHTS_NAME)
    check_adapter_values(tensors, state, folder)
    peft.set_peft_model_state_dict(adapted, tensors)
    adapted.train(is_trainable)
    return adapted


def load_merged(
    adapter: str | PathLike[str],
    model: str | PathLike[str] | None = None,
    *,
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    adapter_revision: str | None = None,
    local_files_only: bool = False,
) -> GeoDiTForMaskedDiffusion:
    """Load a checkpoint with an adapter merged into its weights, which answers as fast as one without.

    Args:
        adapter: Folder or Hub id of the adapter.
        model: Folder or Hub id of its base, if it is no longer where the adapter says.
        dtype: Of the weights, `"auto"` for that of the checkpoint.
        revision: Branch, tag or commit of the base, by default the one that the adapter was trained on.
        adapter_revision: Branch, tag or commit of the adapter.
        local_files_only: Whether to do without the network.

    Returns:
        The merged model, with the generation configuration of the adapter if there is one.

    Raises:
        ValueError: If there is no such adapter, or it is not for that model.
        OSError: If there is no such checkpoint.
    """
    folder = find_adapter(adapter, revision=adapter_revision, local_files_only=local_files_only)
    base = adapter_base(folder) if model is None else resolve_checkpoint(str(model))
    if model is not None:
        _check_is_base(folder, base)
    if revision is None:
        revision = str(_read_config(folder).get("revision") or "main")
    try:
        network = GeoDiTForMaskedDiffusion.from_pretrained(
            base, dtype=dtype, revision=revision, local_files_only=local_files_only
        )
    except OSError as error:
        if model is None:
            raise OSError(f"The base of the adapter {adapter} is not there, name it as the model: {error}") from error
        raise
    adapted = load_adapter(network, folder)
    _unwrap_trained_modules(adapted)
    merged: GeoDiTForMaskedDiffusion = adapted.merge_and_unload(safe_merge=True)
    if (folder / "generation_config.json").is_file():
        merged.generation_config = GeoDiTGenerationConfig.from_pretrained(folder)
    return merged.requires_grad_(True)


def processor_folder(
    adapter: str | PathLike[str],
    model: str | PathLike[str] | None = None,
    *,
    adapter_revision: str | None = None,
    local_files_only: bool = False,
) -> str:
    """Return the folder of an adapter's processor: its own, or else that of its base.

    Args:
        adapter: Folder or Hub id of the adapter.
        model: Folder or Hub id of its base, if it is no longer where the adapter says.
        adapter_revision: Branch, tag or commit of the adapter.
        local_files_only: Whether to do without the network.
    """
    folder = find_adapter(adapter, revision=adapter_revision, local_files_only=local_files_only)
    if (folder / "processor_config.json").is_file():
        return str(folder)
    return adapter_base(folder) if model is None else resolve_checkpoint(str(model))


def complete_adapter_folder(model: PeftModel, folder: str | PathLike[str]) -> None:
    """Add to a saved adapter what PEFT leaves out: the generation configuration, and a base that others can find.

    Args:
        model: The model whose adapter was saved.
        folder: Where it was saved.
    """
    folder = Path(folder)
    base = cast(GeoDiTForMaskedDiffusion, model.get_base_model())
    base.generation_config.save_pretrained(folder)
    config = _read_config(folder)
    path = config.get("base_model_name_or_path")
    if path is not None and (name := checkpoint_name(path)) != path:
        config["base_model_name_or_path"] = name
        write_atomically(folder / ADAPTER_CONFIG_NAME, json.dumps(config, indent=2, sort_keys=True).encode())
        card = folder / "README.md"
        write_atomically(card, card.read_text(encoding="utf-8").replace(path, name).encode())


def _unwrap_trained_modules(model: PeftModel) -> None:
    """Put what was trained whole (`modules_to_save`) in the place of what it was trained from.

    Most methods of PEFT merge by moving `weight` and `bias` alone, and fail at a module that has others in it.
    """
    from peft.utils import ModulesToSaveWrapper

    network: Any = model.get_base_model()
    wrapped = [name for name, module in network.named_modules() if isinstance(module, ModulesToSaveWrapper)]
    for name in wrapped:
        wrapper = network.get_submodule(name)
        network.set_submodule(name, wrapper.modules_to_save[wrapper.active_adapters[0]])


def _check_is_base(folder: Path, model: str) -> None:
    """Refuse a model that is not the adapter's base; a name may differ where a folder was moved or downloaded.

    Raises:
        ValueError: If the adapter names another folder, which exists, or another repository.
    """
    named = _read_config(folder).get("base_model_name_or_path")
    if not named:
        return
    paths = Path(_resolve_base(str(named))), Path(model)
    found = [path.is_dir() for path in paths]
    if (all(found) and not paths[0].samefile(paths[1])) or (not any(found) and named != model):
        raise ValueError(
            f"The adapter {folder} was trained on {named}, not on {model}. Leave the model out to take the right one."
        )


def _resolve_base(name: str) -> str:
    """Resolve a base as [`resolve_checkpoint`] does, and also the path of a bundled checkpoint that is gone."""
    elsewhere = Path(name).is_absolute() and Path(name).parts[-2:] == ("checkpoints", BUNDLED)
    return bundled_checkpoint() if elsewhere and not Path(name).exists() else resolve_checkpoint(name)


def _read_config(folder: Path) -> JsonObject:
    path = folder / ADAPTER_CONFIG_NAME
    config = read_json_object(path)
    if "peft_type" not in config:
        raise ValueError(f"{path} is no configuration of PEFT: it has no peft_type.")
    return config


def _difference(found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> str:
    """Return the first of the differences between two sets of tensors, and how many there are."""
    differences = []
    for name in sorted(found.keys() | expected.keys()):
        if name not in expected:
            differences.append(f"it has {name}, which the model has no place for")
        elif name not in found:
            differences.append(f"it lacks {name}")
        elif found[name] != expected[name]:
            differences.append(f"{name} is {found[name]} where the model takes {expected[name]}")
    more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
    return f"{differences[0]}{more}."
