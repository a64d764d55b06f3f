# SPDX-License-Identifier: Apache-2.0
"""Whether a processor fits the model that it was published with, found out before anything is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from geodit.configuration.foreign_files_geodit import refusing_broken_files

if TYPE_CHECKING:
    from geodit.configuration.configuration_geodit import GeoDiTConfig
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["check_fit"]

_CROPPED = ("do_pad", "do_center_crop")


def check_fit(config: GeoDiTConfig, processor: GeoDiTProcessor, name: str) -> None:
    """Ask each task once, of an image of a few pixels, without running the network.

    What a processor is made of comes from several files of a repository: image size, means, template, vocabulary,
    prompts and the lengths of answers.

    Args:
        config: The [`GeoDiTConfig`] of the model.
        processor: The processor.
        name: Folder or Hub id of the processor, for errors.

    Raises:
        ValueError: Naming what does not fit, or what the processor or its chat template says.
    """
    _check_image_size(config, processor, name)
    image = Image.new("RGB", (3, 2))
    for task in processor.tasks.values():
        with refusing_broken_files(name):
            inputs = processor(
                images=image, text="ship" if task.takes_query else None, task=task.name, return_tensors="pt"
            )
            prompt, pixels = inputs["input_ids"], inputs["pixel_values"]
            expected = processor.count_image_tokens((image.height, image.width))
            found = int((prompt == config.image_token_id).sum())
            largest = int(prompt.max())
            sides = tuple(pixels.shape[-2:])
            finite = bool(pixels.isfinite().all())
        side = config.vision_config.image_size
        if sides != (side, side) or not finite:
            raise ValueError(
                f"The image processor of {name} makes pictures of {sides[0]} x {sides[1]} pixels"
                f"{'' if finite else ' that are not finite'}, but its vision tower takes {side} x {side}."
            )
        if found != expected:
            raise ValueError(
                f"The prompt of the task {task.name} of {name} has {found} tokens with the id of images, "
                f"{config.image_token_id}, but its image has {expected}: processor and config.json do not belong "
                "together."
            )
        if largest >= config.text_config.vocab_size:
            raise ValueError(
                f"The tokenizer of {name} has the id {largest}, but its model a vocabulary of "
                f"{config.text_config.vocab_size}."
            )
        length = prompt.shape[1] + task.max_new_tokens
        if length > config.text_config.max_position_embeddings:
            raise ValueError(
                f"The task {task.name} of {name} takes {length:,} tokens with its answer, but its model at most "
                f"{config.text_config.max_position_embeddings:,}."
            )


def _check_image_size(config: GeoDiTConfig, processor: GeoDiTProcessor, name: str) -> None:
    """Before any image is made: its memory goes with the square of the side."""
    side = config.vision_config.image_size
    image_processor = processor.image_processor
    size = dict(getattr(image_processor, "size", None) or {})
    if size != {"height": side, "width": side}:
        raise ValueError(
            f"The image processor of {name} has the size {size!r:.80}, but its vision tower takes {side} x {side}."
        )
    changes = [change for change in _CROPPED if getattr(image_processor, change, None)]
    if changes and processor.vision_aspect_ratio == "square":
        raise ValueError(f"The image processor of {name} has {', '.join(changes)}, which would move all boxes.")
    if processor.vision_aspect_ratio != config.vision_aspect_ratio:
        raise ValueError(
            f"The processor of {name} is for vision_aspect_ratio={processor.vision_aspect_ratio!r:.80}, but its model "
            f"for {config.vision_aspect_ratio!r}."
        )
    if processor.vision_aspect_ratio == "square" and processor.num_image_tokens != config.num_image_tokens:
        raise ValueError(
            f"The processor of {name} writes {processor.num_image_tokens:,} tokens for an image, but its vision tower "
            f"has {config.num_image_tokens:,} patches."
        )
