# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

from geodit.cli.checkpoint import resolve_model


def test_without_a_model_the_bundled_one_answers(geodit, image):
    result = geodit("predict", image, "--task", "classify", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["model"] == "geodit-tiny"


def test_the_bundled_checkpoint_is_small():
    files = [file for file in Path(resolve_model(None)).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 16 * 2**20


def test_the_bundled_checkpoint_has_a_name():
    assert resolve_model("geodit-tiny") == resolve_model(None)


def test_what_is_no_path_is_a_name_on_the_hub():
    assert resolve_model("someone/geodit-8b") == "someone/geodit-8b"
