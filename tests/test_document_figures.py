# SPDX-License-Identifier: Apache-2.0
"""Figures of the bundled checkpoint in README.md and docs/ are those of its results files."""

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open

import geodit
from guide_reader import CHECKOUT, documents

CHECKPOINT = Path(geodit.bundled_checkpoint())
RESULTS = {
    strategy: json.loads((CHECKPOINT / "results" / f"synthetic-{strategy}.json").read_text())
    for strategy in ("low_confidence", "random")
}
# The card is held against the files by a test of its own.
DOCUMENTS = [name for name in documents() if not name.startswith("tiny/")]

# What the rows of a table are called, and the key of the figure.
FIGURES = {
    ("caption", "CIDEr (0 to 10)"): "caption.cider",
    ("ground", "accuracy@0.5"): "ground.accuracy",
    ("detect", "F1@0.5"): "detect.f1",
    ("detect", "share of answers that parsed"): "detect.parse_rate",
    ("vqa, counting", "accuracy"): "vqa.count.accuracy",
    ("classify", "accuracy"): "classify.accuracy",
}
TASKS = ("caption", "ground", "detect", "vqa", "classify")


def summary(column):
    """The figures of a column such as `N = 8, random remasking`."""
    steps = int(re.search(r"N = (\d+)", column)[1])
    cells = RESULTS["random" if "random" in column else "low_confidence"]["cells"]
    (cell,) = (cell for cell in cells if cell["settings"]["steps"] == steps)
    return cell["summary"]


def tables():
    """Rows of each table of figures by task, with its columns, over all documents."""
    for name in DOCUMENTS:
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        for table in re.findall(r"^\| task \| figure \|.*\n(?:\|.*\n)+", text, re.MULTILINE):
            header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
            for row in rows:
                yield pytest.param(header[2:], row, id=f"{name}: {row[0]}, {row[1]}")


@pytest.mark.parametrize(("columns", "row"), [*tables()])
def test_figures_of_a_table_are_those_of_the_results(columns, row):
    task, figure, *values = row
    assert len(values) == len(columns)
    for column, value in zip(columns, values, strict=True):
        spreads = summary(column)
        if "steps" in figure:
            expected = ", ".join(f"{spreads[f'{task}.mean_steps']['mean']:.1f}" for task in TASKS)
        else:
            spread = spreads[FIGURES[task, figure]]
            decimals = len(value.partition(" ")[0].partition(".")[2])
            assert decimals >= 2
            expected = f"{spread['mean']:.{decimals}f} ± {spread['std']:.{decimals}f}"
        assert value == expected


def test_every_task_has_a_figure():
    assert len({tuple(row.values[1][:2]) for row in tables()}) >= len(FIGURES)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_number_of_parameters_is_that_of_the_weights(name):
    with safe_open(CHECKPOINT / "model.safetensors", framework="np") as weights:
        count = sum(_size(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118 - no mapping
    text = " ".join((CHECKOUT / name).read_text(encoding="utf-8").split())
    # In a sentence about this checkpoint, not about one of 8 billion parameters.
    assert set(re.findall(r"(\d+\.\d+) million parameters", text)) <= {f"{count / 1e6:.1f}"}


def _size(shape):
    size = 1
    for side in shape:
        size *= side
    return size
