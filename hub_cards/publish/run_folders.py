# SPDX-License-Identifier: Apache-2.0
"""The folder that a run of training wrote, laid out as that of a checkpoint.

A run leaves `recipe.yaml` and `training_log.jsonl` beside its model, and so did the runs that it went on from. A
checkpoint has those of all stages in `training/`, by the name of the stage, for its card. A recipe may name any folder
of the machine, so that earlier runs are taken only where the user names them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from geodit.hub_cards.card.training_history import TRAINING_FOLDER
from geodit.hub_cards.publish.file_checks import refuse_foreign_files

__all__ = ["RUN_LOG", "RUN_RECIPE", "as_checkpoint", "link_file"]

RUN_RECIPE = "recipe.yaml"
"""What a run calls its recipe."""

RUN_LOG = "training_log.jsonl"
"""What a run calls its log."""


@contextlib.contextmanager
def as_checkpoint(folder: Path, name: str | None = None, stages: Sequence[Path] = ()) -> Iterator[Path]:
    """Yield a view of a folder, with the recipes and logs of its stages where a checkpoint has them.

    Args:
        folder: The folder of a run, or of a checkpoint, which is its own view.
        name: Name of the run's own stage; by default that of the folder.
        stages: Folders of the runs that this one went on from, whose recipes and logs belong to it, too.

    Yields:
        A folder to read from. Nothing is copied but recipes and logs, and nothing is written to `folder`.

    Raises:
        ValueError: If one of `stages` is not the folder of a run, `folder` has its stages already, or a file is a link
            to one outside its folder.
    """
    for run in (folder, *stages):
        if run.is_dir():
            refuse_foreign_files(run)
    if stages and (folder / TRAINING_FOLDER).is_dir():
        raise ValueError(f"{folder} has the stages of its training in {TRAINING_FOLDER}/ already: name no others")
    named = _name_stages(folder, name or folder.resolve().name, stages)
    if not named or (folder / TRAINING_FOLDER).is_dir():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="geodit-") as temporary:
        view = Path(temporary) / folder.resolve().name
        view.mkdir()
        for path in sorted(folder.iterdir()):
            if not (path.name.startswith((".", PREFIX_CHECKPOINT_DIR)) or path.name in (RUN_RECIPE, RUN_LOG)):
                _refer(path.resolve(), view / path.name)
        (view / TRAINING_FOLDER).mkdir()
        for stage, run in named.items():
            for source, ending in ((RUN_RECIPE, ".yaml"), (RUN_LOG, ".jsonl")):
                if (run / source).is_file():
                    shutil.copyfile(run / source, view / TRAINING_FOLDER / f"{stage}{ending}")
        try:
            yield view
        except ValueError as error:
            if str(view) not in str(error):
                raise
            # What is wrong with the view is wrong with what the user knows.
            raise ValueError(str(error).replace(str(view), str(folder))) from error


def link_file(source: Path, target: Path) -> None:
    """Give a file a second name, by which it can still be read when the first is gone or is that of another file."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no such links
        shutil.copyfile(source, target)


def _name_stages(folder: Path, name: str, earlier: Sequence[Path]) -> dict[str, Path]:
    """Map the names of stages to the folders of a run and of those before it; no name and no folder occurs twice."""
    stages: dict[str, Path] = {}
    for stage, run in [(name, folder), *((path.resolve().name, path) for path in earlier)]:
        if not _is_run(run):
            if run is folder:
                continue
            raise ValueError(f"{run} is not the folder of a run: it has neither {RUN_RECIPE} nor {RUN_LOG}")
        if not any(run.samefile(other) for other in stages.values()):
            numbered = [stage, *(f"{stage}-{number}" for number in range(2, len(stages) + 3))]
            stages[next(free for free in numbered if free not in stages)] = run
    return stages


def _is_run(folder: Path) -> bool:
    return (folder / RUN_RECIPE).is_file() or (folder / RUN_LOG).is_file()


def _refer(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:  # a system that lets no one make such links
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            link_file(source, target)
