# SPDX-License-Identifier: Apache-2.0
"""docs/protocols.md has the figures of the stored answers under each protocol, and names every quirk."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.protocols import PROTOCOLS, get_protocol

CHECKOUT = Path(__file__).parents[3]
PAGE = (CHECKOUT / "docs" / "protocols.md").read_text(encoding="utf-8")
ANSWERS = [
    AnswerRecord.from_dict(json.loads(line))
    for line in (CHECKOUT / "tests/fixtures/protocols/answers.jsonl").read_text(encoding="utf-8").splitlines()
]
OF_SETS = {
    task: ", ".join(sorted({answer.question.answer for answer in ANSWERS if answer.question.task == task}))
    for task in ("vqa", "classify")
}


def empty(answer):
    return replace(answer, text="", boxes=(), labels=(), scores=())


def every_answer(answer):
    return replace(answer, text=OF_SETS.get(answer.question.task, answer.text))


def shifted(answer):
    """Each box beside where it was: by its width to the right, or to the left where it would leave the image."""
    boxes = []
    for x1, y1, x2, y2 in answer.boxes:
        width = x2 - x1 if 2 * x2 - x1 <= answer.image_size[1] else x1 - x2
        boxes.append((x1 + width, y1, x2 + width, y2))
    return replace(answer, boxes=tuple(boxes))


def thrice(answer):
    return replace(answer, boxes=answer.boxes * 3, labels=answer.labels * 3, scores=answer.scores * 3)


COLUMNS: dict[str, Callable[[AnswerRecord], AnswerRecord]] = {
    "geodit-tiny": lambda answer: answer,
    "empty": empty,
    "every answer": every_answer,
    "shifted": shifted,
    "thrice": thrice,
}


@cache
def figures_of(protocol, column, task):
    answers = [COLUMNS[column](answer) for answer in ANSWERS if answer.question.task == task]
    return get_protocol(protocol).score(answers)[task]


def tables():
    """Task, protocol, figure and the cells of each row of the tables."""
    for task, table in re.findall(r"^### `(\w+)`\n(?:(?!###).*\n)*?((?:\|.*\n)+)", PAGE, re.MULTILINE):
        header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
        for protocol, figure, *cells in rows:
            cells = dict(zip(header[2:], cells, strict=True))
            yield pytest.param(task, protocol.strip("`"), figure.strip("`"), cells, id=f"{task}: {protocol} {figure}")


ROWS = [*tables()]


@pytest.mark.parametrize(("task", "protocol", "figure", "cells"), ROWS)
def test_cells_are_what_the_stored_answers_score(task, protocol, figure, cells):
    if "rouge" in figure and protocol != "vrsbench":
        pytest.importorskip("rouge_score")
    for column, cell in cells.items():
        value = figures_of(protocol, column, task).get(figure)
        form = ".1f" if figure.endswith("_x100") else ".3f"
        assert cell == ("-" if value is None else format(value, form)), column


def test_every_task_of_every_protocol_has_a_row():
    rows = {row.values[:2] for row in ROWS}
    scored = {(task, protocol.name) for protocol in PROTOCOLS.values() for task in protocol.scorers}
    assert rows == scored | {(task, "ours") for task in ("caption", "ground", "detect", "vqa", "classify")}


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "ours"])
def test_sources_and_quirks_are_on_the_page(name):
    protocol = get_protocol(name)
    (section,) = re.findall(rf"^### {name}\n(.*?)(?=^##)", PAGE + "##", re.MULTILINE | re.DOTALL)
    for source in protocol.sources:
        assert f"https://github.com/{source.repository}/tree/{source.commit}" in section
        for path in source.paths:
            assert f"`{path}`" in section
    assert re.findall(r"^\* `(\w+)`", section, re.MULTILINE) == [quirk.name for quirk in protocol.quirks]
