# SPDX-License-Identifier: Apache-2.0
"""One thread in which the models work, one request after the other; a request that is given up ends there."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["GivenUp", "Ticket", "Worker"]

Update = TypeVar("Update")

_TICK = 0.3
"""Seconds after which a waiting request looks whether it was given up."""


class GivenUp(Exception):  # noqa: N818  # nothing is wrong
    """Nobody waits for the answer any more."""


class Ticket(Generic[Update]):
    """What a request that is at work reports with."""

    def __init__(self) -> None:
        self._given_up = threading.Event()
        self._news: queue.SimpleQueue[tuple[str, Update | Exception | None]] = queue.SimpleQueue()

    def report(self, update: Update) -> None:
        """Send an update to whoever waits.

        Raises:
            GivenUp: If nobody does.
        """
        self.check()
        self._news.put(("update", update))

    def check(self) -> None:
        """Find out whether somebody waits.

        Raises:
            GivenUp: If nobody does.
        """
        if self._given_up.is_set():
            raise GivenUp


class Worker:
    """Runs what needs the model in one thread: PyTorch keeps buffers and threads for each thread that calls it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="geodit-app")

    def stream(self, work: Callable[[Ticket[Update]], None]) -> Iterator[Update | None]:
        """Run some work, and yield what it reports.

        Closing the iterator gives the work up: its next report raises [`GivenUp`] in it.

        Args:
            work: Reports its updates, the last of which is its result.

        Yields:
            The updates, and `None` now and then while there is none.

        Raises:
            Exception: What the work raises.
        """
        ticket: Ticket[Update] = Ticket()

        def run() -> None:
            try:
                ticket.check()
                work(ticket)
            except GivenUp:
                return
            except Exception as error:
                ticket._news.put(("error", error))
            else:
                ticket._news.put(("end", None))

        self._executor.submit(run)
        try:
            while True:
                try:
                    kind, news = ticket._news.get(timeout=_TICK)
                except queue.Empty:
                    yield None
                    continue
                if kind == "end":
                    return
                if isinstance(news, Exception):
                    raise news
                yield news
        finally:
            ticket._given_up.set()

    def close(self) -> None:
        """End the thread when it has nothing to do."""
        self._executor.shutdown(wait=True, cancel_futures=True)
