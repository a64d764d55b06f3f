# SPDX-License-Identifier: Apache-2.0
"""A recipe that is none, or says what no argument takes, is one line; and it is read in a moment whatever it holds."""

import os
from pathlib import Path

import pytest
import yaml

from geodit.tiny.new_model import read_geometry
from geodit.trainers.runs.recipes import parse_recipe, run_recipe

START = "model_name_or_path: a\nnum_scenes: 5\nuse_cpu: true\noutput_dir: x\n"
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + above] * 10)}]\n" for above, name in zip("abcdefg", "bcdefgh", strict=True)
)


def refused(recipe, *overrides):
    """The one line that refuses a recipe."""
    with pytest.raises((ValueError, OSError)) as caught:
        parse_recipe(str(recipe), overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\tlearning_rate: 1\n", "cannot start any token"),
        (START + "seed: !!python/object/apply:os.system [touch ran]\n", "could not determine a constructor"),
        (START + "seed: !!python/name:os.system\n", "could not determine a constructor"),
        (START + "---\n" + START, "expected a single document"),
        (START + "learning_rate: 0.1\nlearning_rate: 0.2\n", "learning_rate is given more than once"),
        (START + BOMB, "more than 100,000 values"),
        (START + "a: &a [*a]\n", "what it is a part of"),
        (START + "seed: " + "[" * 600, "nested too deeply"),
        (START + "1: 2\n", "mapping of argument names"),
        (START + "null: 2\n", "mapping of argument names"),
        ("", "mapping of argument names"),
        ("recipe", "mapping of argument names"),
        (START + "run_name: 2026-02-30\n", "is not YAML that can be read"),
    ],
)
def test_files_that_are_no_recipes(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(text)
    assert message in refused("r.yaml")
    assert not (tmp_path / "ran").exists()


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert refused(tmp_path / "pipe") == f"{tmp_path / 'pipe'} is a named pipe: give a regular file."
    assert "is a directory" in refused(tmp_path / "folder")
    assert "is a device" in refused("/dev/zero")
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8 text" in refused(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", [1, 2], "learning_rate must be a number, got [1, 2]"),
        ("learning_rate", {"a": 1}, "learning_rate must be a number, got {'a': 1}"),
        ("learning_rate", True, "learning_rate must be a number, got True"),
        ("learning_rate", "fast", "invalid float value: 'fast'"),
        ("learning_rate", None, "learning_rate must be a number, got None"),
        ("per_device_train_batch_size", 2.5, "must be a whole number, got 2.5"),
        ("max_steps", "1e3", "invalid int value: '1e3'"),
        ("use_peft", [True], "use_peft must be true or false, got [True]"),
        ("use_peft", 3, "use_peft must be true or false, got 3"),
        ("streaming", {"a": 1}, "streaming must be true or false"),
        ("output_dir", ["x"], "output_dir must be text, got ['x']"),
        ("output_dir", 5, "output_dir must be text, got 5"),
        ("objective", ["grpo"], "objective must be text"),
        ("save_strategy", False, "YAML reads yes, no, on and off as true or false: put them in quotes"),
        ("questions_per_task", {"detect": 4}, "questions_per_task must be a list of text, got {'detect': 4}"),
        ("trainable_parts", [1], "trainable_parts must be a list of text, got [1]"),
        ("datasets", 3, "datasets must be a list of text, got 3"),
        ("run_name", yaml.safe_load("2026-02-03"), "run_name must be text, got datetime.date(2026, 2, 3)"),
        ("num_scenes", "many", "invalid int value: 'many'"),
    ],
)
def test_values_of_another_kind(tmp_path, name, value, message):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump(yaml.safe_load(START) | {name: value}))
    assert message in refused(recipe)
    assert str(recipe) in refused(recipe)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0, 0.0])
@pytest.mark.parametrize("name", ["learning_rate", "num_train_epochs", "vision_learning_rate"])
def test_numbers_that_no_run_goes_by(tmp_path, name, number):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(yaml.safe_load(START) | {name: number}))
    assert refused(tmp_path / "r.yaml") == f"{name} must be a number above 0, got {number}."


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("max_steps=0", "a whole number from 1 on, or -1"),
        ("max_steps=-7", "a whole number from 1 on, or -1"),
        ("per_device_train_batch_size=0", "a whole number from 1 on"),
        ("per_device_eval_batch_size=-1", "a whole number from 1 on"),
        ("gradient_accumulation_steps=0", "a whole number from 1 on"),
        ("weight_decay=nan", "a number from 0 on"),
        ("max_grad_norm=-1", "a number from 0 on"),
        ("warmup_steps=inf", "a number from 0 on"),
        ("save_steps=nan", "a number from 0 on"),
        ("adam_beta2=1", "at least 0 and below 1"),
        ("seed=-1", "a number from 0 on"),
        ("seed=4294967296", "at most 4294967295"),
        ("num_scenes=-5", "a whole number from 0 on"),
        ("num_proc=0", "a whole number from 1 on"),
        ("location_bins=0", "a whole number from 1 on"),
    ],
)
def test_numbers_on_the_command_line(tmp_path, override, allowed):
    (tmp_path / "r.yaml").write_text(START)
    name, _, value = override.partition("=")
    message = refused(tmp_path / "r.yaml", f"--{override}")
    assert message.startswith(f"{name} must be {allowed}")
    assert value in message


@pytest.mark.parametrize("value", ["${HOME}/x", "$HOME/x", "runs/$USER"])
@pytest.mark.parametrize("name", ["output_dir", "model_name_or_path", "vision_tower", "cache_dir", "datasets"])
def test_variables_of_a_shell_are_refused(tmp_path, name, value):
    given = [f"rsicd={value}"] if name == "datasets" else value
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(yaml.safe_load(START) | {name: given}))
    assert refused(tmp_path / "r.yaml").startswith(f"{name} is '{value}', and variables such as $HOME are not put in")


def test_a_home_folder_is_written_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "r.yaml").write_text(START + "datasets: [rsicd=~/data]\ncache_dir: ~/cache\n")
    overrides = ["--model_name_or_path=~/base", "--output_dir=~/run", "--resume_from_checkpoint", "~/run/checkpoint-1"]
    model_args, data_args, args = parse_recipe(str(tmp_path / "r.yaml"), overrides)
    assert data_args.named_datasets() == [("rsicd", "train", str(tmp_path / "data"))]
    assert (data_args.cache_dir, model_args.model_name_or_path) == (str(tmp_path / "cache"), str(tmp_path / "base"))
    assert (args.output_dir, args.resume_from_checkpoint) == (
        str(tmp_path / "run"),
        str(tmp_path / "run/checkpoint-1"),
    )
    (tmp_path / "r.yaml").write_text("geometry: ~/geometry.json\nnum_text_scenes: 1\noutput_dir: x\nuse_cpu: true\n")
    assert parse_recipe(str(tmp_path / "r.yaml"))[0].geometry == str(tmp_path / "geometry.json")


def test_what_people_write_is_taken(tmp_path):
    (tmp_path / "r.yaml").write_text(
        START + "learning_rate: 1e-4\nweight_decay: 0\ntrainable_parts: projector\nresume_from_checkpoint: true\n"
        "save_strategy: 'no'\nlr_scheduler_kwargs: {num_cycles: 1}\nreport_to: none\nnum_train_epochs: 2\n"
    )
    _, _, args = parse_recipe(str(tmp_path / "r.yaml"))
    assert (args.learning_rate, args.weight_decay, args.trainable_parts) == (1e-4, 0, ["projector"])
    assert (args.resume_from_checkpoint, args.save_strategy, args.num_train_epochs) == ("true", "no", 2)
    assert args.lr_scheduler_kwargs == {"num_cycles": 1}


@pytest.mark.parametrize("word", ["a: b", "[1", "&a", "2026-02-30"])
def test_an_override_that_is_no_yaml_is_text(tmp_path, word):
    (tmp_path / "r.yaml").write_text(START)
    with pytest.raises((ValueError, OSError), match="nowhere"):
        run_recipe(
            str(tmp_path / "r.yaml"),
            [
                "--run_name",
                word,
                "--model_name_or_path",
                str(tmp_path / "nowhere"),
                "--output_dir",
                str(tmp_path / "x"),
            ],
        )


@pytest.mark.parametrize("text", ["[1]", "{", "", "NaN", "[" * 100_000])
def test_a_geometry_that_is_none(tmp_path, text):
    path = tmp_path / "geometry.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"geometry\.json"):
        read_geometry(path)


def test_a_geometry_that_is_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is a named pipe"):
        read_geometry(Path(tmp_path / "pipe"))
