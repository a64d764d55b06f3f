# SPDX-License-Identifier: Apache-2.0
"""Requests of all kinds, and what `generate()` answers to each of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image
from vllm import SamplingParams

from geodit import GeoDiTForMaskedDiffusion, GeoDiTProcessor
from geodit.processing.answer_patterns import AnswerPatterns
from geodit.tiny.scenes.rendering import render_scene
from geodit.tiny.scenes.scene import sample_scene
from geodit.tiny.scenes.vocabulary import scene_type_names

TASKS = (
    ("detect", "ship"),
    ("caption", ""),
    ("vqa", "How many trees are there?"),
    ("classify", ""),
    ("ground", "the red car"),
    ("detect", "building"),
)
POLICIES: tuple[dict[str, Any], ...] = (
    {"max_denoising_steps": 8},
    {"max_denoising_steps": 1},
    {"max_denoising_steps": 4, "remasking": "low_margin"},
    {"max_denoising_steps": 8, "confidence_threshold": 0.7},
    {"max_denoising_steps": 8, "remasking": "high_entropy", "entropy_bound": 0.2},
    {"max_denoising_steps": 8, "block_length": 4},
    {"max_denoising_steps": 8, "initial_canvas_length": 6},
    {"max_denoising_steps": 6, "remasking": "random", "seed": 7},
    {"max_denoising_steps": 8, "temperature": 0.8, "seed": 3},
    {"max_denoising_steps": 5, "fill_after_eos": False},
    {"max_denoising_steps": 8, "suppress_tokens": [20, 21, 22, 23]},
)
LENGTHS = (None, 8, 20, 32)


@dataclass(frozen=True)
class Expected:
    """The answer of `generate()` to one request."""

    tokens: list[int]
    confidences: np.ndarray[Any, np.dtype[np.float32]]
    steps_made: int
    answer_probabilities: list[float] | None


@dataclass(frozen=True)
class MixedRequest:
    """A request.

    Args:
        image: What is asked about, if anything.
        task: A task of the processor.
        query: Its query.
        options: Arguments of `generate()`.
        choices: The only answers.
        pattern: A regular expression of the answers.
        structured: Whether the task's own form is kept to.
    """

    image: Image.Image | None
    task: str
    query: str
    options: dict[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] | None = None
    pattern: str | None = None
    structured: bool = True

    @cached_property
    def _form(self) -> dict[str, Any]:
        form = {"choices": list(self.choices or ()) or None, "pattern": self.pattern}
        structured = {} if self.structured else {"structured": False}
        return {name: value for name, value in form.items() if value is not None} | structured

    @property
    def extra_args(self) -> dict[str, Any]:
        """What vLLM is told."""
        return {"task": self.task, "query": self.query, **self.options, **self._form}

    def prompt(self, image_token_id: int) -> dict[str, Any]:
        """Return what `LLM.generate` takes; the prompt is made of task and query."""
        if self.image is None:
            return {"prompt": " "}
        return {"prompt_token_ids": [image_token_id], "multi_modal_data": {"image": self.image}}

    def sampling_params(self) -> SamplingParams:
        """Return what goes with it."""
        return SamplingParams(extra_args=self.extra_args, detokenize=False)

    def expected(
        self, model: GeoDiTForMaskedDiffusion, processor: GeoDiTProcessor, patterns: AnswerPatterns
    ) -> Expected:
        """Ask `generate()`."""
        pattern = patterns.find(
            self.task, self.query, choices=self.choices, expression=self.pattern, structured=self.structured
        )
        images = {} if self.image is None else {"images": self.image}
        inputs = processor(**images, text=self.query, task=self.task, return_tensors="pt")
        options = {"max_new_tokens": processor.canvas_length(self.task), **self.options}
        output = model.generate(**inputs, **options, answer_pattern=pattern, return_dict_in_generate=True)
        probabilities = output.answer_probabilities
        return Expected(
            output.sequences[0, inputs["input_ids"].shape[1] :].tolist(),
            output.confidences[0].numpy(),
            int(output.steps_made[0]),
            None if probabilities is None else probabilities[0].tolist(),
        )


def mixed_requests(count: int, sizes: Sequence[tuple[int, int]] = ((96, 96),)) -> list[MixedRequest]:
    """Make requests about drawn scenes and noise, in which tasks, lengths, policies and forms are mixed.

    Args:
        count: How many.
        sizes: `(width, height)` of images, in turn. Every ninth request is without one.
    """
    kinds = (scene_type_names * 2)[:20]
    images = [Image.fromarray(render_scene(sample_scene(seed, 96, kind))) for seed, kind in enumerate(kinds)]
    noise = np.random.default_rng(0).integers(0, 256, (10, 96, 96, 3), dtype=np.uint8)
    images += [Image.fromarray(pixels) for pixels in noise]
    requests = []
    for number in range(count):
        task, query = TASKS[number % len(TASKS)]
        options = dict(POLICIES[number % len(POLICIES)])
        length = LENGTHS[number % len(LENGTHS)]
        form: dict[str, Any] = {}
        if task == "vqa" and number % 4 == 2:
            form = {"choices": ("0", "1", "2", "3", "many")}
        elif task == "vqa":
            form = {"pattern": "[0-9]{1,2}"}
        elif number % 5 == 0:
            form = {"structured": False}
        if length is not None:
            options["max_new_tokens"] = length
        image = images[(number * 7 + number // 30) % len(images)].resize(sizes[number % len(sizes)])
        requests.append(MixedRequest(None if number % 9 == 8 else image, task, query, options, **form))
    return requests
