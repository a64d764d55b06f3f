# SPDX-License-Identifier: Apache-2.0
"""Published data sets with a handful of images, made and read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geodit.data.readers.reading import read_dataset
from geodit.data.schema import Question, row_questions
from published_datasets import BUILDERS

Make = Callable[[str], Path]
Read = Callable[..., dict[str, list[Question]]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the small data set of a name, and gives the path to read it from."""

    def build(name: str) -> Path:
        root = tmp_path / name
        root.mkdir()
        return BUILDERS[name](root)

    return build


@pytest.fixture
def read() -> Read:
    """Reads a split as a stream: the questions by the id of their image."""

    def read_questions(name: str, path: Path, split: str = "train", **options: Any) -> dict[str, list[Question]]:
        rows = list(read_dataset(name, path, split, streaming=True, **options))
        questions = {row["image_id"]: row_questions(row) for row in rows}
        assert len(questions) == len(rows)  # ids are unique
        return questions

    return read_questions
