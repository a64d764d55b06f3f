# SPDX-License-Identifier: Apache-2.0
"""The files of a Space on the Hub that shows a checkpoint: the page, its requirements, and the code that it runs.

The Space holds the modules of this package that the page runs on, so that it shows what was tried here, whichever
release others install.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

import geodit
from geodit.configuration.hub_ids import hub_id_problem
from geodit.hub_cards.publish.file_selection import PublishedFile

__all__ = ["SpaceModel", "space_files"]

MODEL_FOLDER = "model"

_PACKAGES = (
    "app",
    "configuration",
    "data",
    "hub_cards",
    "modeling_geodit",
    "pipelines",
    "processing",
    "rasters",
    "tiny",
    "weights",
)
_DATA = ("app/assets", "tiny/demo_scenes")
# What these modules import. Where one is missing, the page does without it or says so.
_NEEDED = (
    "gradio",
    "huggingface-hub",
    "jinja2",
    "numpy",
    "pillow",
    "pyproj",
    "pyyaml",
    "rasterio",
    "regex",
    "safetensors",
    "shapely",
    "torch",
    "transformers",
)
_OPTIONAL = ("outlines-core", "peft")

_APP = """# Made by `geodit push --space`.
from geodit.app.space import run

run({arguments})
"""


class SpaceModel:
    """The checkpoint that a Space shows: one of the Hub, or one that the Space holds.

    Args:
        repo_id: The repository of the model; `None` if the Space holds it.
        revision: Its commit.
        files: The files of the checkpoint, if the Space holds it.
    """

    def __init__(
        self, repo_id: str | None = None, revision: str | None = None, files: tuple[PublishedFile, ...] = ()
    ) -> None:
        if (repo_id is None) == (not files):
            raise ValueError("a Space shows a model of the Hub, or one that it holds: give a repo_id or files")
        self.repo_id = repo_id
        self.revision = revision
        self.files = files


def space_files(model: SpaceModel, repo_id: str, *, license: str = "apache-2.0") -> list[PublishedFile]:
    """Make all files of a Space; write nothing.

    Args:
        model: What it shows.
        repo_id: Hub id of the Space.
        license: License, as the Hub names it.

    Returns:
        The files in the order of their paths.

    Raises:
        ValueError: If `repo_id` is no Hub id, or a library that the page needs is not installed.
    """
    if (problem := hub_id_problem(repo_id)) is not None:
        raise ValueError(f"repo_id {repo_id!r} is no Hub id: {problem}")
    name = repo_id.rpartition("/")[2]
    source = MODEL_FOLDER if model.repo_id is None else model.repo_id
    arguments = [repr(source), f"name={model.repo_id or name!r}"]
    if model.revision is not None:
        arguments.append(f"revision={model.revision!r}")
    contents: dict[str, Path | bytes] = {
        "README.md": _readme(model, name, license).encode(),
        "app.py": _APP.format(arguments=", ".join(arguments)).encode(),
        "requirements.txt": _requirements().encode(),
        **_code(),
    }
    contents |= {f"{MODEL_FOLDER}/{file.path_in_repo}": file.content for file in model.files}
    return [PublishedFile(path, contents[path]) for path in sorted(contents)]


def _readme(model: SpaceModel, name: str, license: str) -> str:
    front_matter: dict[str, object] = {
        "title": name,
        "emoji": "\N{EARTH GLOBE EUROPE-AFRICA}",
        "colorFrom": "blue",
        "colorTo": "green",
        "sdk": "gradio",
        "sdk_version": _installed("gradio"),
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "app_file": "app.py",
        "pinned": False,
        "license": license,
        "short_description": "Ask about satellite and aerial images",
    }
    if model.repo_id is not None:
        front_matter["models"] = [model.repo_id]
    shown = f"[{model.repo_id}](https://huggingface.co/{model.repo_id})" if model.repo_id else f"`{MODEL_FOLDER}/`"
    text = (
        f"A page to try {shown} on: ask about an image, watch the answer being denoised, detect in whole scenes, and "
        "compare settings.\n\n"
        f"Made by `geodit push --space` of geodit {geodit.__version__}, whose code is in `geodit/`.\n"
    )
    if model.repo_id is not None:
        text += (
            "\nIf the model is private, the Space needs the secret `HF_TOKEN`: a token that may read it "
            "(*Settings*, *Variables and secrets*).\n"
        )
    header = yaml.safe_dump(front_matter, sort_keys=False, allow_unicode=True)
    return f"---\n{header}---\n\n# {name}\n\n{text}"


def _requirements() -> str:
    """Return the exact versions that run here."""
    lines = [f"{name}=={_installed(name)}" for name in _NEEDED]
    for name in _OPTIONAL:
        try:
            lines.append(f"{name}=={_installed(name)}")
        except ValueError:
            continue
    return "\n".join(sorted(lines)) + "\n"


def _installed(name: str) -> str:
    """Return the version of a library, without what a build of it adds, such as `+cpu`.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        raise ValueError(
            f"a Space is made where its page runs, and {name} is not installed: pip install 'geodit[app]'"
        ) from None


def _code() -> dict[str, Path | bytes]:
    """Return the modules that the page runs on, and their data."""
    root = Path(geodit.__file__).parent
    paths = [root / "__init__.py", *(path for name in _PACKAGES for path in sorted((root / name).rglob("*.py")))]
    paths += [path for name in _DATA for path in sorted((root / name).rglob("*")) if path.is_file()]
    return {f"geodit/{path.relative_to(root).as_posix()}": path for path in paths if "__pycache__" not in path.parts}
