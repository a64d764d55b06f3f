# SPDX-License-Identifier: Apache-2.0
"""Transformers' own tests of pipelines, over the one that GeoDiT is for."""

import shutil
import unittest
from pathlib import Path

import pytest

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from transformers_suite import load_suite_module, pipeline_tests

suite = load_suite_module("test_pipeline_mixin")


@pytest.fixture(autouse=True)
def a_model_of_our_own(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path) -> None:
    """In place of one on the Hub, and what to do with it."""
    name = GeoDiTForMaskedDiffusion.__name__
    shutil.copytree(checkpoint, tmp_path / "geodit" / name)
    parts = {"tokenizer_classes": ["PreTrainedTokenizerFast"], "processor_classes": ["SiglipImageProcessorPil"]}
    monkeypatch.setattr(suite, "TRANSFORMERS_TINY_MODEL_PATH", str(tmp_path))
    monkeypatch.setitem(suite.tiny_model_summary, name, parts)
    tests = pipeline_tests.ImageTextToTextTests
    of_task = suite.pipeline_test_mapping["image-text-to-text"]
    # Named by a string from Transformers 5.23 on.
    named = f"{tests.__module__}.{tests.__name__}" if isinstance(of_task["test"], str) else tests
    monkeypatch.setitem(of_task, "test", named)


class TestPipelines(suite.PipelineTesterMixin, unittest.TestCase):  # type: ignore[misc, name-defined]
    pipeline_model_mapping = {"image-text-to-text": GeoDiTForMaskedDiffusion}
