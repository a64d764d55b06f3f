# SPDX-License-Identifier: Apache-2.0
"""Code is published with a checkpoint that lacks it, and can be taken out of one."""

import json
from pathlib import Path

import pytest

from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.hub_cards.card.checkpoint_files import has_remote_code
from geodit.hub_cards.card.model_card import build_model_card
from geodit.hub_cards.publish.remote_code import code_files, remove_remote_code
from geodit.weights.bundled import bundled_checkpoint


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_code_that_was_taken_out_is_published_as_save_pretrained_writes_it(bare):
    before = contents(bare)
    remove_remote_code(bare)
    assert not has_remote_code(bare)
    assert set(contents(bare)) == set(before) - set(CODE_FILES)
    assert not any(b"auto_map" in content for content in contents(bare).values())
    published = code_files(bare)
    assert all(isinstance(content, bytes) for content in published.values())
    assert {**contents(bare), **published} == before


def test_a_checkpoint_may_lack_a_processor(bare):
    remove_remote_code(bare)
    (bare / "processor_config.json").unlink()
    assert "AutoModel" in json.loads(code_files(bare)["config.json"])["auto_map"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "is not a checkpoint: it has no config.json"),
        ('{"model_type": "llava"}', "its model_type is 'llava', not 'geodit'"),
        ("{", "is not JSON"),
    ],
)
def test_another_folder_is_refused_and_left_as_it_was(tmp_path, config, message):
    (tmp_path / CODE_FILES[0]).write_text("somebody's own")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=message):
        remove_remote_code(tmp_path)
    assert contents(tmp_path) == before


def test_the_card_shows_how_to_load_what_is_there(bare):
    assert "trust_remote_code=True" in build_model_card(bare).text
    remove_remote_code(bare)
    text = build_model_card(bare).text
    assert "trust_remote_code" not in text
    assert "import geodit " in text


def test_the_bundled_checkpoint_has_no_second_copy_of_the_sources():
    folder = Path(bundled_checkpoint())
    assert not list(folder.rglob("*.py"))
    assert "auto_map" not in (folder / "config.json").read_text() + (folder / "processor_config.json").read_text()
