# SPDX-License-Identifier: Apache-2.0
"""Code can be added to a checkpoint that lacks it, and taken out of one."""

import json
from pathlib import Path

import pytest

from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.hub_cards.card.checkpoint_files import has_remote_code
from geodit.hub_cards.card.model_card import build_model_card
from geodit.hub_cards.publish.remote_code import export_remote_code, remove_remote_code
from geodit.weights.bundled import bundled_checkpoint


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_code_taken_out_and_added_is_as_save_pretrained_writes_it(bare):
    before = contents(bare)
    remove_remote_code(bare)
    assert not has_remote_code(bare)
    assert set(contents(bare)) == set(before) - set(CODE_FILES)
    assert not any(b"auto_map" in content for content in contents(bare).values())
    export_remote_code(bare)
    assert has_remote_code(bare)
    assert contents(bare) == before


def test_a_checkpoint_may_lack_a_processor(bare):
    (bare / "processor_config.json").unlink()
    export_remote_code(bare)
    assert "AutoModel" in json.loads((bare / "config.json").read_text())["auto_map"]


@pytest.mark.parametrize("change", [export_remote_code, remove_remote_code])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "is not a checkpoint: it has no config.json"),
        ('{"model_type": "llava"}', "its model_type is 'llava', not 'geodit'"),
        ("{", "is not JSON"),
    ],
)
def test_another_folder_is_refused_and_left_as_it_was(tmp_path, change, config, message):
    (tmp_path / CODE_FILES[0]).write_text("somebody's own")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=message):
        change(tmp_path)
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
