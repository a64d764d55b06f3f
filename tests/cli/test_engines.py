# SPDX-License-Identifier: Apache-2.0
"""`geodit predict --engine`: what cannot be asked is refused before anything is loaded."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from PIL import Image


@pytest.fixture
def scene(tmp_path):
    Image.new("RGB", (96, 96)).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--engine-options", "{}"), "--engine-options is for --engine vllm: give both"),
        (("--engine", "vllm", "--device", "cpu"), "--device is for GeoDiT's own engine"),
        (("--engine", "vllm", "--adapter", "geodit-tiny"), "merge it into the model before"),
    ],
)
def test_what_does_not_go_together(geodit, scene, options, message):
    assert message in geodit.fails("predict", scene, "--task", "caption", *options)


@pytest.mark.skipif(find_spec("geodit_vllm") is not None, reason="the plugin is installed")
def test_the_plugin_is_named_where_it_is_missing(geodit, scene):
    assert "pip install 'geodit-vllm[cuda]'" in geodit.fails("predict", scene, "--task", "caption", "--engine", "vllm")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"model": "other"}', "cannot have model"),
        ('{"tensor_parallel_size": "two"}', "must be a number of GPUs, but is 'two'"),
    ],
)
def test_options_of_the_engine_are_read_before_anything_is_loaded(geodit, scene, monkeypatch, options, message):
    monkeypatch.setattr("geodit.cli.engines.find_spec", lambda name: name)
    arguments = ("predict", scene, "--task", "caption", "--engine", "vllm", "--engine-options", options)
    assert message in geodit.fails(*arguments)
