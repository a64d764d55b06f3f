# SPDX-License-Identifier: Apache-2.0
"""Engines in this process, and how their answers differ from those of `generate()`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vllm import LLM
from vllm.distributed import cleanup_dist_env_and_memory

from geodit import GeoDiTConfig, GeoDiTForMaskedDiffusion, GeoDiTProcessor, bundled_checkpoint
from geodit.processing.answer_patterns import AnswerPatterns
from mixed_requests import Expected, MixedRequest

__all__ = ["Difference", "answer", "compare", "copy_with", "engine", "expected_answers"]


@dataclass(frozen=True)
class Difference:
    """How the answers of an engine differ from those expected.

    Args:
        wrong: The numbers of requests whose canvas has other tokens, or was denoised in other steps.
        confidence: The greatest difference of a confidence or of the probability of a listed answer, of the others.
    """

    wrong: tuple[int, ...]
    confidence: float


@contextmanager
def engine(folder: str | Path | None = None, **arguments: Any) -> Iterator[LLM]:
    """Start vLLM in this process, and end it."""
    defaults = {"enforce_eager": True, "dtype": "float32", "max_model_len": 256, "max_num_seqs": 16, "block_size": 32}
    llm = LLM(str(folder or bundled_checkpoint()), **{**defaults, **arguments})
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        cleanup_dist_env_and_memory()


def copy_with(folder: Path, **changes: object) -> Path:
    """Copy the bundled checkpoint and change its configuration."""
    shutil.copytree(bundled_checkpoint(), folder, ignore=shutil.ignore_patterns("results", "training", "assets"))
    config = GeoDiTConfig.from_pretrained(folder)
    for name, value in changes.items():
        setattr(config, name, value)
    config.save_pretrained(folder)
    return folder


def expected_answers(folder: str | Path, requests: Sequence[MixedRequest]) -> list[Expected]:
    """Answer each request alone by `generate()`, in float32."""
    model = GeoDiTForMaskedDiffusion.from_pretrained(folder, dtype=torch.float32).eval()
    processor = GeoDiTProcessor.from_pretrained(folder)
    patterns = AnswerPatterns(processor)
    return [request.expected(model, processor, patterns) for request in requests]


def answer(llm: LLM, requests: Sequence[MixedRequest], **arguments: Any) -> list[dict[str, Any]]:
    """Ask everything at once, and return what the answers carry."""
    token = llm.llm_engine.vllm_config.model_config.hf_config.image_token_id
    outputs = llm.generate(
        [request.prompt(token) for request in requests],
        [request.sampling_params() for request in requests],
        use_tqdm=False,
        **arguments,
    )
    return [output.kv_transfer_params["geodit"] for output in outputs]


def compare(answers: Sequence[dict[str, Any]], expected: Sequence[Expected]) -> Difference:
    """Compare canvases, steps, confidences and probabilities."""
    wrong, differences = [], [0.0]
    for number, (facts, right) in enumerate(zip(answers, expected, strict=True)):
        if facts["token_ids"] != right.tokens or facts["steps"] != right.steps_made:
            wrong.append(number)
            continue
        differences.append(float(np.abs(np.array(facts["confidences"]) - right.confidences).max()))
        if right.answer_probabilities is not None:
            shown = np.array(facts["answer_probabilities"])
            differences.append(float(np.abs(shown - right.answer_probabilities).max()))
    return Difference(tuple(wrong), max(differences))
