# SPDX-License-Identifier: Apache-2.0
"""`benchmarks/slots.py` prints what it promises."""

import runpy
from pathlib import Path

FILE = Path(__file__).parents[2] / "benchmarks" / "slots.py"


def test_all_give_the_same_answers_and_slots_take_fewer_steps(monkeypatch, capsys):
    arguments = ["--tiles", "8", "--slots", "4", "--steps", "8", "--rounds", "1"]
    monkeypatch.setattr("sys.argv", [str(FILE), *arguments])
    runpy.run_path(str(FILE), run_name="__main__")
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    table = {cells[0]: cells for cells in rows[1:]}
    assert list(table) == ["batches", "slots", "eager batches"]
    assert [cells[-1] for cells in table.values()] == ["yes"] * 3
    assert int(table["slots"][3]) == int(table["eager batches"][3]) < int(table["batches"][3])
