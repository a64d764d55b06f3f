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
RESULTS = json.loads((CHECKPOINT / "results" / "synthetic.json").read_text())
# The card is held against the files by a test of its own.
DOCUMENTS = [name for name in documents() if not name.startswith("tiny/")]

# What the rows of a table are called, and the key of the figure.
FIGURES = {
    ("caption", "CIDEr (0 to 10)"): "caption.cider",
    ("caption", "right apart from counts"): "caption.exact_match_apart_from_counts",
    ("ground", "accuracy@0.5"): "ground.accuracy",
    ("detect", "F1@0.5"): "detect.f1",
    ("detect", "mAP@0.5"): "detect.map50",
    ("detect", "mAP@0.5, all scores equal"): "detect.map50_equal_scores",
    ("detect", "share of answers that parsed"): "detect.parse_rate",
    ("vqa", "accuracy"): "vqa.accuracy",
    ("vqa, counting", "accuracy"): "vqa.count.accuracy",
    ("classify", "accuracy"): "classify.accuracy",
}
TASKS = ("caption", "ground", "detect", "vqa", "classify")


def figures_of(column):
    """The figures of a column such as `N = 8, random remasking`, of all answers together."""
    steps = int(re.search(r"N = (\d+)", column)[1])
    remasking = "random" if "random" in column else "low_confidence"
    (cell,) = (
        cell
        for cell in RESULTS["cells"]
        if (cell["settings"]["steps"], cell["settings"]["remasking"]) == (steps, remasking)
    )
    return cell["pooled"]


def figure_of(figures, name):
    """A figure by its flat name, with its interval; `None` if it is not there."""
    task, *kind, figure = name.split(".")
    part = figures.get(task, {})
    part = part.get("by_kind", {}).get(kind[0], {}) if kind else part
    value = part.get(figure)
    return None if value is None else (value, part["confidence_intervals"].get(figure))


def without_a_model(column, name):
    """The best that is reached without a model, or with the truth at hand."""
    if name.endswith("parse_rate"):
        return None  # nothing is parsed
    uses_truth = column == "with the truth"
    found = [
        figure_of(baseline["figures"], name)
        for baseline in RESULTS["baselines"].values()
        if baseline["uses_truth"] is uses_truth
    ]
    return max((figure for figure in found if figure is not None), default=None)


def written(figure, decimals):
    if figure is None:
        return ""
    value, (low, high) = figure
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


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
        if "steps" in figure:
            steps = [figures_of(column)[task]["mean_steps"] for task in TASKS] if "N =" in column else []
            assert value == ", ".join(f"{number:.1f}" for number in steps)
            continue
        name = FIGURES[task, figure]
        found = figure_of(figures_of(column), name) if "N =" in column else without_a_model(column, name)
        assert value == written(found, 2 if "CIDEr" in figure else 3)


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
