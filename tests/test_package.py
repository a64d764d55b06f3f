# SPDX-License-Identifier: Apache-2.0
"""What is built from the checkout, and what `import geodit` does."""

import configparser
import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import geodit

CHECKOUT = Path(__file__).parents[1]
# Folders that are no part of the package, whether or not they hold Python files.
NOT_PACKAGED = {"tests", "benchmarks", "docs", "vllm_plugin", "build", "dist", "venv", "geodit.egg-info"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in, without what earlier builds and tools may have left."""
    copy = tmp_path_factory.mktemp("checkout") / "any-name"
    everywhere = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__")
    at_the_top = {"build", "dist", "geodit-data", "geodit-demo", "runs", "venv"}

    def ignored(folder: str, names: list[str]) -> set[str]:
        return everywhere(folder, names) | (at_the_top & set(names) if Path(folder) == CHECKOUT else set())

    shutil.copytree(CHECKOUT, copy, ignore=ignored)
    # What a checkout always has; without it a build would be of something else.
    (copy / "README.md").touch()
    return copy


def build(kind: str, source: Path, destination: Path) -> Path:
    """Builds with the backend that is installed; `python -m build` alone would download one."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", destination, source]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (built,) = destination.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", checkout, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from the unpacked sdist, as a packager would."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return zipfile.ZipFile(build("wheel", source, tmp_path_factory.mktemp("wheel")))


def packages_in(folder: Path) -> set[str]:
    """Import names of the folders that hold Python files."""
    found = {"geodit"}
    for file in folder.rglob("*.py"):
        parts = file.relative_to(folder).parts[:-1]
        if parts and parts[0] not in NOT_PACKAGED and not parts[0].startswith("."):
            found.add(".".join(("geodit", *parts)))
    return found


class TestWheel:
    def test_only_geodit_is_put_on_the_import_path(self, wheel):
        assert {name.partition("/")[0] for name in wheel.namelist()} == {
            "geodit",
            f"geodit-{geodit.__version__}.dist-info",
        }

    def test_every_module_of_the_checkout_is_in_it(self, wheel, checkout):
        modules = {
            f"geodit/{file.relative_to(checkout)}"
            for package in packages_in(checkout)
            for file in checkout.joinpath(*package.split(".")[1:]).glob("*.py")
        }
        assert modules == {name for name in wheel.namelist() if name.endswith(".py")}

    @pytest.mark.parametrize(
        "folder", ["recipes", "tiny", "evaluation/lmms/tasks", "hub_cards/templates", "app/assets"]
    )
    def test_data_files_are_in_it(self, wheel, checkout, folder):
        wanted = {f"geodit/{file.relative_to(checkout)}" for file in (checkout / folder).rglob("*") if file.is_file()}
        assert wanted
        assert wanted <= set(wheel.namelist())

    def test_it_is_typed(self, wheel):
        assert "geodit/py.typed" in wheel.namelist()

    def test_it_has_no_tests(self, wheel):
        assert not [name for name in wheel.namelist() if "/tests/" in name or "conftest" in name]

    def test_its_metadata(self, wheel):
        name = f"geodit-{geodit.__version__}.dist-info"
        metadata = email.message_from_bytes(wheel.read(f"{name}/METADATA"))
        assert metadata["License-Expression"] == "Apache-2.0"
        extras = {
            "app",
            "docs",
            "eval",
            "finetune",
            "geo",
            "hub",
            "labels",
            "lmms",
            "quant",
            "ray",
            "rouge",
            "stac",
            "structured",
            "test",
            "train",
        }
        assert set(metadata.get_all("Provides-Extra", [])) == extras
        assert f"{name}/licenses/LICENSE" in wheel.namelist()
        entry_points = wheel.read(f"{name}/entry_points.txt")
        assert b"geodit = geodit.cli.main:app" in entry_points
        assert b"[lmms_eval.models]\ngeodit = geodit.evaluation.lmms.manifest:manifest" in entry_points


class TestSdist:
    def test_it_has_the_tests_and_what_they_need(self, sdist, checkout):
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        tests = {str(file.relative_to(checkout)) for file in (checkout / "tests").rglob("*") if file.is_file()}
        assert tests <= names
        assert {"constraints.txt", "CONTRIBUTING.md", "LICENSE", "README.md", "setup.cfg"} <= names


class TestSetupCfg:
    @pytest.fixture
    def setup_cfg(self) -> configparser.ConfigParser:
        parser = configparser.ConfigParser(comment_prefixes="#")
        parser.read(CHECKOUT / "setup.cfg")
        return parser

    def test_every_package_is_listed(self, setup_cfg, checkout):
        assert set(setup_cfg["options"]["packages"].split()) == packages_in(checkout)

    def test_every_lower_bound_has_a_reason(self):
        lines = (CHECKOUT / "setup.cfg").read_text().splitlines()
        bounded = [number for number, line in enumerate(lines) if line.startswith("    ") and ">=" in line]
        assert bounded
        explained = set()
        for number in bounded:
            requirement = lines[number].strip()
            if lines[number - 1].lstrip().startswith("#"):
                explained.add(requirement)
            assert requirement in explained, f"{requirement} needs a comment above it"

    def test_whoever_evaluates_gets_what_evaluation_imports(self, setup_cfg):
        sources = "".join(path.read_text() for path in (CHECKOUT / "evaluation").rglob("*.py"))
        imported = set(re.findall(r'(?:import_optional\("|from |import )(\w+)', sources))
        known = {"evaluate", "faster_coco_eval", "pycocoevalcap", "scipy", "accelerate", "datasets"}
        assert imported >= known - {"accelerate"}  # which only the command line imports, for several processes
        for extra in ("eval", "lmms", "finetune"):
            names = {re.split(r"\[|>=", line)[0] for line in setup_cfg["options.extras_require"][extra].split()}
            assert {name.replace("_", "-") for name in known} <= names, extra

    def test_everything_required_is_pinned(self, setup_cfg):
        pinned = {
            line.partition("==")[0].lower().replace("_", "-")
            for line in (CHECKOUT / "constraints.txt").read_text().splitlines()
            if "==" in line and not line.startswith("#")
        }
        requirements = [
            setup_cfg["options"]["install_requires"],
            *setup_cfg["options.extras_require"].values(),
        ]
        names = {re.split(r"\[|>=", line)[0].lower() for text in requirements for line in text.split()}
        # setuptools builds the package and comes with the environment.
        assert names - {"setuptools"} <= pinned


def run_python(code: str, folder: Path | None = None) -> str:
    """Runs code in a new interpreter, and gives the last line of its stderr: empty if all went well."""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder)
    lines = finished.stderr.strip().splitlines() if finished.returncode else []
    return lines[-1][:300] if lines else ""


class TestImport:
    @pytest.mark.parametrize("name", geodit.__all__)
    def test_every_public_name_can_be_loaded(self, name):
        assert getattr(geodit, name) is not None
        assert name in dir(geodit)

    def test_an_unknown_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="has no attribute 'GeoDit'"):
            geodit.GeoDit  # noqa: B018

    @pytest.mark.parametrize("name", ["configuration", "processing", "trainers", "data", "cli", "recipes"])
    def test_generic_names_stay_free(self, name, tmp_path):
        assert run_python(f"import {name}", tmp_path) == f"ModuleNotFoundError: No module named {name!r}"
