# SPDX-License-Identifier: Apache-2.0
"""SIGTERM of a scheduler and SIGHUP of a terminal that is closed: finish the update, save a checkpoint, exit."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class TerminationCallback(TrainerCallback):
    """Saves a checkpoint after the update in which SIGTERM or SIGHUP arrived, and stops; listens while a context.

    SIGHUP that is ignored, as under nohup, stays ignored. When it arrives the terminal is gone, and what is still
    printed goes nowhere rather than ending the run.

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
        self._received = signal.SIGTERM
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
        self._terminals: list[int] = []

    @property
    def signal_name(self) -> str:
        """The signal that has ended the run; SIGTERM where another process has received one."""
        return self._received.name

    @property
    def exit_code(self) -> int:
        """What a process ends with that this signal has ended, as a shell reports it."""
        return 128 + self._received

    def __enter__(self) -> TerminationCallback:
        self.requested = self.agreed = self.stopped = False
        self._received = signal.SIGTERM
        # Python takes signals in its main thread only.
        if threading.current_thread() is threading.main_thread():
            self._terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]
            for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
                ignored = signal.getsignal(number) is signal.SIG_IGN and number != signal.SIGTERM
                if number not in self._previous and not ignored:
                    self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _request(self, number: int, frame: FrameType | None) -> None:
        # Some launchers send it twice: to all processes, and to their leader, which passes it on.
        self.requested = True
        self._received = signal.Signals(number)
        if self._received.name == "SIGHUP" and self._terminals:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for descriptor in self._terminals:
                os.dup2(nowhere, descriptor)
            os.close(nowhere)
            self._terminals = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> TrainerControl:
        """Save and stop, if that was asked for; an evaluation would take time that there may not be."""
        if self.agreed or (self.requested and args.world_size == 1):
            self.stopped = True
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> TrainerControl:
        """Trainer ends the epoch when it stops; what belongs to the end of a real one is left out."""
        if self.stopped:
            control.should_save = control.should_evaluate = False
        return control
