# SPDX-License-Identifier: Apache-2.0
"""Several processes that share a job, as `torchrun` and `accelerate launch` start them."""

import contextlib
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

import typer

from geodit.cli.errors import FAILURE, CommandError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.distributed_c10d import Store

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# The processes of a job wait for the slowest one. One that has ended is noticed at once.
_PATIENCE = timedelta(days=365)
_SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Processes:
    """This process, and how many there are.

    It is a context manager. If several processes leave it by errors, one of them reports its error, and the others end
    without a word.

    Args:
        index: Number of this process.
        count: How many there are.
        device: Where this one is to compute; `None` for wherever it would alone.
        store: What all of them read and write, if there are several.
        group: What connects them, likewise.
    """

    index: int = 0
    count: int = 1
    device: str | None = None
    store: "Store | None" = None
    group: "ProcessGroup | None" = None

    @classmethod
    def find(cls) -> "Processes":
        """Return what the launcher says of this process; without one it is alone.

        Raises:
            CommandError: If the launcher says that there are several, and not how to find them.
        """
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return cls()
        missing = [name for name in _VARIABLES if name not in os.environ]
        if missing:
            raise CommandError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {missing[0]} is not set: start the processes with "
                "torchrun or accelerate launch, or unset WORLD_SIZE"
            )
        import torch
        from torch import distributed
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        store, index, count = next(rendezvous("env://"))
        # gloo notices that a process has ended, and needs no GPU to wait.
        distributed.init_process_group("gloo", store=PrefixStore("group", store), rank=index, world_size=count)
        group = distributed.new_group(timeout=_PATIENCE)
        device = None
        if torch.cuda.is_available():
            device = f"cuda:{int(os.environ.get('LOCAL_RANK', index)) % torch.cuda.device_count()}"
        return cls(index, count, device, PrefixStore("geodit", store), group)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes the result."""
        return self.index == 0

    def wait(self) -> None:
        """Wait until all processes are here.

        Raises:
            CommandError: If one has ended before.
        """
        if self.group is None:
            return
        import torch
        from torch import distributed

        try:
            work = distributed.all_reduce(torch.zeros(1), group=self.group, async_op=True)
            while not work.is_completed():
                time.sleep(_SECONDS_BETWEEN_LOOKS)  # meanwhile signals arrive, which they would not in `work.wait()`
            work.wait()
        except RuntimeError as error:
            raise CommandError(
                "another process of this job has ended before it was done: go on with --resume", FAILURE
            ) from error

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.store is None:
            return
        try:
            failed = error is not None and not isinstance(error, typer.Exit)
            if failed and not self._is_first_to_fail(self.store):
                raise typer.Exit(FAILURE) from error
        finally:
            from torch import distributed

            with contextlib.suppress(RuntimeError):
                distributed.destroy_process_group()

    @staticmethod
    def _is_first_to_fail(store: "Store") -> bool:
        try:
            return store.add("failed", 1) == 1
        except RuntimeError:
            return False  # The process that has kept the store has ended, and said why.
