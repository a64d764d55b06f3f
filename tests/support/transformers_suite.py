# SPDX-License-Identifier: Apache-2.0
"""The test suite of the installed Transformers, from its source distribution: none of its files is kept here.

A source distribution holds `tests/test_*.py` alone. What those import beside one another is stood in for here.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tarfile
import tempfile
import types
from pathlib import Path

import numpy as np
import transformers
from PIL import Image

_PACKAGE = "_transformers_suite"
_CACHE = Path(__file__).resolve().parents[2] / ".pytest_cache" / "transformers_suite"


def load_suite_module(name: str) -> types.ModuleType:
    """Import one module of the suite, which is downloaded the first time.

    Args:
        name: Such as `"test_processing_common"`.

    Raises:
        RuntimeError: If the source distribution of the installed version cannot be downloaded.
    """
    if _PACKAGE not in sys.modules:
        package = types.ModuleType(_PACKAGE)
        package.__path__ = [str(_fetch_suite(transformers.__version__))]
        sys.modules[_PACKAGE] = package
    sys.modules.setdefault("fetch_hub_objects_for_ci", _fetch_hub_objects())
    path = list(sys.path)
    try:
        return importlib.import_module(f"{_PACKAGE}.{name}")
    finally:
        sys.path[:] = path  # the modules append to it


def _fetch_suite(version: str) -> Path:
    """Return the folder `tests` of a version's source distribution."""
    folder = _CACHE / version
    if not (folder / "tests").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as download:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
            done = subprocess.run(
                [*command, "--dest", download, f"transformers=={version}"], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"pip cannot download the sources of Transformers {version}: {done.stderr.strip()}")
            (archive,) = Path(download).glob("*.tar.gz")
            with tarfile.open(archive) as source:
                root = f"transformers-{version}/"
                members = [
                    member
                    for member in source.getmembers()
                    if member.isfile() and member.name.startswith(f"{root}tests/")
                ]
                source.extractall(download, members=members, filter="data")
            (Path(download) / root / "tests").rename(folder / "tests")
    return folder / "tests"


def _fetch_hub_objects() -> types.ModuleType:
    """Stand in for what maps addresses of test data to files: pictures are drawn, the rest does not exist."""
    module = types.ModuleType("fetch_hub_objects_for_ci")

    def url_to_local_path(url: str, return_url_if_not_found: bool = True) -> str:
        name = url.rpartition("/")[2]
        if not name.endswith((".png", ".jpg")):
            return url
        path = _CACHE / "pictures" / name
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        return str(path)

    module.url_to_local_path = url_to_local_path  # type: ignore[attr-defined]
    return module
