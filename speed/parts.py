# SPDX-License-Identifier: Apache-2.0
"""Several measurements one after the other within a time, each kept as soon as it is there."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch

from geodit.configuration.types_geodit import JsonObject

__all__ = ["Part", "run_parts"]


@dataclass(frozen=True)
class Part:
    """One of the measurements.

    Args:
        name: What it is called.
        seconds: About how long it takes.
        run: Measures; returns what JSON can hold.
        reason_to_skip: Why it is not made at all, if it is not.
    """

    name: str
    seconds: float
    run: Callable[[], object]
    reason_to_skip: str | None = None


def run_parts(
    parts: Sequence[Part],
    limit: float,
    save: Callable[[JsonObject], None],
    device: torch.device,
    now: Callable[[], float] = time.monotonic,
) -> JsonObject:
    """Run all parts that there is time for. One that fails does not keep the next ones from running.

    Args:
        parts: In the order of their worth. One that would not end in time is skipped, and the next one, which may be
            shorter, is looked at.
        limit: Seconds for all of them.
        save: Called with the document before the first part, and after each.
        device: Where they run; it has its memory back between two of them.
        now: A clock in seconds.

    Returns:
        The document: of each part in `"parts"` its `seconds`, `peak_bytes` of PyTorch on a GPU (`None` elsewhere) and
        `result`; in `"skipped"` and `"failed"` why the others have none; and `"seconds"` in all.
    """
    start = now()
    document: JsonObject = {"parts": {}, "skipped": {}, "failed": {}, "seconds": 0.0}
    save(document)
    with _no_old_garbage():
        for part in parts:
            elapsed = now() - start
            if part.reason_to_skip is not None:
                document["skipped"][part.name] = part.reason_to_skip
            elif elapsed + part.seconds > limit:
                left = max(limit - elapsed, 0)
                document["skipped"][part.name] = f"takes about {part.seconds:.0f} s, and {left:.0f} s are left"
            else:
                _run(part, document, device, now)
            document["seconds"] = now() - start
            save(document)
    return document


@contextmanager
def _no_old_garbage() -> Iterator[None]:
    """Look for garbage among new objects alone: with all that was imported it takes longer than some measurements."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _run(part: Part, document: JsonObject, device: torch.device, now: Callable[[], float]) -> None:
    begun, on_gpu = now(), device.type == "cuda"
    try:
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        result = part.run()
    except Exception as error:
        traceback.print_exc()
        document["failed"][part.name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    else:
        document["parts"][part.name] = {
            "seconds": now() - begun,
            "peak_bytes": torch.cuda.max_memory_allocated(device) if on_gpu else None,
            "result": result,
        }
    # Where a frame of the exception held a model, it is gone by now.
    gc.collect()
    if on_gpu:
        # What an error has left unusable fails here, too.
        with suppress(RuntimeError):
            torch.cuda.empty_cache()
