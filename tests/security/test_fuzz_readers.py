# SPDX-License-Identifier: Apache-2.0
"""Whatever is in the annotation files of a data set: it is read, or there is one error that names a file of it."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_files import ends

from geodit.data.readers.check import check_dataset
from geodit.data.readers.reading import read_dataset
from published_datasets import BUILDERS

ANNOTATIONS = (".csv", ".json", ".jsonl", ".xml", ".pth", ".txt")
# What stands in the place of a value.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**31, 2**63, 10**400, 1e308, -1e308, float("nan"), float("inf"), 0.5),
    *("", " ", "\0", "\ud800", "../../etc/passwd", "/etc/passwd", "http://127.0.0.1:9/a.png", "x" * 5000),
    *("{<1><2><3>", "{<" + "9" * 400 + "><1><2><3>}", "[0.1,,nan,1e999]", "<p>" * 400, "<p></p>[]", "99999999m2"),
    *([], {}, [[[]]], [None] * 8, ["9" * 5000], {"raw": 1}, json.loads("[" * 300 + "]" * 300)),
)
# What stands in the place of some bytes.
PIECES = (
    *(
        b"",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b"\n",
        b"\r",
        b",",
        b"<",
        b">",
        b"&a;",
        b"\\",
    ),
    *(
        b"\\ud800",
        b"NaN",
        b"1e999",
        b"-",
        b"[" * 50_000,
        b"9" * 5000,
        b"<!DOCTYPE a>",
        b"<a>" * 2000,
        b'"' * 3,
        b"../",
    ),
)


def change_value(content: bytes, rng: random.Random) -> bytes:
    """Replace, remove or repeat one value of a JSON document; bytes of another file."""
    try:
        document = json.loads(content)
    except ValueError:
        return change_bytes(content, rng)
    if not isinstance(document, dict | list):
        return change_bytes(content, rng)
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], dict | list):
                visit(value[key])

    visit(document)
    for owner, key in rng.sample(places, min(len(places), rng.choice([1, 1, 2, 5]))):
        action = rng.randrange(6)
        if action == 0 and isinstance(owner, dict):
            owner.pop(key, None)
        elif action == 1 and isinstance(owner, list) and key < len(owner):
            owner.append(owner[key])
        elif isinstance(owner, dict) or key < len(owner):
            owner[key] = rng.choice(VALUES)
    return json.dumps(document).encode()


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """Replace some bytes, drop what comes after a place, or repeat a part."""
    for _ in range(rng.choice([1, 1, 2, 8])):
        start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        action = rng.randrange(5)
        if action == 0:
            content = content[:end]
        elif action == 1:
            content = content[:end] + content[start:]
        else:
            content = content[:start] + rng.choice(PIECES) + content[min(start + rng.randrange(4), end) :]
    return content


@functools.cache
def originals(name: str) -> dict[str, bytes]:
    """The files of a small data set; a path without a content for those that are no annotation."""
    with tempfile.TemporaryDirectory() as folder:
        BUILDERS[name](Path(folder))
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.*")}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_line_of(error: Exception, folder: Path) -> None:
    message = str(error)
    assert len(message.splitlines()) == 1, message
    assert len(message) < 5000
    assert str(folder) in message


def attempt(read: Callable[[], Any], folder: Path) -> None:
    try:
        read()
    except (ValueError, OSError) as error:
        one_line_of(error, folder)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name not in ("aid", "whu-rs19")])
@settings(max_examples=10, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_altered_annotations_are_read_or_one_error(tmp_path_factory, name, seed):
    rng = random.Random(seed)
    content = dict(originals(name))
    changed = rng.choice(sorted(path for path in content if path.endswith(ANNOTATIONS)))
    content[changed] = rng.choice([change_value, change_value, change_bytes])(content[changed], rng)
    outer = tmp_path_factory.mktemp("fuzz")
    folder = outer / "set"
    for path, written in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(written)
    before = snapshot(outer)
    root = folder / "chats.json" if name == "llava" else folder
    reader = name.partition(",")[0]
    split = "test" if "test" in changed or "EVAL" in changed or "_val" in changed else "train"
    with ends():
        attempt(lambda: list(read_dataset(reader, root, split, streaming=True)), folder)
        attempt(lambda: list(read_dataset(reader, root, split, streaming=True, bad_records="skip")), folder)
        attempt(lambda: check_dataset(reader, root, [split], decode_images=False), folder)
    assert snapshot(outer) == before
