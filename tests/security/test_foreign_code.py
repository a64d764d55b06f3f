# SPDX-License-Identifier: Apache-2.0
"""No code of a checkpoint runs unless it was asked for, whichever of its files names some, and whatever is typed."""

import json
import os
import pty
import shutil
from pathlib import Path

import pytest
from PIL import Image

from hub_server.repository import File

CODE = """
from pathlib import Path

Path(__file__).with_name("ran").touch()
Path({canary!r}).touch()


class Foreign:
    def __init__(self, *args, **kwargs):
        pass
"""
# The files that may name code, with what has Transformers look for it.
FILES = {
    "tokenizer": (
        "tokenizer_config.json",
        {"tokenizer_class": "ForeignTokenizer", "auto_map": {"AutoTokenizer": ["foreign.Foreign", "foreign.Foreign"]}},
    ),
    "image_processor": (
        "preprocessor_config.json",
        {
            "image_processor_type": "ForeignImageProcessor",
            "auto_map": {"AutoImageProcessor": "foreign.Foreign"},
        },
    ),
    "processor": (
        "processor_config.json",
        {"processor_class": "ForeignProcessor", "auto_map": {"AutoProcessor": "foreign.Foreign"}},
    ),
    "config": (
        "config.json",
        {"auto_map": {"AutoConfig": "foreign.Foreign", "AutoModel": "foreign.Foreign"}},
    ),
    "generation": ("generation_config.json", {}),
}
WAYS = {
    "processor": "geodit.GeoDiTProcessor.from_pretrained({folder!r})",
    "pipeline": "geodit.GeoDiTPipeline.from_pretrained({folder!r})",
    "model": "geodit.GeoDiTForMaskedDiffusion.from_pretrained({folder!r})",
    "AutoProcessor": "transformers.AutoProcessor.from_pretrained({folder!r})",
    "AutoModel": "transformers.AutoModel.from_pretrained({folder!r})",
    "AutoConfig": "transformers.AutoConfig.from_pretrained({folder!r})",
}
COMMANDS = {
    "predict": "predict {image} --task caption --model {folder}",
    "predict --adapter": "predict {image} --task caption --adapter {adapter} --model {folder}",
    "evaluate": "evaluate --limit 1 --steps 1 --tasks caption --model {folder}",
    "card": "card {folder}",
    "merge-adapter": "merge-adapter {adapter} --model {folder} --output {merged}",
    "train": "train {recipe} model_name_or_path={folder} output_dir={run}",
    "train --dry-run": "train {recipe} --dry-run model_name_or_path={folder} output_dir={run}",
}
REFUSAL = "contains custom code which must be executed to correctly load the model"
RECIPE = "num_scenes: 1\nmax_steps: 1\nsave_strategy: 'no'\nreport_to: none\nuse_cpu: true\ndisable_tqdm: true\n"
PROGRAM = """
import json, sys
import geodit, transformers
def command(line):
    from geodit.cli.main import app
    try:
        app(line.split())
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"exit code {end.code}")
for name, way in json.loads(sys.argv[1]).items():
    try:
        eval(way)
        print(name, "loaded")
    except Exception as error:
        print(name, type(error).__name__, str(error).replace(chr(10), " "))
"""


@pytest.fixture
def answers_of(training_programs, home_of_programs, tmp_path):
    """Tries each way in one process with `y` typed at its standard input; what it printed, when nothing ran."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def answers(tried: dict[str, str], stdin: str) -> str:
        ours, theirs = pty.openpty() if stdin == "terminal" else reversed(os.pipe())
        os.write(ours, b"y\n" * 20)
        try:
            standard_input = {"stdin_closed": True} if stdin == "closed" else {"stdin": theirs}
            finished = training_programs.run([program, json.dumps(tried)], folder=tmp_path, **standard_input)
        finally:
            os.close(ours)
            os.close(theirs)
        assert finished.returncode == 0, finished.stderr
        assert not (tmp_path / "ran").exists()
        assert not list(home_of_programs.rglob("ran"))
        printed = finished.stdout + finished.stderr
        assert "[y/N]" not in printed
        assert all(f"{name} " in finished.stdout for name in tried), printed
        return printed

    return answers


@pytest.fixture
def make_hostile(checkpoint, tmp_path):
    """Makes a checkpoint of which one file names code that leaves a trace."""

    def make(kind: str) -> Path:
        folder = tmp_path / kind
        shutil.copytree(checkpoint, folder)
        (folder / "foreign.py").write_text(CODE.format(canary=str(tmp_path / "ran")))
        name, fields = FILES[kind]
        file = folder / name
        content = json.loads(file.read_text()) if file.is_file() else {}
        file.write_text(json.dumps({**content, **fields}))
        if kind == "image_processor":
            processor = folder / "processor_config.json"
            content = json.loads(processor.read_text())
            content["image_processor"] = {**content.get("image_processor", {}), **fields}
            processor.write_text(json.dumps(content))
        if kind == "generation":
            (folder / "custom_generate").mkdir()
            shutil.copy(folder / "foreign.py", folder / "custom_generate" / "generate.py")
        return folder

    return make


def ways(folder: Path | str, kind: str) -> dict[str, str]:
    """The ways to load that are ours. A processor of another class is no longer one that AutoProcessor loads by us."""
    return {
        f"{kind}, {name}": way.format(folder=str(folder))
        for name, way in WAYS.items()
        if (kind, name) != ("processor", "AutoProcessor")
    }


def commands(folder: Path | str, adapter: Path, tmp_path: Path) -> dict[str, str]:
    """The commands that load a model, in the form of the ways above."""
    image, recipe = tmp_path / "image.png", tmp_path / "recipe.yaml"
    Image.new("RGB", (40, 40)).save(image)
    recipe.write_text(RECIPE)
    places = {"folder": folder, "adapter": adapter, "image": image, "recipe": recipe}
    places |= {"merged": tmp_path / "merged", "run": tmp_path / "run"}
    return {
        name: f"command({line.format(**places)!r})"
        for name, line in COMMANDS.items()
        if name != "card" or isinstance(folder, Path)
    }


def test_it_does_not_run_and_nobody_is_asked(make_hostile, answers_of):
    tried = {name: way for kind in FILES for name, way in ways(make_hostile(kind), kind).items()}
    answers_of(tried, "terminal")


def test_nor_where_standard_input_is_closed(make_hostile, answers_of):
    answers_of(ways(make_hostile("tokenizer"), "tokenizer"), "closed")


def test_nor_does_it_in_a_command(make_hostile, answers_of, adapter, tmp_path):
    hostile, stranger = make_hostile("tokenizer"), tmp_path / "adapter"
    shutil.copytree(adapter, stranger)
    for file in hostile.iterdir():  # the processor that is saved beside an adapter
        if file.is_file() and file.name not in ("model.safetensors", "config.json"):
            shutil.copy(file, stranger)
    config = json.loads((stranger / "adapter_config.json").read_text())
    config |= {
        "base_model_name_or_path": str(hostile),
        "auto_mapping": {"base_model_class": "Foreign", "parent_library": "foreign"},
    }
    (stranger / "adapter_config.json").write_text(json.dumps(config))
    tried = commands(hostile, stranger, tmp_path)
    printed = answers_of(tried, "pipe")
    assert printed.count(REFUSAL) == printed.count("exit code 2") == len(tried)


def test_nor_is_it_downloaded_from_the_hub(make_hostile, answers_of, hub_of_programs, adapter, tmp_path):
    hostile = make_hostile("tokenizer")
    files = {path.relative_to(hostile).as_posix(): File(path.read_bytes()) for path in hostile.rglob("*.*")}
    hub_of_programs.add("stranger/model").commit("main", files, "all")
    tried = ways("stranger/model", "tokenizer") | commands("stranger/model", adapter, tmp_path)
    printed = answers_of(tried, "terminal")
    assert printed.count("geodit: error: ") == printed.count("exit code 2") == len(tried) - len(WAYS)
    asked = [request.path for request in hub_of_programs.requests]
    assert any(path.endswith("tokenizer_config.json") for path in asked)
    assert not any(path.endswith(".py") for path in asked)
