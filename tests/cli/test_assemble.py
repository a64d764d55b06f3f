# SPDX-License-Identifier: Apache-2.0
"""`geodit assemble`: what it prints, and what it says of options that do not go together."""

import json
from pathlib import Path

import pytest
from transformers import SiglipVisionModel
from transformers.models.siglip import SiglipVisionConfig

GOLDEN = str(Path(__file__).parents[1] / "fixtures" / "llada-tiny")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("siglip")
    part = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    SiglipVisionModel(SiglipVisionConfig(**part, image_size=32, patch_size=16)).save_pretrained(folder)
    return str(folder)


def test_there_and_back(geodit, siglip, tmp_path):
    there = geodit("assemble", "--text", GOLDEN, "--vision", siglip, "--no-tokenizer", "-o", tmp_path / "geodit")
    assert there.exit_code == 0, there.output
    assert "new: model.multi_modal_projector.linear_1.weight" in there.stdout
    back = geodit("assemble", "--to-llada", tmp_path / "geodit", "-o", tmp_path / "llada", "--json")
    assert back.exit_code == 0, back.output
    assert json.loads(back.stdout) == {"output": str(tmp_path / "llada"), "num_parameters": 207296}


def test_json_is_the_report(geodit, siglip, tmp_path):
    out = tmp_path / "out"
    result = geodit("assemble", "--text", GOLDEN, "--vision", siglip, "--no-tokenizer", "-o", out, "--json")
    document = json.loads(result.stdout)
    assert document.pop("output") == str(out)
    assert document == json.loads((out / "assembly.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of --text, --from-llada-v, --to-llada"),
        (("--text", "a", "--from-llada-v", "b"), "and not --text and --from-llada-v"),
        (("--text", GOLDEN), "--text also needs --vision"),
        (("--to-llada", "a", "--dtype", "float16"), "takes no --dtype"),
        (("--text", GOLDEN, "--vision", "b", "--tokenizer", "c", "--no-tokenizer"), "exclude each other"),
        (("--text", GOLDEN, "--vision", "nowhere"), "There is no folder nowhere"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(geodit, tmp_path, arguments, message):
    assert message in geodit.fails("assemble", *arguments, "-o", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_without_a_tokenizer_it_says_what_to_do(geodit, siglip, tmp_path):
    line = geodit.fails("assemble", "--text", GOLDEN, "--vision", siglip, "-o", tmp_path / "out")
    assert "--no-tokenizer" in line
    assert not list(tmp_path.iterdir())


def test_a_type_that_does_not_exist_is_refused(geodit, siglip, tmp_path):
    arguments = ("--text", GOLDEN, "--vision", siglip, "--no-tokenizer", "--dtype", "int4", "-o", tmp_path / "out")
    assert "dtype must be one of float32, bfloat16, float16" in geodit.fails("assemble", *arguments)
    assert not list(tmp_path.iterdir())
