# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are complete or not there, and what to resume from.

A checkpoint is written to a staging folder, gets a list of its files with their sizes, and takes its name only then.
Whoever finds a folder of that name can rely on it; what was cut short afterwards, by a broken disk or a copy that was
interrupted, is found by the list.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from transformers.utils import logging

from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.text_files import read_json_object
from geodit.trainers.resilience.checkpoint_contents import find_content_damage

logger = logging.get_logger(__name__)

PRIVATE = ".geodit-run"
"""Name of the folder, within the output folder of a run, that is the run's own and gone when the run has ended."""

STAGING = f"{PRIVATE}/incomplete"
"""Path of the folder, within the output folder of a run, that checkpoints are written to."""

FILE_LIST = "checkpoint_files.json"
"""Name of the file that lists the other files of a checkpoint."""

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def write_file_list(checkpoint: Path) -> None:
    """List the files of a checkpoint with their sizes in bytes."""
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in _files(checkpoint)}
    write_atomically(checkpoint / FILE_LIST, json.dumps(sizes, indent=1, sort_keys=True).encode())


def find_damage(checkpoint: Path) -> str | None:
    """Say what is wrong with a checkpoint, or `None` if nothing is.

    One without a list of files, which another Trainer has written, is taken as it is if it has a `trainer_state.json`,
    which is written last.
    """
    if not checkpoint.is_dir():
        return "there is no such folder"
    if not (checkpoint / FILE_LIST).is_file():
        return find_content_damage(checkpoint)
    try:
        wanted = {name: int(size) for name, size in read_json_object(checkpoint / FILE_LIST).items()}
    except (ValueError, TypeError):
        return f"{FILE_LIST} cannot be read"
    for name, size in wanted.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} of {size:,} bytes"
    return find_content_damage(checkpoint)


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a run, complete or not, from the last step to the first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _CHECKPOINT.fullmatch(path.name)), key=_step, reverse=True)


def _step(checkpoint: Path) -> int:
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    return -1 if match is None else int(match[1])


def rotate(folder: Path, newest: Path, limit: int | None, best: str | None) -> None:
    """Delete the oldest checkpoints of a run beyond a number of them, as Trainer does, but by step, not by the clock.

    Those after the newest are of a course that was given up when the run went on from an earlier one: they count as
    the oldest.

    Args:
        folder: The output folder of the run.
        newest: The checkpoint that was written last; it stays.
        limit: Number of checkpoints to keep; `None` or 0 for all.
        best: The best checkpoint, if known; it stays.
    """
    if limit is None or limit <= 0:
        return
    step = _step(newest)
    found = sorted(list_checkpoints(folder), key=lambda path: (_step(path) <= step, _step(path)))
    kept = {newest.name}
    if best is not None and Path(best).resolve().parent == folder.resolve():
        kept.add(Path(best).name)
    excess = len(found) - max(limit, len(kept))
    for path in [path for path in found if path.name not in kept][: max(excess, 0)]:
        _remove(path)


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Find the checkpoint to go on from: the last one that nothing is wrong with, or `None` if there is none."""
    return next((path for path in list_checkpoints(folder) if find_damage(path) is None), None)


def set_broken_aside(folder: Path) -> None:
    """Rename the broken checkpoints after the last complete one, and warn.

    Under their own name they would be in the way of the run that goes on: Trainer keeps the latest checkpoints.
    """
    good = last_complete_checkpoint(folder)
    for path in list_checkpoints(folder):
        if path == good:
            return
        aside = path.with_name(f"broken-{path.name}")
        _remove(aside)
        damage = find_damage(path)
        path.rename(aside)
        go_on = "there is no complete one before it" if good is None else f"going on from {good.name}"
        logger.warning(f"{path} is broken, {damage}; {go_on}. It is now called {aside.name}.")


def publish(staged: Path, target: Path) -> None:
    """Give a complete checkpoint its name, in place of one that has it.

    On a disk that several machines share, one process of each may call it: the first does the work.
    """
    claimed, replaced = (staged.with_name(f"{kind}-{uuid.uuid4().hex}") for kind in ("complete", "replaced"))
    try:
        staged.rename(claimed)
    except FileNotFoundError:
        return
    write_file_list(claimed)
    for path in (*_files(claimed), claimed / FILE_LIST, claimed):
        _flush(path)
    if target.exists():
        target.rename(replaced)
    claimed.rename(target)
    _flush(target.parent)
    _remove(replaced)
    remove_empty(staged.parent)


def move_files(staged: Path, target: Path) -> None:
    """Move the files of a folder to another one, each over the one of its name; who may call it as in [`publish`]."""
    for path in _files(staged):
        moved = target / path.relative_to(staged)
        with suppress(FileNotFoundError):
            moved.parent.mkdir(parents=True, exist_ok=True)
            path.replace(moved)
    clear_staging(target)


def clear_staging(folder: Path) -> None:
    """Remove what a run that was killed while it saved has left."""
    _remove(folder / STAGING)
    remove_empty(folder / PRIVATE)


@contextmanager
def clear_errors(what: str, folder: Path) -> Iterator[None]:
    """Turn the ways in which writing fails into one error that says what to do, and leave nothing half-written.

    Args:
        what: What is being saved.
        folder: The output folder of the run.

    Raises:
        OSError: if it could not be written.
    """
    try:
        yield
    # PyTorch raises RuntimeError and safetensors its own error when a disk is full.
    except (OSError, RuntimeError, SafetensorError) as error:
        clear_staging(folder)
        good = last_complete_checkpoint(folder)
        kept = "There is no earlier checkpoint" if good is None else f"The last complete checkpoint is {good}"
        disk = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
        free = shutil.disk_usage(disk).free / 2**20
        raise OSError(
            f"{what} could not be saved to {folder}, where {free:,.0f} MiB are free: {error}. {kept}; make room and "
            "resume with resume_from_checkpoint=auto."
        ) from error


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names if name != FILE_LIST)


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk, so that it outlasts a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def remove_empty(staging: Path) -> None:
    """Remove a folder of ours, and the one that it lies in if that is ours, too, where nothing else is in them."""
    with suppress(OSError):  # someone else writes there, or the run is locked
        staging.rmdir()
        if staging.parent.name == PRIVATE:
            staging.parent.rmdir()
