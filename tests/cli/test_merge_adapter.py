# SPDX-License-Identifier: Apache-2.0
import json

import pytest


def answer(geodit, image, *arguments):
    result = geodit("predict", image, "--task", "caption", "--max-denoising-steps", 2, "--json", *arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    return document["model"], document["predictions"][0]["text"]


@pytest.fixture
def merged(geodit, adapter, tmp_path):
    result = geodit("merge-adapter", adapter, "-o", tmp_path / "merged", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["output"] == str(tmp_path / "merged")
    assert document["num_parameters"] > 0
    return tmp_path / "merged"


def test_an_adapter_answers_as_its_merged_checkpoint_does(geodit, checkpoint, adapter, merged, image):
    _, without = answer(geodit, image, "--model", checkpoint)
    model, on_its_base = answer(geodit, image, "--adapter", adapter)
    named, on_a_model = answer(geodit, image, "--adapter", adapter, "--model", checkpoint)
    _, whole = answer(geodit, image, "--model", merged)
    assert on_its_base == on_a_model == whole != without
    assert (model, named) == (str(adapter), f"{adapter} on {checkpoint}")
    assert not list(merged.glob("adapter_*"))


def test_an_adapter_is_evaluated(geodit, adapter):
    result = geodit(
        "evaluate", "--dataset", "synthetic", "--limit", 1, "--tasks", "classify", "--max-denoising-steps", 1,
        "--adapter", adapter, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert str(adapter) in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adapter", "{checkpoint}"], "no adapter_config.json. It is a whole checkpoint: load it as the model"),
        (["--model", "{adapter}"], "no config.json. It is an adapter: give it with --adapter"),
        (["--adapter", "nowhere/at/all"], "There is no folder nowhere/at/all"),
    ],
)
def test_adapters_and_checkpoints_are_told_apart(geodit, checkpoint, adapter, image, arguments, message):
    given = [argument.format(checkpoint=checkpoint, adapter=adapter) for argument in arguments]
    assert message in geodit.fails("predict", image, "--task", "caption", *given)


def test_a_base_that_is_gone_is_asked_for(geodit, adapter, image, tmp_path):
    config = json.loads((adapter / "adapter_config.json").read_text())
    moved = tmp_path / "adapter"
    moved.mkdir()
    (moved / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    config["base_model_name_or_path"] = "/runs/that/is/gone"
    (moved / "adapter_config.json").write_text(json.dumps(config))
    line = geodit.fails("predict", image, "--task", "caption", "--adapter", moved)
    assert "was trained on /runs/that/is/gone, but there is no directory" in line
    assert "name it with --model" in line


def test_an_existing_folder_is_not_overwritten(geodit, adapter, checkpoint):
    assert "exists; name a new folder" in geodit.fails("merge-adapter", adapter, "-o", checkpoint)


def test_an_unknown_type_is_refused(geodit, adapter, tmp_path):
    line = geodit.fails("merge-adapter", adapter, "-o", tmp_path / "new", "--dtype", "int8")
    assert "dtype must be one of auto, bfloat16" in line
    assert not (tmp_path / "new").exists()
