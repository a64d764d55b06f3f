# SPDX-License-Identifier: Apache-2.0

import shutil

import pytest
from huggingface_hub import ModelCard


@pytest.fixture
def folder(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "geodit-small")


def test_the_card_is_written_with_example_predictions(geodit, folder):
    result = geodit("card", folder, "--repo", "org/geodit-small")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"the card is in {folder / 'README.md'}\n"
    card = ModelCard.load(folder / "README.md")
    assert 'from_pretrained("org/geodit-small")' in card.text
    assert "### Examples" in card.text
    assert len(list((folder / "assets").glob("example-*.jpg"))) == 3


def test_the_model_need_not_be_asked(geodit, folder):
    assert geodit("card", folder, "--no-examples", "--license", "mit").exit_code == 0
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "mit"
    assert "### Examples" not in card.text
    assert not (folder / "assets").exists()


def test_an_adapter_answers_on_its_base(geodit, adapter, tmp_path):
    copy = shutil.copytree(adapter, tmp_path / "trees")
    result = geodit("card", copy)
    assert result.exit_code == 0, result.output
    card = ModelCard.load(copy / "README.md")
    assert card.data.base_model_relation == "adapter"
    assert "### Examples" in card.text


def test_a_template_of_ones_own(geodit, folder, tmp_path):
    template = tmp_path / "own.md.jinja"
    template.write_text('{% extends "model_card.md.jinja" %}{% block limits %}No limits.{% endblock %}')
    assert geodit("card", folder, "--no-examples", "--template", template).exit_code == 0
    assert "No limits." in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no directory nowhere"),
        (["{folder}", "--license", "free"], "license 'free' is none of the identifiers"),
        (["{folder}", "--template", "missing.jinja"], "there is no template missing.jinja"),
        (["{folder}/.."], "is not a checkpoint: it has no config.json"),
    ],
)
def test_bad_input_is_told_before_the_model_is_asked(geodit, folder, arguments, message):
    assert message in geodit.fails("card", *(str(argument).format(folder=folder) for argument in arguments))
    assert not (folder / "assets").exists()
