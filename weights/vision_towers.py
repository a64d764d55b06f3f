# SPDX-License-Identifier: Apache-2.0
"""Vision towers that others published, as [`~transformers.SiglipVisionModel`] saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import SiglipVisionConfig, SiglipVisionModel

from geodit.configuration.foreign_files_geodit import refusing_broken_files
from geodit.configuration.geometry_geodit import VISION_SIZES, check_sizes, refuse_code_by_name
from geodit.modeling_geodit.loaded_weights_geodit import check_complete, check_values
from geodit.weights.checkpoint_reader import CheckpointReader

__all__ = ["load_vision_tower"]


def load_vision_tower(folder: str | Path) -> SiglipVisionModel:
    """Load a SigLIP vision tower, from safetensors only; of a whole SigLIP model, the tower alone.

    Args:
        folder: Folder of the tower.

    Raises:
        ValueError: If files are damaged, pickled or outside the folder, or tensors are missing, of other types or
            shapes, or not finite.
        OSError: If there is no such tower.
    """
    with refusing_broken_files(folder):
        reader = CheckpointReader(folder)
        for name in reader.records:
            reader.dtype(name)  # refuses integers
        fields, _ = SiglipVisionConfig.get_config_dict(folder)
        refuse_code_by_name(fields)
        config = SiglipVisionConfig.from_pretrained(folder)
        check_sizes(config, VISION_SIZES, "the vision tower")
        loaded: Any = SiglipVisionModel.from_pretrained(
            folder, config=config, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    tower, info = loaded
    check_complete(
        folder,
        {"missing_keys": info["missing_keys"], "unexpected_keys": (), "mismatched_keys": info["mismatched_keys"]},
    )
    check_values(tower, folder)
    result: SiglipVisionModel = tower
    return result
