# SPDX-License-Identifier: Apache-2.0
"""What a measurement ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.environment import describe_environment

__all__ = ["choose_device", "describe_machine", "num_threads"]


def describe_machine(device: torch.device) -> JsonObject:
    """Describe processor, threads, load and versions, in types that JSON has.

    Args:
        device: Where the contestants run.

    Returns:
        `load_average` is that of the last minute: where it is not near 0 before a measurement, others use the
        machine too.
    """
    return {
        "device": _device_name(device),
        "processor": _processor_name(),
        "instruction_set": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None,
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": describe_environment(),
    }


def choose_device(name: str | None) -> torch.device:
    """Return the device of that name, or a GPU if there is one and the processor otherwise.

    Raises:
        ValueError: If there is no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    # What torch raises depends on why there is no such device: its name, this build, or this machine.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"cannot run on the device {name!r}: {str(error).splitlines()[0]}") from error


@contextmanager
def num_threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads; `None` leaves them as they are."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _processor_name() -> str:
    """Return the processor's name: Linux keeps it in a file, and `platform` knows less."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
