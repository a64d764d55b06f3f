# SPDX-License-Identifier: Apache-2.0
"""A Trainer that loses nothing: complete checkpoints only, SIGTERM, broken disks, losses that are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput, unwrap_peft_model
from transformers.utils import logging

from geodit.configuration.types_geodit import Batch
from geodit.trainers.data_loading import start_workers_well
from geodit.trainers.distribution import on_main_process, refuse_ignored_sharding
from geodit.trainers.item_records import ITEM_IDS
from geodit.trainers.resilience.checkpoint_contents import read_state
from geodit.trainers.resilience.checkpoint_guard import (
    STAGING,
    clear_errors,
    clear_staging,
    find_damage,
    last_complete_checkpoint,
    move_files,
    publish,
    rotate,
    set_broken_aside,
)
from geodit.trainers.resilience.finite_guard import FiniteGuard
from geodit.trainers.resilience.run_folder import RunFolder, is_new_start, is_word
from geodit.trainers.resilience.termination import TerminationCallback

logger = logging.get_logger(__name__)


class GuardedTrainer(Trainer):
    """[`~transformers.Trainer`] for runs that may be killed at any time.

    * A folder `checkpoint-<step>` is complete from the moment it appears.
    * `train(resume_from_checkpoint=True)` goes on from the last complete checkpoint, even if a later one is broken;
      `"auto"` starts anew where there is none, so that one command fits the first start and all others.
    * A run that has made its last update makes no other one: resumed, it takes the weights of the checkpoint.
    * One run writes to `output_dir` at a time, and a new one is refused where an earlier one lies, unless
      `overwrite_output_dir` is given.
    * At SIGTERM and SIGHUP the update is finished and saved, and the process exits with 143 and 129.
    * If a checkpoint cannot be written, or a loss is not finite, the run ends with one error, and the last checkpoint
      stays as it is.

    The arguments are those of [`~transformers.Trainer`].
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        refuse_ignored_sharding(self.accelerator, self.args)
        self._termination = TerminationCallback()
        self.add_callback(self._termination)
        self._finite = FiniteGuard()
        self._staging: Path | None = None
        self._run_folder: RunFolder | None = None

    @property
    def run_folder(self) -> RunFolder:
        """The output folder as a run has it. Who has opened it before the model was loaded sets it."""
        if self._run_folder is None:
            overwrite = bool(getattr(self.args, "overwrite_output_dir", False))
            self._run_folder = RunFolder(Path(str(self.args.output_dir)), overwrite=overwrite, bases=self._bases())
        return self._run_folder

    @run_folder.setter
    def run_folder(self, folder: RunFolder) -> None:
        self._run_folder = folder

    def _bases(self) -> dict[str, str]:
        """Return the folders that the model was loaded from, as far as it says so."""
        model = unwrap_peft_model(self.model)
        bases = {"the model": getattr(getattr(model, "config", None), "_name_or_path", None)}
        for name, config in (getattr(self.model, "peft_config", None) or {}).items():
            bases[f"the base of adapter {name}"] = getattr(config, "base_model_name_or_path", None)
        return {name: str(base) for name, base in bases.items() if base}

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: object = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train; see [`~transformers.Trainer.train`].

        Args:
            resume_from_checkpoint: Folder of a checkpoint; `True` for the last complete one in `output_dir`; `"auto"`
                for the same, or a new start if there is none.
            trial: See [`~transformers.Trainer.train`].
            ignore_keys_for_eval: See [`~transformers.Trainer.train`].

        Raises:
            ValueError: when there is no checkpoint to resume from, or the one that is named is broken, or a new start
                would replace an earlier run.
            BlockingIOError: when another run writes to `output_dir`.
            OSError: when a checkpoint could not be written.
            FloatingPointError: when a loss is not finite.
            SystemExit: with 143 after SIGTERM, 129 after SIGHUP.
        """
        with self.run_folder.opened(resume_from_checkpoint), self._termination:
            checkpoint = self._checkpoint_to_resume(resume_from_checkpoint)
            if checkpoint is None or self.run_folder.is_new(checkpoint):
                self.run_folder.begin()
            output = super().train(checkpoint, trial, ignore_keys_for_eval)
        if self._termination.stopped:
            logger.warning(
                f"Stopped by {self._termination.signal_name} after update {self.state.global_step}, which is saved in "
                f"{self.args.output_dir}. Resume with resume_from_checkpoint=auto."
            )
            raise SystemExit(self._termination.exit_code)
        return output

    def is_finished(self, resume_from_checkpoint: str | bool | None) -> bool:
        """Return whether a recipe's run has made its last update and saved its model, so that nothing is left to do.

        All processes must call this, within the opened `run_folder`.

        Args:
            resume_from_checkpoint: See [`train`]; a new start is never finished.
        """
        if is_new_start(resume_from_checkpoint):
            return False
        saved = on_main_process(self.run_folder.finished_step)
        if saved is None:
            return False
        checkpoint = self._checkpoint_to_resume(resume_from_checkpoint)
        reached = 0 if checkpoint is None else read_state(Path(checkpoint)).global_step
        # Who names a checkpoint wants to go on from there, even if the run has gone further.
        made = saved if is_word(resume_from_checkpoint) else reached
        if made < self._planned_steps() or saved < reached:
            return False
        logger.warning(
            f"Already finished: the run in {self.args.output_dir} has made its last update, {saved}. "
            "A larger max_steps or num_train_epochs goes on; --overwrite (overwrite_output_dir=True) starts anew."
        )
        return True

    def _planned_steps(self) -> int:
        """Return the updates that the arguments ask for."""
        return int(self.set_initial_training_values(self.args, self.get_train_dataloader())[-1])

    def _checkpoint_to_resume(self, choice: str | bool | None) -> str | None:
        folder = Path(str(self.args.output_dir))
        if self.is_local_process_zero():
            clear_staging(folder)
        self.accelerator.wait_for_everyone()
        if is_new_start(choice):
            return None
        if not is_word(choice):
            named = Path(str(choice)).expanduser()
            if damage := find_damage(named):
                good = last_complete_checkpoint(named.parent)
                instead = f" Resume from {good} instead." if good is not None else ""
                raise ValueError(f"{named} is not a complete checkpoint: {damage}.{instead}")
            return str(named)
        last = on_main_process(lambda: _set_aside_and_find(folder))
        if last is None and str(choice).lower() == "true":
            raise ValueError(
                f"There is no complete checkpoint in {folder} to resume from. Start without "
                "resume_from_checkpoint, or with resume_from_checkpoint=auto."
            )
        return None if last is None else str(last)

    # Saving

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model; see [`~transformers.Trainer.save_model`]. Each file is complete from the moment it appears.

        Raises:
            OSError: when it could not be written.
        """
        if _internal_call:
            super().save_model(output_dir, _internal_call=True)
            return
        self._save_guarded(Path(str(output_dir or self.args.output_dir)))
        if self.args.push_to_hub:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _save_guarded(self, target: Path) -> None:
        staged = target / STAGING / "model"
        with clear_errors("The model", target):
            super().save_model(str(staged), _internal_call=True)
            self.accelerator.wait_for_everyone()
            if self.is_local_process_zero():
                move_files(staged, target)
        self._discard_replaced()
        self.accelerator.wait_for_everyone()

    def _discard_replaced(self) -> None:
        if self.is_world_process_zero():
            self.run_folder.discard_replaced()

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        run_dir = Path(self._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with clear_errors(name, run_dir):
            with self._staged(run_dir / STAGING):
                super()._save_checkpoint(model, trial)
            staged, target = run_dir / STAGING / name, run_dir / name
            if self.state.best_model_checkpoint == str(staged):
                self.state.best_model_checkpoint = str(target)
                if self.args.should_save:
                    self.state.save_to_json(str(staged / "trainer_state.json"))
            self.accelerator.wait_for_everyone()
            if self.is_local_process_zero():
                publish(staged, target)
        self._discard_replaced()
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(target))
        if self.args.should_save:
            rotate(run_dir, target, self.args.save_total_limit, self.state.best_model_checkpoint)

    @contextmanager
    def _staged(self, folder: Path) -> Iterator[None]:
        """Let Trainer write its next checkpoint to a folder, and leave to us what it does with a finished one."""
        self._staging = folder
        try:
            yield
        finally:
            self._staging = None

    def _get_output_dir(self, trial: object) -> str:
        return str(super()._get_output_dir(trial) if self._staging is None else self._staging)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._staging is None:
            super()._push_from_checkpoint(checkpoint_folder)

    # Batches

    def get_train_dataloader(self) -> DataLoader[object]:
        """Return Trainer's own loader; its workers go on at a signal to all processes, see [`WorkerStart`]."""
        loader: DataLoader[object] = super().get_train_dataloader()
        return start_workers_well(loader)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[object]:
        """Return Trainer's own loader; its workers go on at a signal to all processes, see [`WorkerStart`]."""
        loader: DataLoader[object] = super().get_eval_dataloader(eval_dataset)
        return start_workers_well(loader)

    # Updates

    def _run_epoch(self, *args: object, **kwargs: object) -> None:
        # Trainer looks at the number of updates after each one only: of a run resumed at its end it makes one more.
        if self.state.global_step >= self.state.max_steps:
            logger.warning(
                f"Already finished: update {self.state.global_step} of {self.state.max_steps} was the last."
            )
            self.control.should_training_stop = True
        if self.control.should_training_stop:  # as a callback has found at the beginning
            return
        super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """See [`~transformers.Trainer.log`]; the mean loss of no updates is left out."""
        if self.state.global_step == getattr(self, "_initial_global_step", None):
            logs.pop("train_loss", None)
        super().log(logs, start_time)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor | int | None:
        self.sum_over_processes(torch.zeros((), device=device))
        return super()._get_num_items_in_batch(batch_samples, device)

    def sum_over_processes(self, value: torch.Tensor) -> torch.Tensor:
        """Add up a number of each process, once for each update, on all of them.

        Whether a process is to end travels with the number, and costs no message of its own.
        """
        if self.accelerator.num_processes == 1:
            return value
        requested = value.new_tensor(float(self._termination.requested))
        value, requests = self.accelerator.reduce(torch.stack([value, requested]))
        self._termination.agreed |= bool(requests)
        return value

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """See [`~transformers.Trainer.training_step`]."""
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._finite.record(loss, inputs.get(ITEM_IDS, ()))
        return loss

    def _get_grad_norm(
        self, model: nn.Module, grad_norm: torch.Tensor | float | None = None
    ) -> torch.Tensor | float | None:
        # Trainer's last step before the optimizer's.
        grad_norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        self._finite.check(grad_norm, step=self.state.global_step + 1, accelerator=self.accelerator)
        return grad_norm


def _set_aside_and_find(folder: Path) -> Path | None:
    set_broken_aside(folder)
    return last_complete_checkpoint(folder)
