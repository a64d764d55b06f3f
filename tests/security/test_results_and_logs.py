# SPDX-License-Identifier: Apache-2.0
"""Recipes, logs, results and pictures that are broken, huge or endless: a card is one error, and soon."""

import json
import os
import shutil
from pathlib import Path

import pytest

from geodit.hub_cards.card.model_card import build_model_card
from geodit.hub_cards.card.templating import fill_template
from geodit.hub_cards.publish.file_selection import published_files
from geodit.hub_cards.publish.hub_client import read_token

DEEP = "[" * 100_000
LINES = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
ALIASES = f"a: &a [x]\n{LINES}"


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "geodit-test"))


def refused(folder: Path, message: str) -> None:
    for make in (build_model_card, lambda folder: published_files(folder, repo_id="org/geodit-test")):
        with pytest.raises(ValueError, match=message) as error:
            make(folder)
        assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("training/a.yaml", ALIASES, r"a\.yaml is not YAML .* its aliases stand for more than"),
        ("training/a.yaml", "a: " + "[" * 600, r"a\.yaml is not YAML that can be read: it is nested too deeply"),
        ("training/a.yaml", "a: !!python/object/apply:os.system [x]", r"a\.yaml is not YAML that can be read"),
        ("training/a.jsonl", f'{{"step": {DEEP}\n', r"a\.jsonl, line 1 is not JSON"),
        ("training/a.jsonl", '{"step": 1}\n"x"\n', r"a\.jsonl, line 2 must hold a JSON object"),
        ("results/a.json", f'{{"seeds": {DEEP}', r"a\.json is not JSON"),
        ("results/benchmarks.yaml", ALIASES, r"benchmarks\.yaml is not YAML"),
        ("assets/examples.json", DEEP, r"examples\.json is not JSON"),
        ("training/a.emissions.csv", "emissions\nmany\n", r"a\.emissions\.csv is not a file of CodeCarbon"),
        ("assembly.json", f'{{"sources": {DEEP}', r"assembly\.json is not JSON"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(folder, name, content, message):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    refused(folder, message)


@pytest.mark.parametrize("name", ["training/a.yaml", "training/a.jsonl", "results/a.json", "emissions.csv"])
def test_one_that_is_too_large_is_not_read(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    with (folder / name).open("wb") as file:
        file.truncate(2**40)  # takes no space
    refused(folder, "is larger than 67,108,864 bytes")


def test_one_that_is_as_deep_as_can_be_read_is_named_too(folder):
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings)[:-1] + f', "_name_or_path": {"[" * 700}{"]" * 700}}}')
    with pytest.raises(ValueError, match="nested too deeply"):
        published_files(folder, repo_id="org/geodit-test")


def test_what_the_user_names_is_a_file_too(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="is a named pipe"):
        read_token(pipe)
    with pytest.raises(ValueError, match="there is no template"):
        fill_template(pipe, {})
    with (tmp_path / "token").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="is larger than 10,000 bytes"):
        read_token(tmp_path / "token")
