# SPDX-License-Identifier: Apache-2.0
"""QLoRA: how a recipe loads the frozen base of an adapter in 4 or 8 bits."""

from __future__ import annotations

from transformers import BitsAndBytesConfig
from trl.trainer.utils import get_quantization_config

from geodit.trainers.runs.recipe_arguments import ModelArguments
from geodit.weights.model_tensors import OUTPUT_PROJECTION, PROJECTOR_PREFIX, VISION_TOWER_PREFIX

WHOLE_PRECISION = (VISION_TOWER_PREFIX.rstrip("."), PROJECTOR_PREFIX.rstrip("."), OUTPUT_PROJECTION)
"""What stays as it is: the projector is trained, the others are small and sensitive."""


def quantization_config(args: ModelArguments) -> BitsAndBytesConfig | None:
    """Return how a recipe wants the base quantized, as `from_pretrained` takes it; `None` for not at all."""
    config: BitsAndBytesConfig | None = get_quantization_config(args)
    if config is not None:
        # The field holds for 4 bits, too, whatever its name says.
        config.llm_int8_skip_modules = list(WHOLE_PRECISION)
    return config
