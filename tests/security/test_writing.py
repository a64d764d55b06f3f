# SPDX-License-Identifier: Apache-2.0
"""Results go to a file that is whole, or there is one line that names it, and nothing is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from odd_files import KINDS, ends, make_odd_file
from PIL import Image
from typer.testing import CliRunner

from full_disk import full_disk
from geodit.cli.errors import CommandError
from geodit.cli.main import app
from geodit.cli.output import check_can_write, make_directory, write_output
from geodit.tiny.demo import write_demo_scenes


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "harbor.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def identity(path: Path) -> tuple[int, ...]:
    """What of a directory entry changes when something is written to it, and not when it is looked at."""
    entry = path.lstat()
    return (
        entry.st_mode,
        entry.st_dev,
        entry.st_ino,
        entry.st_nlink,
        entry.st_size,
        entry.st_mtime_ns,
        entry.st_ctime_ns,
    )


def fails(*arguments: object) -> str:
    """The one line of a command that fails as bad input does."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


COMMANDS = (
    ("predict", "harbor.png", "--task", "caption", "--out"),
    ("evaluate", "--out"),
    ("benchmark", "--out"),
    ("predict", "harbor.png", "--task", "detect", "--query", "ship", "--overlay"),
)


@pytest.mark.parametrize(
    ("command", "kind"),
    # Pictures may go into a directory.
    [(command, kind) for command in COMMANDS for kind in KINDS if (command[-1], kind) != ("--overlay", "directory")],
)
def test_what_is_no_file_is_not_written_to(image, monkeypatch, command, kind):
    monkeypatch.chdir(image.parent)
    odd = make_odd_file(Path("out.png" if "--overlay" in command else "out.json"), kind)
    before = identity(odd)
    with ends():
        line = fails(*command, odd)
    assert f"cannot write {odd} is {KINDS[kind]}" in line or f"{odd} is {KINDS[kind]}" in line
    assert identity(odd) == before


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_the_demo_says_at_once_what_it_cannot_write(tmp_path, kind):
    make_odd_file(tmp_path / "denoising.png", kind)
    with ends():
        line = fails("demo", "--out", tmp_path)
    assert f"denoising.png is {KINDS[kind]}" in line
    assert [path.name for path in tmp_path.iterdir()] == ["denoising.png"]


@pytest.mark.parametrize("command", [("demo", "--out"), ("data", "demo-scenes")])
def test_a_file_in_the_place_of_a_directory_is_named(tmp_path, command):
    path = tmp_path / "file"
    path.write_text("mine")
    assert f"{path} is a file: give a directory" in fails(*command, path)
    assert "Not a directory" in fails(*command, path / "inside")
    assert path.read_text() == "mine"


def test_names_that_no_file_can_have_are_one_line(tmp_path):
    with pytest.raises(CommandError, match=r"cannot write .*: File name too long"):
        check_can_write(tmp_path / ("x" * 300))
    with pytest.raises(CommandError, match=r"cannot make the directory .*: File name too long"):
        make_directory(tmp_path / ("x" * 300))


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = tmp_path / "answers.json"
    path.write_text("before")
    with full_disk(), pytest.raises(CommandError, match=r"cannot write .*answers\.json: File too large"):
        write_output(path, b"x" * 10_000)
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["answers.json"]


def test_a_full_disk_leaves_no_part_of_a_scene(tmp_path):
    pytest.importorskip("rasterio")
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write_demo_scenes(tmp_path / "scenes")
    assert list((tmp_path / "scenes").iterdir()) == []


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link.json").symlink_to("target.json")
    write_output(tmp_path / "link.json", b"new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "target.json").read_bytes() == b"new"
