# SPDX-License-Identifier: Apache-2.0
"""The files of a Space, which run without this package."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from geodit.app.space_files import SpaceModel, space_files
from geodit.hub_cards.publish.file_selection import published_files

# What a Space does, but at a port of its own, and until a line comes in.
RUN = """
import sys
sys.path.insert(0, {folder!r})
import geodit
assert geodit.__file__.startswith({folder!r}), geodit.__file__
import geodit.app.space as space
def report(running):
    import httpx
    print(httpx.get(running.url).status_code, list(running.service.models), sorted(running.service.tasks)[0])
space.serve = report
from runpy import run_path
import socket
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
original = space.run
space.run = lambda *arguments, **options: original(*arguments, **options, port=port)
import os
os.chdir({folder!r})
run_path("app.py", run_name="__main__")
"""


def written(files, folder):
    for file in files:
        path = folder / file.path_in_repo
        path.parent.mkdir(parents=True, exist_ok=True)
        content = file.content
        path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return folder


@pytest.fixture(scope="module")
def files(checkpoint):
    model = SpaceModel(files=tuple(published_files(checkpoint, repo_id="org/try-trees")))
    return space_files(model, "org/try-trees", license="mit")


def test_the_readme_tells_the_hub_how_to_run_it(files, tmp_path):
    (readme,) = (file.content.decode() for file in files if file.path_in_repo == "README.md")
    front_matter = yaml.safe_load(readme.split("---\n")[1])
    assert front_matter["sdk"] == "gradio"
    assert front_matter["sdk_version"] == version("gradio")
    assert front_matter["python_version"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert front_matter["app_file"] == "app.py"
    assert front_matter["license"] == "mit"
    assert "models" not in front_matter


def test_requirements_have_exact_versions(files):
    (text,) = (file.content.decode() for file in files if file.path_in_repo == "requirements.txt")
    for line in text.splitlines():
        name, _, number = line.partition("==")
        assert number == version(name).partition("+")[0]
    assert {"gradio", "torch", "transformers", "rasterio"} <= {line.partition("==")[0] for line in text.splitlines()}


def test_a_model_of_the_hub_is_named_with_its_commit():
    files = {file.path_in_repo: file for file in space_files(SpaceModel("org/trees", "ab" * 20), "org/try-trees")}
    assert files["app.py"].content.decode().endswith(f"run('org/trees', name='org/trees', revision='{'ab' * 20}')\n")
    assert "models:\n- org/trees\n" in files["README.md"].content.decode()
    assert not [path for path in files if path.startswith("model/")]


def test_each_path_once_and_no_tests(files):
    paths = [file.path_in_repo for file in files]
    assert paths == sorted(set(paths))
    assert not [path for path in paths if "test" in path or "__pycache__" in path or "geodit-tiny" in path]
    assert {"geodit/app/assets/leaflet/LICENSE", "geodit/tiny/demo_scenes/harbor.tif"} <= set(paths)


def test_it_runs_from_its_own_files(files, tmp_path):
    folder = written(files, tmp_path / "space")
    code = RUN.format(folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "200 ['try-trees'] caption"


@pytest.mark.parametrize("arguments", [{}, {"repo_id": "org/trees", "files": ("a",)}])
def test_a_space_shows_one_model(arguments):
    with pytest.raises(ValueError, match="give a repo_id or files"):
        SpaceModel(**arguments)


def test_a_name_that_is_none():
    with pytest.raises(ValueError, match="is no Hub id"):
        space_files(SpaceModel("org/trees"), "org/try trees")


def test_what_the_page_imports_is_in_it(files):
    import geodit

    root = Path(geodit.__file__).parent
    packages = {file.path_in_repo.split("/")[1] for file in files if file.path_in_repo.startswith("geodit/")}
    for file in files:
        if file.path_in_repo.startswith("geodit/app/") and file.path_in_repo.endswith(".py"):
            text = (root / file.path_in_repo.removeprefix("geodit/")).read_text()
            for line in text.splitlines():
                if line.startswith("from geodit."):
                    assert line.split(".")[1].split()[0] in packages, line
