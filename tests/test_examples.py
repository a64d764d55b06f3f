# SPDX-License-Identifier: Apache-2.0
"""The scripts of docs/examples run in an empty folder, as a newcomer starts them."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from PIL import Image

from geodit.data.neon import fetch_neon
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from guide_reader import CHECKOUT

EXAMPLES = CHECKOUT / "docs" / "examples"


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """`run(name, *arguments)` runs a script in an empty folder and gives what it prints."""
    monkeypatch.chdir(tmp_path)

    def run_script(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_script


def test_asking_an_image(run):
    printed = run("ask_an_image.py")
    assert "caption:  a harbor with two ships" in printed
    assert "classify: harbor" in printed
    assert "vqa:      2\n" in printed
    assert printed.count("detect:   ship [") == 2
    assert Image.open("boxes.png").size == (480, 480)


def test_fine_tuning_on_boxes(run):
    pytest.importorskip("peft")
    printed = run("fine_tune_on_boxes.py", "2")
    assert Path("pools-lora/adapter_model.safetensors").is_file()
    assert "true:  [(" in printed
    assert "found: [" in printed


def test_from_a_geotiff_to_geojson(run):
    pytest.importorskip("rasterio")
    printed = run("geotiff_to_geojson.py")
    features = json.loads(Path("harbors.geojson").read_text())["features"]
    # Two ships in each of four harbors.
    assert [feature["properties"]["label"] for feature in features] == ["ship"] * 8
    assert "8 x ship in 9 tiles" in printed


@pytest.fixture
def run_notebook(monkeypatch, tmp_path, geodit):
    """`run_notebook(name, **parameters)` runs a notebook in an empty folder and gives the names that it has defined.

    Parameters replace those of its first cell with code.
    """
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)

    def run_command(line):
        result = geodit(*shlex.split(line))
        assert result.exit_code == 0, f"{line}\n{result.output}"

    def run(name, **parameters):
        cells = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))["cells"]
        assert all(cell.get("outputs", []) == [] for cell in cells)
        names = {"run_command": run_command}
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        for number, source in enumerate(sources):
            exec(_as_python(source), names)  # what its kernel does
            if number == 0:
                assert parameters.keys() <= names.keys()
                names.update(parameters)
        return names

    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield run
    matplotlib.pyplot.close("all")
    matplotlib.use(backend)


def _as_python(source):
    """Return a cell with its commands, `!geodit ...`, as calls; names in braces are filled in, as by its kernel."""
    whole = source.replace("\\\n", " ")
    return re.sub(r"^( *)!geodit (.*)$", r"\1run_command(f'''\2''')", whole, flags=re.MULTILINE)


def test_the_notebook_ends_with_boxes_on_the_raster(run_notebook):
    pytest.importorskip("rasterio")
    pyogrio = pytest.importorskip("pyogrio")
    names = run_notebook("scenes.ipynb")
    # Two ships and a building in each of nine harbors.
    labels = list(pyogrio.read_dataframe("harbors.gpkg", layer="objects")["label"])
    assert labels.count("ship") == 18
    assert len(json.loads(Path("harbors.geojson").read_text())["features"]) == len(labels)
    assert len(names["ax"].patches) == len(labels)
    assert Image.open("harbors.png").size == (800, 800)


def test_the_notebook_goes_from_polygons_to_a_published_adapter(run_notebook, default_hub, monkeypatch, tmp_path):
    for library in ("geopandas", "rasterio", "inflect", "peft"):
        pytest.importorskip(library)
    monkeypatch.setenv("HF_TOKEN", default_hub.tokens.write)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    try:
        fetch_neon("neon")
    except RuntimeError as error:
        pytest.skip(str(error))
    settings = {"max_steps": 2, "evaluations": 1, "eval_questions": 2, "test_questions": 4, "use_cpu": True}
    names = run_notebook(
        "finetune.ipynb", RASTERS="crowns-map/[OS]*.tif", SETTINGS=settings, REPO="ada/geodit-crowns", PUSH=True
    )
    # The layer is that of the raster which it is drawn on.
    assert len(names["drawn"]) > 50
    assert names["plan"].updates == names["report"].steps == 2
    assert (names["report"].split, len(names["report"].after.answers)) == ("test", 4)
    assert Image.open("sheet.png").width > 500
    features = json.loads(Path("found.geojson").read_text())["features"]
    assert features
    assert Image.open("overlay.png").size == (800, 800)
    assert "adapter_model.safetensors" in default_hub.repos["ada/geodit-crowns"].head.files
    # What was pushed answers as what was trained, and otherwise than the base.
    question = {"task": "detect", "query": "tree"}
    trained = GeoDiTPipeline.from_pretrained(adapter="runs/crowns")(names["tile"], **question)
    assert [names["answer"]] == trained
    assert GeoDiTPipeline.from_pretrained("geodit-tiny")(names["tile"], **question) != trained


def test_publishing_shows_what_it_would_push(run, default_hub):
    printed = run("publish.py", "ada/geodit-harbors")
    for name in ("README.md", "model.safetensors", "modeling_geodit.py", "processor_config.json"):
        assert f"  {name}\n" in printed
    assert "Nothing was pushed" in printed
    assert default_hub.repos == {}


def test_publishing_pushes_when_told_to(run, default_hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", default_hub.tokens.write)
    printed = run("publish.py", "ada/geodit-harbors", "--push")
    assert "files pushed: " in printed
    repository = default_hub.repos["ada/geodit-harbors"]
    assert repository.private
    assert {"README.md", "model.safetensors", "modeling_geodit.py"} <= set(repository.head.files)


def test_every_example_is_tested_and_listed():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    notebooks = {path.name for path in EXAMPLES.glob("*.ipynb")}
    index = (CHECKOUT / "docs" / "index.md").read_text(encoding="utf-8")
    tests = Path(__file__).read_text(encoding="utf-8")
    assert names
    for name in names:
        assert f"(examples/{name})" in index
        assert f'run("{name}"' in tests
    for name in notebooks:
        assert f"(examples/{name})" in index
        assert f'"{name}"' in tests
