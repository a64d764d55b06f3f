# SPDX-License-Identifier: Apache-2.0
"""Several processes that share a job, as `accelerate launch` starts them."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodit.cli.errors import CommandError

if TYPE_CHECKING:
    from accelerate import PartialState


@dataclass(frozen=True)
class Processes:
    """This process, and how many there are.

    Args:
        index: Number of this process.
        count: How many there are.
        device: Where this one is to compute; `None` for wherever it would alone.
    """

    index: int = 0
    count: int = 1
    device: str | None = None
    state: "PartialState | None" = None

    @classmethod
    def find(cls) -> "Processes":
        """Return what the launcher says of this process; without one it is alone.

        Raises:
            CommandError: If there are several, and accelerate is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        try:
            from accelerate import PartialState
        except ModuleNotFoundError as error:
            raise CommandError(
                "several processes share a job through accelerate: pip install 'geodit[train]'"
            ) from error
        state = PartialState()
        return cls(state.process_index, state.num_processes, str(state.device), state)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes the result."""
        return self.index == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.state is not None:
            self.state.wait_for_everyone()
