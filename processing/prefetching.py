# SPDX-License-Identifier: Apache-2.0
"""Making what comes next while what is there is in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterable[Item], depth: int = 2) -> Generator[Item, None, None]:
    """Iterate in a thread, ahead of who asks.

    Images are decoded, scaled and normalized by code that lets other threads run, so that a model answers meanwhile.
    Errors come where the item would have come. Close the generator where you stop early, before what `items` reads is
    closed: it waits for the item that is being made.

    Args:
        items: What to iterate over; used by the thread alone.
        depth: How many items are made ahead at most.

    Yields:
        The items in their order.

    Raises:
        ValueError: if the depth is below 1.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    iterator = iter(items)

    def make_next() -> tuple[Item, ...]:
        for item in iterator:
            return (item,)
        return ()

    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    try:
        coming: deque[Future[tuple[Item, ...]]] = deque(pool.submit(make_next) for _ in range(depth))
        while made := coming.popleft().result():
            coming.append(pool.submit(make_next))
            yield made[0]
    finally:
        pool.shutdown(cancel_futures=True)
