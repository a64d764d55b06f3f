# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and adapters with one thing changed: they answer, or are refused in one line, and write nothing."""

import copy
import json
import shutil
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodit.cli.errors import BAD_INPUT, as_command_error
from geodit.pipelines.image_pipeline import GeoDiTPipeline

pytest.importorskip("peft")

SETTINGS = ("config.json", "generation_config.json", "processor_config.json", "tokenizer_config.json")
OF_AN_ADAPTER = ("adapter_config.json",)
VALUES = [None, True, 0, -1, 10**9, 2**64, 1e300, float("nan"), "", "text", "\ud800", "a" * 5000, [], {}, [[1]]]
# It compiles the network, which ends, but not soon.
LEFT_OUT = "compile_step"
SECONDS = 30.0


def places(value, trail=()):
    """Every place in a document, by the names and numbers that lead to it."""
    yield trail
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        if name != LEFT_OUT:
            yield from places(part, (*trail, name))


@st.composite
def changed_documents(draw, documents):
    """The name of a file, and its content with a value at one place, or without the place."""
    name = draw(st.sampled_from(sorted(documents)))
    document = copy.deepcopy(documents[name])
    trail = draw(st.sampled_from(list(places(document))))
    value = draw(st.sampled_from([*VALUES, KeyError]))
    if not trail:
        return name, json.dumps(None if value is KeyError else value)
    target = document
    for step in trail[:-1]:
        target = target[step]
    if value is KeyError:
        del target[trail[-1]]
    else:
        target[trail[-1]] = value
    return name, json.dumps(document)


@st.composite
def changed_bytes(draw, content):
    """The content of a file, cut off, padded, or with some of its bytes changed, most often near its beginning."""
    kind = draw(st.sampled_from(["cut", "padded", "changed"]))
    place = draw(st.one_of(st.integers(0, min(600, len(content) - 1)), st.integers(0, len(content) - 1)))
    if kind == "cut":
        return content[:place]
    piece = draw(st.binary(min_size=1, max_size=12))
    return content + piece if kind == "padded" else content[:place] + piece + content[place + len(piece) :]


def check(folder, around, load):
    """Load and ask once: an answer, or an error that the program reports in one line as bad input."""
    before = {path: path.stat().st_mtime_ns for path in around.rglob("*")}
    start = time.monotonic()
    failed: Exception | None = None
    try:
        load(folder)(np.zeros((40, 40, 3), np.uint8), "caption", max_denoising_steps=1)
    except Exception as error:  # whatever it is, the program must know it
        failed = error
    assert failed is None or as_command_error(failed).exit_code == BAD_INPUT, repr(failed)
    assert time.monotonic() - start < SECONDS
    assert {path: path.stat().st_mtime_ns for path in around.rglob("*")} == before


@pytest.fixture(scope="module")
def places_to_write(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def written(original, around, name, content):
    """A copy of a folder with one file changed, in a folder of nothing else."""
    folder = around / original.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    (folder / name).write_bytes(content)
    return folder


@settings(max_examples=20, derandomize=True)
@given(data=st.data())
def test_a_checkpoint_with_a_setting_changed(checkpoint, places_to_write, data):
    documents = {name: json.loads((checkpoint / name).read_text()) for name in SETTINGS}
    name, content = data.draw(changed_documents(documents))
    check(
        written(checkpoint, places_to_write, name, content.encode()), places_to_write, GeoDiTPipeline.from_pretrained
    )


@settings(max_examples=15, derandomize=True)
@given(data=st.data())
def test_a_checkpoint_with_bytes_changed(checkpoint, places_to_write, data):
    name = data.draw(st.sampled_from(["model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"]))
    content = data.draw(changed_bytes((checkpoint / name).read_bytes()))
    folder = written(checkpoint, places_to_write, name, content)
    check(folder, places_to_write, GeoDiTPipeline.from_pretrained)


@settings(max_examples=15, derandomize=True)
@given(data=st.data())
def test_an_adapter_with_something_changed(checkpoint, adapter, places_to_write, data):
    if data.draw(st.booleans()):
        documents = {name: json.loads((adapter / name).read_text()) for name in OF_AN_ADAPTER}
        name, text = data.draw(changed_documents(documents))
        content = text.encode()
    else:
        name = "adapter_model.safetensors"
        content = data.draw(changed_bytes((adapter / name).read_bytes()))
    folder = written(adapter, places_to_write, name, content)
    check(folder, places_to_write, lambda folder: GeoDiTPipeline.from_pretrained(checkpoint, adapter=folder))
