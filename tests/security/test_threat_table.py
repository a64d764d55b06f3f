# SPDX-License-Identifier: Apache-2.0
"""Behind every row of the table in SECURITY.md stands a test that there is."""

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LINK = re.compile(r"\[`(\w+)`\]\(((?:vllm_plugin/)?tests/[\w/]+\.py)\)")


def rows():
    text = (CHECKOUT / "SECURITY.md").read_text(encoding="utf-8")
    _, _, section = text.partition("\n## Who controls what\n")
    table = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    assert len(table) > 10
    return table[2:]


@pytest.mark.parametrize("row", rows(), ids=lambda row: " ".join(row.split("|")[3].split()[:8]))
def test_a_row_names_tests_that_there_are(row):
    named = LINK.findall(row.split("|")[4])
    assert named
    for name, path in named:
        tree = ast.parse((CHECKOUT / path).read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert name in defined, f"{path} has no {name}"


def test_every_file_of_these_tests_is_behind_a_row():
    named = {Path(path).name for row in rows() for _, path in LINK.findall(row)}
    here = {path.name for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    assert here <= named, sorted(here - named)
