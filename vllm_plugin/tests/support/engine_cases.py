# SPDX-License-Identifier: Apache-2.0
"""Requests to an engine beside what `generate()` answers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from vllm import LLM, SamplingParams
from vllm.distributed import cleanup_dist_env_and_memory

import geodit
from geodit import GeoDiTForMaskedDiffusion, GeoDiTProcessor
from stand_in_sampler import read_finished

__all__ = ["Answer", "Question", "answers_of", "ask", "engine", "greatest_difference", "mixed_questions", "read_model"]

_TASKS = [("detect", "ship"), ("caption", None), ("vqa", "How many trees are there?"), ("classify", None)]


@dataclass(frozen=True)
class Question:
    """A request: an image of noise, so that no answer follows from the text, and how it is decoded."""

    task: str
    query: str | None
    image: Image.Image | None
    length: int
    decoding: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came of it."""

    tokens: tuple[int, ...]
    confidences: torch.Tensor


def noise(seed: int, width: int = 96, height: int = 96) -> Image.Image:
    """Return an image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def mixed_questions(count: int, *, sizes: Sequence[tuple[int, int]] = ((96, 96),)) -> list[Question]:
    """Return questions of many kinds, every fifth of them without an image."""
    questions = []
    for index in range(count):
        task, query = _TASKS[index % 4]
        length = [32, 24, 16, 8][index % 4]
        decoding: dict[str, Any] = {"max_denoising_steps": min(length, [8, 4, 16, 2, 1][index % 5])}
        if index % 6 == 3:
            decoding = {"max_denoising_steps": length, "confidence_threshold": 0.5}
        if index % 8 == 4:
            decoding = {"max_denoising_steps": 8, "block_length": 8, "initial_canvas_length": 8}
        image = None if index % 5 == 4 else noise(index, *sizes[index % len(sizes)])
        questions.append(Question(task, query, image, length, decoding))
    return questions


def read_model(folder: str | Path) -> tuple[GeoDiTForMaskedDiffusion, GeoDiTProcessor]:
    """Load a checkpoint in float32."""
    model = GeoDiTForMaskedDiffusion.from_pretrained(folder, dtype=torch.float32).eval()
    return model, GeoDiTProcessor.from_pretrained(folder)


def prompt_of(question: Question, processor: GeoDiTProcessor) -> tuple[dict[str, Any], list[int]]:
    """Return what `generate()` takes, and the tokens of the prompt."""
    inputs = dict(
        processor(images=question.image or noise(0), text=question.query, task=question.task, return_tensors="pt")
    )
    if question.image is None:
        ids = inputs["input_ids"]
        inputs = {"input_ids": ids[:, (ids[0] != processor.image_token_id).nonzero()[0, 0] :]}
    return inputs, inputs["input_ids"][0].tolist()


def answers_of(
    model: GeoDiTForMaskedDiffusion, processor: GeoDiTProcessor, questions: Sequence[Question]
) -> list[Answer]:
    """Answer questions one by one by `generate()`."""
    answers = []
    for question in questions:
        inputs, prompt = prompt_of(question, processor)
        output = model.generate(
            **inputs, max_new_tokens=question.length, return_dict_in_generate=True, **question.decoding
        )
        answers.append(Answer(tuple(output.sequences[0, len(prompt) :].tolist()), output.confidences[0]))
    return answers


@contextmanager
def engine(folder: str | Path | None = None, **arguments: Any) -> Iterator[LLM]:
    """Start vLLM in this process with the sampler that stands in, and end it."""
    os.environ["GEODIT_VLLM_STAND_IN"] = "1"
    defaults = {"enforce_eager": True, "dtype": "float32", "max_model_len": 256, "max_num_seqs": 4, "block_size": 32}
    llm = LLM(str(folder or geodit.bundled_checkpoint()), **{**defaults, **arguments})
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        cleanup_dist_env_and_memory()
        os.environ.pop("GEODIT_VLLM_STAND_IN")


def ask(llm: LLM, processor: GeoDiTProcessor, questions: Sequence[Question], **arguments: Any) -> list[list[Answer]]:
    """Ask vLLM everything at once.

    Returns:
        For each question its answer, several times with each of the confidences that were found with these tokens:
        vLLM does not say which of them are its.
    """
    full = llm.llm_engine.vllm_config.model_config.hf_config.attention_mode == "full"
    prompts: list[Any] = []
    params = []
    for question in questions:
        _, prompt = prompt_of(question, processor)
        text = [token for token in prompt if token != processor.image_token_id]
        given: dict[str, Any] = {"prompt_token_ids": text}
        if question.image is not None:
            given = {
                "prompt_token_ids": [processor.image_token_id, *text],
                "multi_modal_data": {"image": question.image},
            }
        prompts.append(given)
        width = question.length + (len(prompt) if full else 0)
        extra_args = {"diffusion_canvas_length": width, **question.decoding}
        params.append(
            SamplingParams(max_tokens=question.length, ignore_eos=True, detokenize=False, extra_args=extra_args)
        )
    outputs = llm.generate(prompts, params, use_tqdm=False, **arguments)
    finished = llm.collective_rpc(read_finished)[0]
    tokens = [tuple(output.outputs[0].token_ids) for output in outputs]
    return [[Answer(ids, confidences) for confidences in finished.get(ids, [])] for ids in tokens]


def greatest_difference(answers: Sequence[Sequence[Answer]], expected: Sequence[Answer]) -> float:
    """Return the greatest difference of a confidence; 1 where tokens differ."""
    differences = [0.0]
    for found, wanted in zip(answers, expected, strict=True):
        if not found or found[0].tokens != wanted.tokens:
            differences.append(1.0)
        else:
            differences.append(min(float((one.confidences - wanted.confidences).abs().max()) for one in found))
    return max(differences)
