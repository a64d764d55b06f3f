# SPDX-License-Identifier: Apache-2.0
"""Cells, code spans and paths as a card shows them."""

import pytest

from geodit.hub_cards.card.markdown import Table, code, without_folders


def test_a_table_aligns_words_left_and_numbers_right():
    table = Table(("part", "size"), (("a | b", "1"), ("two\nlines", "2")), num_left=1)
    assert str(table).splitlines() == [
        "| part | size |",
        "| --- | ---: |",
        r"| a \| b | 1 |",
        "| two lines | 2 |",
    ]


@pytest.mark.parametrize(("text", "span"), [("a", "`a`"), ("a`b", "`` a`b ``"), ("```", "```` ``` ````")])
def test_a_code_span_is_fenced_by_more_backticks_than_it_has(text, span):
    assert code(text) == span


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("/home/someone/runs/stage2", "stage2"),
        ("~/runs/stage2/", "stage2"),
        (r"C:\Users\someone\stage2", "stage2"),
        ("--out=/tmp/someone/a.json", "--out=a.json"),
        ("runs/stage2", "runs/stage2"),
        ("organization/model", "organization/model"),
        ("1,8", "1,8"),
        ("/", "/"),
    ],
)
def test_an_absolute_path_is_cut_to_its_last_part(argument, shown):
    assert without_folders(argument) == shown
