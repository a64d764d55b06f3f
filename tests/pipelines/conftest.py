# SPDX-License-Identifier: Apache-2.0
"""A model that can be checked: it detects the red squares of an image and knows nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import SiglipImageProcessorPil

from geodit.modeling_geodit.slots_geodit import FinishedAnswer
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.processing.processing_geodit import COMPACT_CHAT_TEMPLATE, GeoDiTProcessor
from geodit.processing.tokenization import build_tokenizer

SIDE = 64


def scene_with_squares(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> NDArray[np.uint8]:
    """Gray ground (H, W, 3) with a red rectangle for each box."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = (250, 10, 10)
    return pixels


class RedSquareModel:
    """Stands for the network: answers detection with the boxes of red squares, all else with "two".

    It has the parts of a Transformers model that a pipeline uses, and keeps the arguments it was called with.
    """

    dtype = torch.float32

    def __init__(self, processor: GeoDiTProcessor, device: torch.device) -> None:
        self.processor = processor
        self.device = device
        self.calls: list[dict[str, Any]] = []

    def to(self, device: object) -> RedSquareModel:
        return self

    def eval(self) -> RedSquareModel:
        return self

    def generate_many(
        self, batches: Iterable[dict[str, Any]], *, max_new_tokens: int, **arguments: Any
    ) -> Iterator[FinishedAnswer]:
        """Answers batch by batch, and within a batch the last question first."""
        count = 0
        for batch in batches:
            pixel_values = batch.pop("image_prefix" if "image_prefix" in batch else "pixel_values")
            assert len(batch.pop("input_ids")) == len(pixel_values) == len(batch.pop("attention_mask"))
            self.calls.append({**arguments, **batch, "images": len(pixel_values), "max_new_tokens": max_new_tokens})
            steps = arguments.get("max_denoising_steps", 4)
            for row in reversed(range(len(pixel_values))):
                ids, confidences = self.answer(pixel_values[row], max_new_tokens)
                yield FinishedAnswer(
                    index=count + row,
                    canvas=torch.tensor(ids),
                    commit_steps=torch.arange(max_new_tokens) * steps // max_new_tokens,
                    confidences=torch.tensor(confidences),
                    end_probabilities=torch.zeros(max_new_tokens),
                    steps_made=steps,
                    answer_probabilities=self.probabilities(ids, arguments.get("answer_pattern")),
                )
            count += len(pixel_values)

    def encode_image(self, pixel_values: torch.Tensor, *sizes: object, **options: object) -> torch.Tensor:
        """All of an image that an answer depends on."""
        return pixel_values

    def probabilities(self, ids: list[int], pattern: object) -> torch.Tensor | None:
        """What the model says of each choice."""
        return None

    def answer(self, pixel_values: torch.Tensor, max_new_tokens: int) -> tuple[list[int], list[float]]:
        """Tokens of a canvas, and their confidences: 0.9 a token for the first box, 0.8 for the second ..."""
        if max_new_tokens < 32:
            ids = self.processor.encode_answer("two", max_new_tokens)
            return ids, [0.5] * len(ids)
        boxes = red_boxes((pixel_values[0] - pixel_values[1]).numpy() > 1.0)
        answer = self.processor.format_answer("detect", boxes=boxes, image_size=(SIDE, SIDE))
        ids = self.processor.encode_answer(answer, max_new_tokens)
        return ids, [0.9 - 0.1 * (place // 4) for place in range(max_new_tokens)]


def red_boxes(red: NDArray[np.bool_]) -> list[list[float]]:
    """Bounding boxes of connected patches. Slivers of under 5 pixels are not recognised as squares."""
    left_over = red.copy()
    boxes = []
    while left_over.any():
        pending = [tuple(np.argwhere(left_over)[0])]
        patch = []
        while pending:
            y, x = pending.pop()
            if 0 <= y < red.shape[0] and 0 <= x < red.shape[1] and left_over[y, x]:
                left_over[y, x] = False
                patch.append((y, x))
                pending += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        (top, left), (bottom, right) = np.min(patch, axis=0), np.max(patch, axis=0)
        if min(bottom - top, right - left) >= 4:
            boxes.append([float(left), float(top), float(right + 1), float(bottom + 1)])
    return boxes


@pytest.fixture(scope="session")
def processor() -> GeoDiTProcessor:
    """Location tokens of one pixel, for images of 64 pixels."""
    tokenizer = build_tokenizer(
        ["Detect: ship.", "How many ships are there?", "two none"], vocab_size=512, location_bins=SIDE
    )
    image_processor = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    return GeoDiTProcessor(image_processor, tokenizer, chat_template=COMPACT_CHAT_TEMPLATE, num_image_tokens=16)


@pytest.fixture
def model(processor: GeoDiTProcessor, device: torch.device) -> RedSquareModel:
    return RedSquareModel(processor, device)


class BrokenOffModel(RedSquareModel):
    """Answers detection with a box and the half of another one, whatever the image shows."""

    def answer(self, pixel_values: torch.Tensor, max_new_tokens: int) -> tuple[list[int], list[float]]:
        """Tokens of a canvas, and their confidences."""
        ids = self.processor.encode_answer("<loc_4><loc_6><loc_20><loc_22><loc_30><loc_40>", max_new_tokens)
        return ids, [0.9] * len(ids)


class RedOrNotModel(RedSquareModel):
    """Answers a question with "two" where there is red, else with "none"; of these choices it is 3/4 sure."""

    def answer(self, pixel_values: torch.Tensor, max_new_tokens: int) -> tuple[list[int], list[float]]:
        """Tokens of a canvas, and their confidences."""
        is_red = bool((pixel_values[0] - pixel_values[1] > 1.0).any())
        ids = self.processor.encode_answer("two" if is_red else "none", max_new_tokens)
        return ids, [0.5] * len(ids)

    def probabilities(self, ids: list[int], pattern: object) -> torch.Tensor | None:
        """What the model says of each choice."""
        if pattern is None:
            return None
        is_two = self.processor.decode_canvas(torch.tensor(ids)) == "two"
        return torch.tensor([0.75, 0.25] if is_two else [0.25, 0.75])


@pytest.fixture
def answering_pipe(processor: GeoDiTProcessor, device: torch.device) -> GeoDiTPipeline:
    return GeoDiTPipeline(RedOrNotModel(processor, device), processor, device)


@pytest.fixture
def broken_model(processor: GeoDiTProcessor, device: torch.device) -> RedSquareModel:
    return BrokenOffModel(processor, device)


@pytest.fixture
def pipe(model: RedSquareModel, processor: GeoDiTProcessor, device: torch.device) -> GeoDiTPipeline:
    return GeoDiTPipeline(model, processor, device)


@pytest.fixture
def draw() -> Any:
    """`draw.scene(height, width, boxes)`: an image of red squares that the model can find."""
    return SimpleNamespace(scene=scene_with_squares)
