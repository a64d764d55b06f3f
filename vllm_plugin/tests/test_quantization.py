# SPDX-License-Identifier: Apache-2.0
"""Weights of 8 bits, made by torchao while the model loads, give the answers of the same weights in `generate()`."""

from __future__ import annotations

import json

import torch
from torchao.core.config import config_to_dict
from torchao.quantization import Int8WeightOnlyConfig, quantize_

from engines import answer, compare, engine, expected_answers
from geodit import GeoDiTForMaskedDiffusion, GeoDiTProcessor, bundled_checkpoint
from geodit.processing.answer_patterns import AnswerPatterns
from mixed_requests import mixed_requests

TOLERANCE = 1e-5


def test_weights_of_8_bits() -> None:
    requests, config = mixed_requests(24), Int8WeightOnlyConfig(version=2)
    model = GeoDiTForMaskedDiffusion.from_pretrained(bundled_checkpoint(), dtype=torch.float32).eval()
    quantize_(model.model.language_model, config)
    processor = GeoDiTProcessor.from_pretrained(bundled_checkpoint())
    patterns = AnswerPatterns(processor)
    expected = [request.expected(model, processor, patterns) for request in requests]
    quantization = {"quantization_config_dict_json": json.dumps(config_to_dict(config))}
    with engine(quantization="torchao", hf_overrides=quantization) as llm:
        found = answer(llm, requests)
    difference = compare(found, expected)
    assert not difference.wrong
    assert difference.confidence < TOLERANCE
    # And they are other weights.
    assert compare(found, expected_answers(bundled_checkpoint(), requests)).confidence > 100 * TOLERANCE
