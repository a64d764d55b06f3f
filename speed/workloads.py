# SPDX-License-Identifier: Apache-2.0
"""What a model is asked to do in a measurement, and the tensors that ask it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import torch

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.types_geodit import JsonObject

__all__ = ["DTYPES", "MIN_PROMPT_LENGTH", "Inputs", "Workload", "make_inputs", "workload_grid"]

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

MIN_PROMPT_LENGTH = 16
"""Least number of text tokens in a prefix; all others, as far as they fill a square, are the image."""


@dataclass(frozen=True)
class Workload:
    """One point of the grid.

    Args:
        prefix_length: P, image tokens and prompt together.
        canvas_length: L, tokens to generate.
        steps: N, denoising steps.
        batch_size: Images in a batch.
        dtype: `"float32"` or `"bfloat16"`.
        questions: Questions asked of every image, each of them a row.

    Raises:
        ValueError: If a value is out of range, or several questions are asked of several images.
    """

    prefix_length: int
    canvas_length: int
    steps: int
    batch_size: int = 1
    dtype: str = "bfloat16"
    questions: int = 1

    def __post_init__(self) -> None:
        for name in ("canvas_length", "steps", "batch_size", "questions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}")
        if self.prefix_length <= MIN_PROMPT_LENGTH:
            raise ValueError(
                f"a prefix of {self.prefix_length} tokens leaves none for an image: {MIN_PROMPT_LENGTH} are text"
            )
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, but is {self.dtype!r}")
        if self.questions > 1 and self.batch_size > 1:
            raise ValueError("several questions are asked of one image: batch_size must be 1")

    @property
    def num_image_tokens(self) -> int:
        """n: the largest square of patches that leaves [`MIN_PROMPT_LENGTH`] tokens; 729 of 761, 225 of 256."""
        return math.isqrt(self.prefix_length - MIN_PROMPT_LENGTH) ** 2

    @property
    def prompt_length(self) -> int:
        """Text tokens before the canvas."""
        return self.prefix_length - self.num_image_tokens

    @property
    def num_rows(self) -> int:
        """Canvases: one a question of an image."""
        return self.batch_size * self.questions

    @property
    def masked_per_pass(self) -> tuple[int, ...]:
        """Masked positions of a canvas before each step that commits any, under LLaDA's linear schedule.

        A step commits `L // N` tokens and each of the first `L % N` steps one more, so that with N > L the last steps
        commit nothing and are not among these.
        """
        share, remainder = divmod(self.canvas_length, self.steps)
        masked, left = [], self.canvas_length
        for step in range(min(self.steps, self.canvas_length)):
            masked.append(left)
            left -= share + (step < remainder)
        return tuple(masked)

    def describe(self) -> str:
        """Describe the workload in one line."""
        asked = f"batch {self.batch_size}" if self.questions == 1 else f"{self.questions} questions on one image"
        return (
            f"prefix {self.prefix_length} ({self.num_image_tokens} image + {self.prompt_length} prompt), "
            f"L = {self.canvas_length}, N = {self.steps}, {asked}, {self.dtype}"
        )

    def to_dict(self) -> JsonObject:
        """Return the workload in types that JSON has."""
        return {**asdict(self), "num_image_tokens": self.num_image_tokens, "prompt_length": self.prompt_length}


def workload_grid(
    *,
    prefix_lengths: Sequence[int],
    canvas_lengths: Sequence[int],
    steps: Sequence[int],
    batch_sizes: Sequence[int] = (1,),
    dtypes: Sequence[str] = ("bfloat16",),
    questions: Sequence[int] = (1,),
) -> tuple[Workload, ...]:
    """Return all combinations, without those of several questions with several images.

    Points that can share their weights, those of one dtype and prefix length, follow each other.

    Raises:
        ValueError: If a list is empty, a value is out of range, or nothing is left.
    """
    grid = itertools.product(dtypes, prefix_lengths, questions, batch_sizes, canvas_lengths, steps)
    workloads = tuple(
        Workload(prefix, canvas, count, batch, dtype, asked)
        for dtype, prefix, asked, batch, canvas, count in grid
        if asked == 1 or batch == 1
    )
    if not workloads:
        raise ValueError("there is nothing to measure: several questions are asked of one image, with batch size 1")
    # A value given twice would be measured twice.
    return tuple(dict.fromkeys(workloads))


@dataclass(frozen=True)
class Inputs:
    """What a processor would give to `generate()`: no padding, and an image at the start of each row.

    Args:
        input_ids: `(R, P)` int64; the questions of an image are rows that follow each other.
        pixel_values: `(B, 3, H, W)` float32.
        questions: R / B.
    """

    input_ids: torch.Tensor
    pixel_values: torch.Tensor
    questions: int

    @property
    def pixel_values_of_rows(self) -> torch.Tensor:
        """`(R, 3, H, W)`: the image of each row, for a model that takes one a row."""
        return self.pixel_values.repeat_interleave(self.questions, dim=0)

    def of_row(self, row: int) -> Inputs:
        """Return one question by itself."""
        image = row // self.questions
        return Inputs(self.input_ids[row : row + 1], self.pixel_values[image : image + 1], 1)


def make_inputs(config: GeoDiTConfig, workload: Workload, device: torch.device, seed: int = 0) -> Inputs:
    """Make random prompts and images.

    Args:
        config: Of the model, with the workload's number of image tokens.
        workload: What is asked.
        device: Where the tensors shall be.
        seed: Of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, size = workload.num_rows, config.vision_config.image_size
    # The two highest ids are those of [M] and of the image.
    prompts = torch.randint(config.text_config.vocab_size - 2, (rows, workload.prompt_length), generator=generator)
    image = torch.full((rows, workload.num_image_tokens), cast(int, config.image_token_id))
    return Inputs(
        input_ids=torch.cat([image, prompts], dim=1).to(device),
        pixel_values=torch.randn(workload.batch_size, 3, size, size, generator=generator).to(device),
        questions=workload.questions,
    )
