# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: no network, and one thread, so that results and times do not depend on the machine."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch

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
