# SPDX-License-Identifier: Apache-2.0
"""Loads the tests of Transformers from the source distribution of the version that is installed.

A wheel holds no tests, and none of these files is committed here. The source distribution is downloaded once per
version into the cache of pytest, and its `tests/` become a package of a private name. It holds the files at the top of
`tests/` only; see `stand_ins.py` for the few things from below that those import.
"""

import importlib
import importlib.util
import subprocess
import sys
import tarfile
import tempfile
import types
from functools import cache
from pathlib import Path

import transformers

from defined_environment import SHELL_ENVIRONMENT
from transformers_suite.stand_ins import FILES, stand_ins

PACKAGE = "transformers_own_tests"
CACHE = Path(__file__).parents[3] / ".pytest_cache" / "d" / "transformers"


def load_suite_module(name: str) -> types.ModuleType:
    """Import a module of Transformers' tests, such as `test_modeling_common`."""
    _register_package()
    path = list(sys.path)
    try:
        return importlib.import_module(f"{PACKAGE}.{name}")
    finally:
        sys.path[:] = path  # the modules append to it


@cache
def _register_package() -> None:
    specification = importlib.util.spec_from_loader(PACKAGE, loader=None, is_package=True)
    assert specification is not None
    package = importlib.util.module_from_spec(specification)
    tests = _source_folder(transformers.__version__) / "tests"
    package.__path__ = [str(tests)]
    sys.modules[PACKAGE] = package
    sys.modules.update(stand_ins(PACKAGE, tests, CACHE / "pictures"))


def _source_folder(version: str) -> Path:
    """The folder with the `tests/` of a version of Transformers, downloaded when first asked for.

    Raises:
        RuntimeError: If it cannot be downloaded.
    """
    folder = CACHE / version
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            unpacked = Path(work) / "unpacked"
            _unpack_tests(_download(version, Path(work)), unpacked)
            try:
                unpacked.rename(folder)
            except OSError:
                if not folder.is_dir():  # or else another process was faster
                    raise
    return folder


def _download(version: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
    command += ["--dest", str(folder), f"transformers=={version}"]
    finished = subprocess.run(command, env=SHELL_ENVIRONMENT, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(
            f"The source distribution of Transformers {version} could not be downloaded, for which these tests need "
            f"the network once.\n{finished.stderr}"
        )
    (archive,) = folder.glob("transformers-*.tar.gz")
    return archive


def _unpack_tests(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as source:
        for member in source.getmembers():
            parts = Path(member.name).parts
            if parts[1:2] == ("tests",) and member.name.endswith(".py"):
                member.name = str(Path(*parts[1:]))
                source.extract(member, folder, filter="data")
    for name, content in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
