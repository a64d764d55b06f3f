# SPDX-License-Identifier: Apache-2.0
"""How batches are made beside the training: by how many processes, and what these do when a run is to end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader
from transformers import TrainingArguments

_MOST_WORKERS = 4


def default_num_workers(*, cuda: bool, num_cores: int, num_processes: int) -> int:
    """Return how many processes make batches for each training process, where the arguments do not say.

    Args:
        cuda: Whether the training is on a CUDA device, which would wait for batches. A CPU has no cores to spare.
        num_cores: Cores that this process may run on.
        num_processes: Training processes on this machine.

    Returns:
        Up to 4, so that every training process keeps a core for itself; 0 off Linux, where a worker is started anew
        and gets a copy of the data set.
    """
    if not cuda or sys.platform != "linux":
        return 0
    return min(_MOST_WORKERS, max(0, num_cores // max(1, num_processes) - 1))


def set_loading_defaults(args: TrainingArguments) -> bool:
    """Fill in what training arguments leave open about data loading, before they are checked.

    On a CUDA device batches are made by workers, and go there from pinned memory while it computes.

    Args:
        args: Arguments of which `dataloader_num_workers` may be `None`.

    Returns:
        Whether the number of workers was chosen here.
    """
    cuda = torch.cuda.is_available() and not args.use_cpu
    chosen = args.dataloader_num_workers is None
    if chosen:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        args.dataloader_num_workers = default_num_workers(cuda=cuda, num_cores=cores, num_processes=processes)
    if cuda and args.dataloader_pin_memory:
        if args.accelerator_config is None:
            args.accelerator_config = {"non_blocking": True}
        elif isinstance(args.accelerator_config, dict):
            args.accelerator_config = {"non_blocking": True, **args.accelerator_config}
    return chosen


@dataclass(frozen=True)
class WorkerStart:
    """What a worker does first; then SIGTERM and SIGHUP end it only if the process that it works for has sent them.

    A scheduler sends them to every process of a run, which is to finish its update first: for that it needs batches.

    Args:
        then: What else a worker does first, given its number.
    """

    then: Callable[[int], object] | None = None

    def __call__(self, worker_id: int) -> None:
        """Set the worker up; this runs in the worker."""
        if hasattr(signal, "sigwaitinfo"):
            signals = {signal.SIGTERM, signal.SIGHUP}
            signal.pthread_sigmask(signal.SIG_BLOCK, signals)
            threading.Thread(target=_end_with, args=(os.getppid(), signals), daemon=True).start()
        if self.then is not None:
            self.then(worker_id)


def start_workers_well(loader: DataLoader[object]) -> DataLoader[object]:
    """Have the workers of a data loader, perhaps one that accelerate has prepared, begin with a [`WorkerStart`].

    Returns:
        The loader.
    """
    inner: DataLoader[object] = getattr(loader, "base_dataloader", loader)
    if inner.num_workers and not isinstance(inner.worker_init_fn, WorkerStart):
        inner.worker_init_fn = WorkerStart(inner.worker_init_fn)
    return loader


def _end_with(parent: int, signals: set[signal.Signals]) -> None:
    while signal.sigwaitinfo(signals).si_pid != parent:
        pass
    os._exit(0)
