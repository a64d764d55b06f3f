# SPDX-License-Identifier: Apache-2.0
"""The files of weights that are published, and whether they are whole. Headers are read, and no tensor."""

from __future__ import annotations

import tempfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.peft_utils import ADAPTER_SAFE_WEIGHTS_NAME

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.hub_cards.card.adapter_facts import is_adapter
from geodit.hub_cards.card.architecture import read_architecture
from geodit.modeling_geodit.weight_files_geodit import read_weight_map
from geodit.weights.checkpoint_reader import CheckpointReader, match_tensors
from geodit.weights.model_tensors import OUTPUT_PROJECTION_WEIGHT, tensor_shapes

__all__ = ["weight_files"]


def weight_files(folder: Path) -> dict[str, Path]:
    """Return the weight files to publish by name: those of the index if there is one, not shards of an earlier save.

    Args:
        folder: Folder of a checkpoint or an adapter.

    Raises:
        ValueError: If a file is missing, not safetensors, outside the folder or cut short, or if the tensors are not
            those of the index and of config.json.
    """
    architecture = None if is_adapter(folder) else read_architecture(folder)  # refuses other models
    if architecture is None:
        names, wanted = [ADAPTER_SAFE_WEIGHTS_NAME], ADAPTER_SAFE_WEIGHTS_NAME
    elif not (folder / SAFE_WEIGHTS_NAME).is_file() and (folder / SAFE_WEIGHTS_INDEX_NAME).is_file():
        shards = sorted(set(read_weight_map(folder / SAFE_WEIGHTS_INDEX_NAME).values()))
        names, wanted = [SAFE_WEIGHTS_INDEX_NAME, *shards], "the shards of its index"
    else:
        names, wanted = [SAFE_WEIGHTS_NAME], f"{SAFE_WEIGHTS_NAME} or {SAFE_WEIGHTS_INDEX_NAME}"
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} has no weights to publish: {', '.join(missing)} is missing (wanted: {wanted})")
    if architecture is None:
        _check_header(folder / ADAPTER_SAFE_WEIGHTS_NAME)
    else:
        _check_tensors(folder, architecture.config, SAFE_WEIGHTS_NAME in names)
    return {name: folder / name for name in names}


def _check_tensors(folder: Path, config: GeoDiTConfig, is_one_file: bool) -> None:
    if is_one_file and (folder / SAFE_WEIGHTS_INDEX_NAME).is_file():
        # An index that an earlier save has left: Transformers, too, takes the one file.
        with tempfile.TemporaryDirectory(prefix="geodit-") as alone:
            (Path(alone) / SAFE_WEIGHTS_NAME).symlink_to((folder / SAFE_WEIGHTS_NAME).resolve())
            _match(CheckpointReader(alone), config)
    else:
        _match(CheckpointReader(folder), config)


def _match(reader: CheckpointReader, config: GeoDiTConfig) -> None:
    # Quantized tensors have other shapes, and companions.
    if getattr(config, "quantization_config", None) is not None:
        return
    tied = {OUTPUT_PROJECTION_WEIGHT} if config.tie_word_embeddings else set()
    match_tensors(reader, lambda name: None if name in tied else name, tensor_shapes(config))


def _check_header(path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            empty = not list(file.keys())
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    if empty:
        raise ValueError(f"{path} has no tensors")
