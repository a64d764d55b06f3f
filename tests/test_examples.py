# SPDX-License-Identifier: Apache-2.0
"""The scripts of docs/examples run in an empty folder, as a newcomer starts them."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

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


def test_the_notebook_ends_with_boxes_on_the_raster(monkeypatch, tmp_path):
    pytest.importorskip("rasterio")
    pyogrio = pytest.importorskip("pyogrio")
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / "scenes.ipynb").read_text(encoding="utf-8"))
    assert all(cell.get("outputs", []) == [] for cell in notebook["cells"])
    names = {}
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    try:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)  # what its kernel does
    finally:
        matplotlib.pyplot.close("all")
        matplotlib.use(backend)
    # Two ships and a building in each of nine harbors.
    labels = list(pyogrio.read_dataframe("harbors.gpkg", layer="objects")["label"])
    assert labels.count("ship") == 18
    assert len(json.loads(Path("harbors.geojson").read_text())["features"]) == len(labels)
    assert len(names["ax"].patches) == len(labels)
    assert Image.open("harbors.png").size == (800, 800)


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
