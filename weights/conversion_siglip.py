# SPDX-License-Identifier: Apache-2.0
"""Taking the vision tower out of a SigLIP checkpoint, whole or vision only.

SigLIP 2 at a fixed resolution (https://huggingface.co/google/siglip2-so400m-patch14-384) is SigLIP's network. Its
NaFlex variant, which takes pictures of any shape, is another one.
"""

from __future__ import annotations

from pathlib import Path

from transformers import SiglipVisionConfig
from transformers.utils import CONFIG_NAME

from geodit.configuration.text_files import read_json_object
from geodit.weights.model_tensors import VISION_TOWER_PREFIX

__all__ = ["geodit_to_siglip_name", "read_siglip_vision_config", "siglip_to_geodit_name"]

_MODEL_TYPES = ("siglip", "siglip_vision_model")
# Parts of SigLIP that GeoDiT has no use for: the text encoder, the temperature and bias of the contrastive loss, and
# the head that pools the patches of a picture into one vector.
_UNUSED = ("text_model.", "logit_scale", "logit_bias", "head.")
_PARTS = ("embeddings.", "encoder.layers.", "post_layernorm.")


def siglip_to_geodit_name(name: str) -> str | None:
    """Return the name in `GeoDiTForMaskedDiffusion` of a tensor of SigLIP; `None` for one that GeoDiT does not use.

    Raises:
        ValueError: for a name that SigLIP does not have.
    """
    part = name.removeprefix("vision_model.")
    if part.startswith(_UNUSED):
        return None
    if not part.startswith(_PARTS):
        raise ValueError(f"{name!r} is not a tensor of SigLIP.")
    return VISION_TOWER_PREFIX + part


def geodit_to_siglip_name(name: str) -> str:
    """Return the name in SigLIP of a tensor of the vision tower of `GeoDiTForMaskedDiffusion`."""
    return f"vision_model.{name.removeprefix(VISION_TOWER_PREFIX)}"


def read_siglip_vision_config(directory: str | Path) -> SiglipVisionConfig:
    """Read the geometry of the vision tower from the `config.json` of a SigLIP checkpoint.

    Raises:
        ValueError: when there is none, or it describes another network.
    """
    path = Path(directory) / CONFIG_NAME
    config = read_json_object(path)
    model_type = config.get("model_type")
    if model_type not in _MODEL_TYPES:
        hint = (
            " This is the NaFlex variant: take one of a fixed resolution, such as siglip2-so400m-patch14-384."
            if model_type == "siglip2"
            else ""
        )
        raise ValueError(
            f"{path} is of model type {model_type!r}; a vision tower is {' or '.join(_MODEL_TYPES)}.{hint}"
        )
    fields = config.get("vision_config") if model_type == "siglip" else config
    if not isinstance(fields, dict):
        raise ValueError(f"{path} has no vision_config.")
    ignored = ("model_type", "architectures", "auto_map", "transformers_version", "torch_dtype", "dtype")
    return SiglipVisionConfig(
        **{name: value for name, value in fields.items() if name not in ignored} | {"vision_use_head": False}
    )
