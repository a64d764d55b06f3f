# SPDX-License-Identifier: Apache-2.0
"""Which versions of Transformers the code runs on, and what it says about others."""

import configparser
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from geodit.configuration.remote_code_geodit import CONFIG_AUTO_MAP, PROCESSOR_AUTO_MAP, write_remote_code
from geodit.configuration.requirements_geodit import TRANSFORMERS, check_transformers

CHECKOUT = Path(__file__).parents[2]
# What Transformers loads by name from a checkpoint.
ENTRIES = sorted({name.partition(".")[0] for name in (*CONFIG_AUTO_MAP.values(), *PROCESSOR_AUTO_MAP.values())})


@pytest.fixture
def warnings_of(monkeypatch, caplog):
    """The warnings that checking a version logs."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("geodit"), "propagate", True)

    def check(version):
        caplog.clear()
        check_transformers(version)
        return [record.getMessage() for record in caplog.records]

    return check


def test_the_package_requires_what_its_published_code_asks_for():
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    assert f"transformers{TRANSFORMERS}" in setup["options"]["install_requires"].split("\n")


@pytest.mark.parametrize("version", ["4.57.6", "5.0.0", "5.18.1"])
def test_an_older_transformers_is_refused_with_the_command_that_helps(version):
    with pytest.raises(ImportError, match=f"needs Transformers >=5.19,<5.25, but {version} is .*`pip install 'transf"):
        check_transformers(version)


@pytest.mark.parametrize("version", ["5.25.0", "5.40.1", "6.0.0.dev0"])
def test_a_newer_one_is_warned_of(warnings_of, version):
    (warning,) = warnings_of(version)
    assert f"tested with Transformers >=5.19,<5.25, but {version} is installed" in warning


@pytest.mark.parametrize("version", ["5.19.0", "5.23.0", "5.24.0", "5.24.3.dev0"])
def test_a_tested_one_is_not(warnings_of, version):
    assert warnings_of(version) == []


@pytest.mark.parametrize("entry", ENTRIES)
def test_published_code_says_so_before_it_imports_what_an_old_one_lacks(entry, tmp_path):
    write_remote_code(tmp_path / "published")
    old = tmp_path / "transformers"
    (old / "utils").mkdir(parents=True)
    (old / "__init__.py").write_text("__version__ = '4.57.6'")
    (old / "utils" / "__init__.py").write_text("from . import logging")
    (old / "utils" / "logging.py").write_text("from logging import getLogger as get_logger")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import published.{entry}"
    finished = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    last_line = finished.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: GeoDiT needs Transformers >=5.19,<5.25, but 4.57.6 is installed")


def test_the_newest_version_that_is_allowed_is_the_one_that_is_pinned():
    (pinned,) = re.findall(r"^transformers==(\d+)\.(\d+)\.", (CHECKOUT / "constraints.txt").read_text(), re.MULTILINE)
    limit = re.search(r"<(\d+)\.(\d+)", TRANSFORMERS).groups()
    assert (pinned[0], int(pinned[1]) + 1) == (limit[0], int(limit[1]))
