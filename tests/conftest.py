# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests (no network, one thread, one device), and a checkpoint with random weights."""

# Before what reads the environment when it is imported.
from defined_environment import DEVICE, REQUESTED_DEVICE  # isort: split

import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

# The Hub of the tests: fixtures `hub`, `default_hub` and `no_waiting`. The program: `geodit`, `image` and `adapter`.
# Programs in processes of their own: `training_programs`.
pytest_plugins = ["hub_server.fixtures", "program", "forked_programs"]

# How long an example takes says more about the machine than about the code.
settings.register_profile("geodit", deadline=None)
settings.load_profile("geodit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="torch device that models are tested on, by default cpu")


def pytest_configure(config: pytest.Config) -> None:
    asked = config.getoption("device")
    if asked != REQUESTED_DEVICE:
        raise pytest.UsageError(f"--device {asked} has to stand on the command line or in PYTEST_ADDOPTS")
    try:
        torch.empty(0, device=DEVICE)
    # What torch raises depends on why there is no such device: its name, this build, or this machine.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise pytest.UsageError(f"there is no device {asked}: {str(error).splitlines()[0]}") from error


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where models and their inputs are. What is compared with numbers on the CPU is moved there."""
    return torch.device(DEVICE)


LOCAL = ("127.0.0.1", "::1", "localhost", None)


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Names and addresses of other machines cannot be reached; a server of a test's own can."""
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def resolve_locally(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in LOCAL:
            raise socket.gaierror(f"tests do not use the network, but one asked for {host}")
        return resolve(host, *args, **kwargs)

    def connect_locally(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            raise ConnectionRefusedError(f"tests do not use the network, but one connects to {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve_locally)
        patch.setattr(socket.socket, "connect", connect_locally)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def old_objects_left_alone() -> None:
    """Keep what was there before this module, such as all that was imported, out of garbage collection.

    `Trainer.train()` collects garbage each time, which would take half a second for some millions of objects.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved as training saves a model; its answers are arbitrary."""
    from tiny_models import build_model  # imports what pytest's options are read without

    size = {"image_size": 32, "patch_size": 16}
    model, processor = build_model(text={"num_hidden_layers": 1}, vision=size, texts=["Detect: ship."])
    directory = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory
