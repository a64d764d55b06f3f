# SPDX-License-Identifier: Apache-2.0
"""From a GeoDiT checkpoint back to one of LLaDA: its text core, in the layout of LLaDA's own code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path

import torch
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.new_folders import check_free_space, new_folder
from geodit.configuration.text_files import read_json_object
from geodit.weights.checkpoint_reader import CheckpointReader, match_tensors
from geodit.weights.checkpoint_sources import find_checkpoint
from geodit.weights.checkpoint_writer import PlannedTensor, write_checkpoint
from geodit.weights.conversion_llada import geodit_to_llada_name, llada_config_of, text_state_shapes
from geodit.weights.model_tensors import IMAGE_NEWLINE_VECTOR, PROJECTOR_PREFIX, VISION_TOWER_PREFIX

__all__ = ["disassemble"]

_OTHER_PARTS = (VISION_TOWER_PREFIX, PROJECTOR_PREFIX, IMAGE_NEWLINE_VECTOR)
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def disassemble(
    checkpoint: str | PathLike[str],
    output_dir: str | PathLike[str],
    *,
    max_shard_size: str | int = "5GB",
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the text core of a GeoDiT checkpoint in LLaDA's layout, bit for bit, with its tokenizer if it has one.

    Tokens that GeoDiT has added to the vocabulary stay in it: they may have been trained.

    Args:
        checkpoint: Folder or Hub id of a GeoDiT checkpoint.
        output_dir: The folder to make.
        max_shard_size: Size of a file at most, such as `"5GB"`.
        on_progress: Called with the bytes written so far and in all.

    Returns:
        The number of parameters written.

    Raises:
        ValueError: If it is no GeoDiT checkpoint, or LLaDA's code has no such geometry, or listing every tensor that
            is unknown, missing or of the wrong shape.
        FileExistsError: If `output_dir` exists.
    """
    directory = find_checkpoint(str(checkpoint))
    fields = read_json_object(directory / CONFIG_NAME)
    if fields.get("model_type") != GeoDiTConfig.model_type:
        raise ValueError(f"{directory} is no GeoDiT checkpoint: its model_type is {fields.get('model_type')!r}.")
    config = GeoDiTConfig.from_dict(fields)
    llada_config = llada_config_of(config.text_config, mask_token_id=config.mask_token_id)
    reader = CheckpointReader(directory)
    sources = match_tensors(reader, _text_core_name, text_state_shapes(config.text_config))
    tensors = {
        geodit_to_llada_name(name): PlannedTensor(
            reader.records[source].shape, reader.dtype(source), partial(reader.blocks, source)
        )
        for name, source in sources.items()
    }
    num_bytes = sum(tensor.num_bytes for tensor in tensors.values())
    with new_folder(Path(output_dir)) as folder:
        check_free_space(folder, num_bytes)
        write_checkpoint(folder, tensors, max_shard_size=max_shard_size, on_progress=on_progress)
        (folder / CONFIG_NAME).write_text(json.dumps(llada_config, indent=2) + "\n", encoding="utf-8")
        ids = {name: fields.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        (folder / GENERATION_CONFIG_NAME).write_text(json.dumps(ids, indent=2) + "\n", encoding="utf-8")
        for name in _TOKENIZER_FILES:
            if (directory / name).is_file():
                shutil.copyfile(directory / name, folder / name)
    return sum(torch.Size(tensor.shape).numel() for tensor in tensors.values())


def _text_core_name(name: str) -> str | None:
    if name.startswith(_OTHER_PARTS):
        return None
    geodit_to_llada_name(name)  # raises for a name outside the text core
    return name
