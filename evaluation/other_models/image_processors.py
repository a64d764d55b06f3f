# SPDX-License-Identifier: Apache-2.0
"""Processors of others, without the part that reads videos."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, PROCESSOR_MAPPING, AutoProcessor

from geodit.configuration.types_geodit import Arguments

__all__ = ["image_only", "load_image_processor"]

_VIDEOS = "video_processor"


def image_only(processor_class: type[Any]) -> type[Any]:
    """Return a processor class without its video processor, for which Transformers needs torchvision."""

    def get_attributes(cls: type[Any]) -> list[str]:
        return [name for name in processor_class.get_attributes() if name != _VIDEOS]

    return type(processor_class.__name__, (processor_class,), {"get_attributes": classmethod(get_attributes)})


def load_image_processor(model: str, model_type: str | None, **options: Any) -> Any:
    """Load the processor of a checkpoint, for images and text.

    Images are prepared with Pillow, whether or not torchvision is installed, so that answers do not depend on it.

    Args:
        model: Directory or Hub id.
        model_type: The `model_type` in its `config.json`.
        **options: Revision, and whether to run code that the checkpoint brings along.
    """
    arguments: Arguments = {"backend": "pil", **options}
    # Both fill lazily, and `get` does not see what is not loaded yet.
    config_class: Any = CONFIG_MAPPING[model_type] if model_type is not None and model_type in CONFIG_MAPPING else None
    if config_class is not None and config_class in PROCESSOR_MAPPING:
        processor_class: Any = PROCESSOR_MAPPING[config_class]
        if _VIDEOS in processor_class.get_attributes():
            return image_only(processor_class).from_pretrained(model, **arguments)
    return AutoProcessor.from_pretrained(model, **arguments)
