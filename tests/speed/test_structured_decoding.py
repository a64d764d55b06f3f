# SPDX-License-Identifier: Apache-2.0
"""The benchmark of structured decoding: what it compares, and what it prints."""

import json
import re

import pytest
import torch

from benchmark_scripts import imported_benchmark
from geodit.modeling_geodit.patterns_geodit import CanvasLogits


@pytest.fixture(scope="module")
def benchmark():
    with imported_benchmark("structured_decoding") as module:
        yield module


def wish(pattern, wishes, length):
    """What a pattern proposes in rows where the network is sure of some tokens, followed by an end."""
    logits = torch.zeros(len(wishes), length, 2048)
    for row, tokens in enumerate(wishes):
        padded = [*tokens, *[1] * (length - len(tokens))]
        logits[row, torch.arange(length), torch.tensor(padded)] = 9
    everywhere = torch.ones(logits.shape[:2], dtype=torch.bool)
    known = CanvasLogits(logits.flatten(0, 1), everywhere, everywhere, everywhere.long())
    return pattern.propose(known).tokens.tolist()


def test_every_pattern_has_a_row_with_both_sides_of_it(benchmark, tmp_path, capsys):
    out = tmp_path / "costs.json"
    options = (
        "--shape tiny --prefix 25 --steps 2 --rounds 2 --batch-sizes 1 2 --dtype float32 --device cpu --threads 1"
    )
    benchmark.main([*options.split(), "--out", str(out)])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    titles = [title for _, _, title in benchmark.PATTERNS.values()]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table[2:]]
    assert [(row[0], row[1]) for row in cells] == [(title, size) for size in "12" for title in titles]
    assert all(re.fullmatch(r"[\d.]+ \([\d.]+ - [\d.]+\)", cell) for row in cells for cell in row[3:])
    for cost in json.loads(out.read_text(encoding="utf-8"))["costs"]:
        for proposing, with_pattern in zip(cost["proposing"], cost["with_pattern"], strict=True):
            assert 0 < proposing < with_pattern
        assert len(cost["without"]) == 2


def test_boxes_as_numbers_are_those_that_the_table_says(benchmark):
    pattern, digits = benchmark.number_boxes(), 10 + 100 + 1000
    opening, closing, _, _, comma, _, _, between, *_ = range(2 + digits, 2 + digits + 10)
    one_digit, three_digits = 2 + 7, 2 + 110 + 407
    box = [opening, one_digit, comma, three_digits, comma, one_digit, comma, one_digit, closing]
    two = [*box[:-1], between, *box[1:]]
    answers = (box, two)
    assert wish(pattern, answers, 20) == [[*answer, *[1] * (20 - len(answer))] for answer in answers]
    assert wish(pattern, [box[:-1]], 9) == [box]  # though the network wants no bracket


def test_there_are_thirty_names_of_one_to_four_tokens(benchmark):
    wishes = [[token] * 8 for token in range(2, 2048)]
    answers = set(map(tuple, wish(benchmark.names(), wishes, 8)))
    assert len(answers) == 30
    assert {sum(token >= 2 for token in answer) for answer in answers} == {1, 2, 3, 4}
