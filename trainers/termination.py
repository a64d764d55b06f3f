# SPDX-License-Identifier: Apache-2.0
"""SIGTERM, by which schedulers announce that they end a job: finish the update, save a checkpoint, exit."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

EXIT_CODE = 128 + signal.SIGTERM
"""What a process ends with that SIGTERM has ended, as a shell reports it."""


class TerminationCallback(TrainerCallback):
    """Saves a checkpoint after the update in which SIGTERM arrived, and stops. Listens while it is a context.

    Transformers' own `enable_jit_checkpoint` waits for three seconds, and may then save between the backward pass and
    the optimizer's step, where a run cannot go on exactly; and each process saves when it hears of it, not all at the
    same update.

    Attributes:
        requested: Whether this process has been told to end.
        agreed: Whether all processes know that one of them has.
        stopped: Whether the run was stopped because of it.
    """

    def __init__(self) -> None:
        self.requested = False
        self.agreed = False
        self.stopped = False
        self._previous: Any = None

    def __enter__(self) -> TerminationCallback:
        self.requested = self.agreed = self.stopped = False
        # Python takes signals in its main thread only.
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None

    def _request(self, number: int, frame: FrameType | None) -> None:
        # Some launchers send it twice: to all processes, and to their leader, which passes it on.
        self.requested = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Save and stop, if that was asked for; an evaluation would take time that there may not be."""
        if self.agreed or (self.requested and args.world_size == 1):
            self.stopped = True
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Trainer ends the epoch when it stops; what belongs to the end of a real one is left out."""
        if self.stopped:
            control.should_save = control.should_evaluate = False
        return control
