# SPDX-License-Identifier: Apache-2.0
"""GeoDiT: masked-diffusion vision-language models that answer questions about overhead imagery.

The names below are loaded when they are first used. Importing the package makes the checkpoints known to
Transformers, whichever is imported first: `AutoModelForImageTextToText.from_pretrained(...)` and its kin load them
without remote code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from geodit.configuration.after_import import call_after_import

if TYPE_CHECKING:
    from geodit.configuration.configuration_geodit import GeoDiTConfig, GeoDiTTextConfig
    from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.pipelines.image_pipeline import GeoDiTPipeline
    from geodit.pipelines.scene_pipeline import ScenePipeline
    from geodit.processing.processing_geodit import GeoDiTProcessor
    from geodit.trainers.data_collator import GeoDiTDataCollator
    from geodit.trainers.trainer import GeoDiTTrainer
    from geodit.trainers.training_arguments import GeoDiTTrainingArguments
    from geodit.weights.bundled import bundled_checkpoint

__version__ = "0.1.0"

__all__ = [
    "GeoDiTConfig",
    "GeoDiTDataCollator",
    "GeoDiTForMaskedDiffusion",
    "GeoDiTGenerationConfig",
    "GeoDiTPipeline",
    "GeoDiTProcessor",
    "GeoDiTTextConfig",
    "GeoDiTTrainer",
    "GeoDiTTrainingArguments",
    "ScenePipeline",
    "__version__",
    "bundled_checkpoint",
    "register_auto_classes",
]

_MODULES = {
    "GeoDiTConfig": "geodit.configuration.configuration_geodit",
    "GeoDiTDataCollator": "geodit.trainers.data_collator",
    "GeoDiTForMaskedDiffusion": "geodit.modeling_geodit.modeling_geodit",
    "GeoDiTGenerationConfig": "geodit.configuration.generation_configuration_geodit",
    "GeoDiTPipeline": "geodit.pipelines.image_pipeline",
    "GeoDiTProcessor": "geodit.processing.processing_geodit",
    "GeoDiTTextConfig": "geodit.configuration.configuration_geodit",
    "GeoDiTTrainer": "geodit.trainers.trainer",
    "GeoDiTTrainingArguments": "geodit.trainers.training_arguments",
    "ScenePipeline": "geodit.pipelines.scene_pipeline",
    "bundled_checkpoint": "geodit.weights.bundled",
    # For `push_to_hub` of models and processors, whose modules cannot import what makes a card.
    "push_saved": "geodit.hub_cards.publish.push_to_hub",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def register_auto_classes() -> None:
    """Make the Auto classes of Transformers know GeoDiT. It can be called more than once.

    `import geodit` is enough; call this after `importlib.reload` of a module that defines them.
    `AutoModel`, `AutoModelForImageTextToText` and `AutoModelForMultimodalLM` all give the network that generates, as
    they do where a checkpoint is loaded by the code that it carries.

    Raises:
        ImportError: If Transformers lacks one of them, or a module of GeoDiT cannot be imported.
    """
    try:
        from transformers.models.auto.configuration_auto import AutoConfig
        from transformers.models.auto.modeling_auto import (
            AutoModel,
            AutoModelForImageTextToText,
            AutoModelForMultimodalLM,
        )
        from transformers.models.auto.processing_auto import AutoProcessor

        from geodit.configuration.configuration_geodit import GeoDiTConfig
        from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
        from geodit.processing.processing_geodit import GeoDiTProcessor

        AutoConfig.register(GeoDiTConfig.model_type, GeoDiTConfig, exist_ok=True)
        AutoModel.register(GeoDiTConfig, GeoDiTForMaskedDiffusion, exist_ok=True)
        AutoModelForImageTextToText.register(GeoDiTConfig, GeoDiTForMaskedDiffusion, exist_ok=True)
        AutoModelForMultimodalLM.register(GeoDiTConfig, GeoDiTForMaskedDiffusion, exist_ok=True)
        AutoProcessor.register(GeoDiTConfig, GeoDiTProcessor, exist_ok=True)
    except Exception as error:
        raise ImportError(
            f"the Auto classes of Transformers cannot be made to know GeoDiT: {type(error).__name__}: {error}; "
            "install the versions that geodit requires, or do not import geodit"
        ) from error


# Transformers registers classes, not their names, so registering loads torch and the network. Every module of the
# Auto classes imports this one.
call_after_import(
    "transformers.models.auto.configuration_auto", register_auto_classes, packages=("transformers", "geodit")
)
