# SPDX-License-Identifier: Apache-2.0
"""The output folder of a run: one run writes to it at a time, and no new run replaces an earlier one unasked."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from geodit.configuration.file_lock import FileLock
from geodit.configuration.text_files import parse_json_object, read_json_object, read_text
from geodit.hub_cards.publish.run_folders import RUN_LOG, RUN_RECIPE
from geodit.trainers.distribution import on_main_process
from geodit.trainers.resilience.checkpoint_guard import PRIVATE

FINETUNING = "finetuning"
"""Folder, within that of a run, of what `geodit finetune` writes: plan, recipe and report."""

_STATE = "trainer_state.json"
_WEIGHTS = r"(?:pytorch_model|model|adapter_model)(?:-\d+-of-\d+)?\.(?:safetensors|bin)(?:\.index\.json)?"
# By these an earlier run, or a model, is known.
_SIGNS = re.compile(rf"checkpoint-\d+|{_WEIGHTS}|{re.escape(RUN_LOG)}|{re.escape(RUN_RECIPE)}|{re.escape(_STATE)}")
# By these it is known that a run has written it, and not only a model saved there.
_TRACES = re.compile(rf"checkpoint-\d+|{re.escape(RUN_LOG)}|{re.escape(_STATE)}|training_args\.bin")
# All else that a run leaves, with its model and processor. A card is not among it: people write in theirs.
_LEFT_BY_A_RUN = re.compile(
    rf"{_SIGNS.pattern}|broken-checkpoint-\d+|training_args\.bin|(?:all|train|eval|test)_results\.json"
    r"|(?:config|generation_config|adapter_config|preprocessor_config|processor_config|tokenizer|tokenizer_config"
    r"|special_tokens_map|added_tokens)\.json|chat_template\.(?:jinja|json)|\w+_geodit\.py|samples|runs|{FINETUNING}"
)
# Of folders whose names others use, too, what a run writes to them: pictures of its answers, files of TensorBoard.
_CONTENTS = {
    FINETUNING: re.compile(r"(?:plan|before|after|report)\.json|recipe\.yaml|report\.md|mistakes\.png"),
    "samples": re.compile(r"step-\d+/.+"),
    "runs": re.compile(r"(?:.+/)?events\.out\.tfevents\..+"),
}
# Neither a run's result nor somebody else's.
_PASSED_OVER = re.compile(rf"{re.escape(PRIVATE)}|replaced-\d+|broken-checkpoint-\d+")


class RunFolder:
    """The output folder of one run, locked while it is open.

    A new start is refused where the folder holds an earlier run or a model. With `overwrite` what the earlier run has
    left is moved to `replaced-<n>` within the folder when training starts, and deleted as soon as the new run has
    saved a checkpoint or a model.

    Args:
        folder: The output folder.
        overwrite: Whether an earlier run may be replaced.
        bases: Folders, or Hub ids, of what the run starts from, by the names of the arguments that name them: these
            are not replaced.
        recipe: The file of the recipe that is run, if any, which is not what a run has left.
    """

    def __init__(
        self,
        folder: Path,
        *,
        overwrite: bool = False,
        bases: Mapping[str, str] | None = None,
        recipe: Path | None = None,
    ) -> None:
        self.folder = folder
        self._overwrite = overwrite
        self._bases = dict(bases or {})
        self._recipe = recipe
        self._lock = FileLock(folder / PRIVATE / "lock", folder, "run")
        self._replaced: Path | None = None
        self._openings = 0
        self._begun = False

    @contextmanager
    def opened(self, resume: str | bool | None) -> Iterator[None]:
        """Hold the folder; all processes must call this. Within it may be opened again.

        Args:
            resume: The argument `resume_from_checkpoint`.

        Raises:
            BlockingIOError: If another run writes to it.
            ValueError: If a new start would replace what is there, or overwriting and resuming are both asked for.
        """
        if self._openings == 0:
            on_main_process(lambda: self._open(resume))
        self._openings += 1
        try:
            yield
        finally:
            self._openings -= 1
            if self._openings == 0:
                self._close()

    def _open(self, resume: str | bool | None) -> None:
        new = self.is_new(resume)
        if self._overwrite and not new:
            raise ValueError(
                f"overwrite_output_dir starts anew and resume_from_checkpoint={resume} goes on: leave one of them out."
            )
        made = not self.folder.exists()
        try:
            self._lock.acquire()
            if new and not self._begun:
                self.check_new_start()
        except BaseException:
            self._close()
            if made:
                with suppress(OSError):
                    self.folder.rmdir()
            raise

    def _close(self) -> None:
        self._lock.release()
        with suppress(OSError):  # it is not there, or another run's
            (self.folder / PRIVATE).rmdir()

    def is_new(self, resume: str | bool | None) -> bool:
        """Return whether a run is new to this folder: it starts without a checkpoint, or from another folder's."""
        if is_new_start(resume) or is_word(resume):
            return is_new_start(resume)
        return Path(str(resume)).expanduser().resolve().parent != self.folder.resolve()

    def begin(self) -> None:
        """Make room for a new run; all processes must call this, when all is loaded and before anything is written.

        Raises:
            ValueError: As [`check_new_start`].
        """
        on_main_process(self._begin)
        self._begun = True

    def _begin(self) -> None:
        if self._begun:  # the same Trainer trains once more
            return
        earlier = self.check_new_start()
        if not earlier:
            return
        number = 1
        while (self.folder / f"replaced-{number}").exists():
            number += 1
        self._replaced = self.folder / f"replaced-{number}"
        self._replaced.mkdir()
        for path in earlier:
            path.rename(self._replaced / path.name)

    def discard_replaced(self) -> None:
        """Delete the run that this one has replaced, if any: this one has something to show for it now."""
        if self._replaced is not None:
            shutil.rmtree(self._replaced, ignore_errors=True)
            self._replaced = None

    def check_new_start(self) -> list[Path]:
        """Find out whether a new run may start here.

        Returns:
            What an earlier run has left, which is to be set aside.

        Raises:
            ValueError: If it may not; the message says why and what to do.
        """
        entries = [path for path in sorted(self.folder.iterdir()) if not self._is_own_recipe(path)]
        signs = [path.name for path in entries if _SIGNS.fullmatch(path.name)]
        if not signs:
            return []
        what = f"{self.folder} holds {_some(signs)} of an earlier run or model"
        if not self._overwrite:
            raise ValueError(
                f"{what}, which a new run would replace: go on with it by resume_from_checkpoint=auto, replace it by "
                "--overwrite (overwrite_output_dir=True), or name another output_dir."
            )
        if (base := self._base_within()) is not None:
            raise ValueError(f"{what}, and is not overwritten: {base}. Name another output_dir.")
        foreign = [path.name for path in entries if not (_is_of_a_run(path) or _PASSED_OVER.fullmatch(path.name))]
        if foreign or not any(_TRACES.fullmatch(path.name) for path in entries):
            why = f"{_some(foreign)} is not of a run" if foreign else "no run of geodit has written it"
            raise ValueError(f"{what}, and is not overwritten: {why}. Move it, or name another output_dir.")
        return [path for path in entries if _is_of_a_run(path)]

    def _is_own_recipe(self, path: Path) -> bool:
        return self._recipe is not None and self._recipe.exists() and path.exists() and path.samefile(self._recipe)

    def _base_within(self) -> str | None:
        """Return what the run starts from and lies in the folder, if anything."""
        own = self.folder.resolve()
        bases = dict(self._bases)
        for name, value in self._bases.items():
            config = Path(value).expanduser() / ADAPTER_CONFIG_NAME
            if config.is_file():
                with suppress(ValueError):
                    base = read_json_object(config).get("base_model_name_or_path")
                    bases |= {f"the base of {name}": base} if isinstance(base, str) else {}
        for name, value in bases.items():
            path = Path(value).expanduser()
            if value and path.exists() and (path.resolve() == own or own in path.resolve().parents):
                return f"{name} {value} lies in it, which the run starts from"
        return None

    def finished_step(self) -> int | None:
        """Return the update after which the run in this folder saved its model, if it has, as its log says."""
        log = self.folder / RUN_LOG
        if not log.is_file() or not any(_is_weights(path.name) for path in self.folder.iterdir()):
            return None
        try:
            lines = read_text(log).splitlines()
            last = parse_json_object(lines[-1], log) if lines else {}
        except ValueError:
            return None
        step = last.get("step") if "train_runtime" in last else None
        return step if isinstance(step, int) else None


def is_word(resume: str | bool | None) -> bool:
    """Return whether `resume_from_checkpoint` asks for the output folder's last checkpoint, by `true` or `auto`."""
    return str(resume).lower() in ("true", "auto")


def is_new_start(resume: str | bool | None) -> bool:
    """Return whether `resume_from_checkpoint` asks for no checkpoint."""
    return resume is None or str(resume).lower() in ("", "none", "false")


def _is_of_a_run(path: Path) -> bool:
    contents = _CONTENTS.get(path.name)
    return _LEFT_BY_A_RUN.fullmatch(path.name) is not None and (
        contents is None
        or all(contents.fullmatch(file.relative_to(path).as_posix()) for file in path.rglob("*") if not file.is_dir())
    )


def _is_weights(name: str) -> bool:
    return re.fullmatch(_WEIGHTS, name) is not None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
