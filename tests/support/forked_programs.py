# SPDX-License-Identifier: Apache-2.0
"""Programs that start at once: forks of one process that has imported what trains a model.

What a library reads of the environment while it is imported is as it was when the server started; each program has
arguments, an environment, a working folder and standard streams of its own otherwise.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pytest

from clients import client_environment
from hub_server.hub import Hub
from hub_server.serving import serving

TRAINING = ("geodit.trainers.grpo.trainer", "geodit.trainers.runs.recipes", "geodit.pipelines.scene_pipeline", "peft")
"""What the programs import that train, or ask about scenes."""

_SERVER = """
import gc, importlib, json, os, runpy, socket, sys, traceback

connection = socket.socket(fileno=int(sys.argv[1]))
for name in sys.argv[2:]:
    importlib.import_module(name)
gc.collect()
gc.freeze()

def receive():
    data, descriptors, _, _ = socket.recv_fds(connection, 2**16, 3)
    while data and not data.endswith(b"\\n"):
        data += connection.recv(2**16)
    return (json.loads(data) if data else None), descriptors

def become(program, descriptors):
    connection.close()
    for target, descriptor in enumerate(descriptors):
        if descriptor != target:
            os.dup2(descriptor, target)
            os.close(descriptor)
    if program["stdin_closed"]:
        os.close(0)
        sys.stdin = None
    os.environ.clear()
    os.environ.update(program["environment"])
    os.chdir(program["folder"])
    sys.argv = program["arguments"]
    sys.path.insert(0, os.path.dirname(sys.argv[0]))
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

while True:
    request, descriptors = receive()
    if request is None:
        break
    if "pid" in request:
        answer = os.waitstatus_to_exitcode(os.waitpid(request["pid"], 0)[1])
    else:
        answer = os.fork()
        if not answer:
            become(request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
    connection.sendall(json.dumps(answer).encode() + b"\\n")
"""


class ForkedProgram:
    """A program that runs.

    Attributes:
        pid: Its process.
    """

    def __init__(
        self, server: ForkedPrograms, arguments: list[str], pid: int, output: tuple[IO[str], IO[str]]
    ) -> None:
        self.pid = pid
        self._server = server
        self._arguments = arguments
        self._output = output

    def wait(self, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Wait until it has ended.

        Args:
            timeout: Seconds to wait. It is killed after them.

        Raises:
            TimeoutError: It has not ended in time.
        """
        try:
            returncode = self._server._ask({"pid": self.pid}, timeout=timeout)
        except TimeoutError:
            self.kill()
            self._server._receive()  # the answer, which is due now
            raise
        texts = []
        for file in self._output:
            file.seek(0)
            texts.append(file.read())
            file.close()
        return subprocess.CompletedProcess(self._arguments, returncode, *texts)

    def kill(self) -> None:
        """End it by SIGKILL. It has to be waited for nevertheless."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send it a signal, such as SIGTERM."""
        os.kill(self.pid, number)


class ForkedPrograms:
    """Starts programs as forks of a process that has imported some modules. Use it as a context manager.

    Args:
        imports: Names of the modules.
        environment: Environment of that process.
    """

    def __init__(self, imports: Sequence[str], environment: Mapping[str, str]) -> None:
        # A thread would be lost by a fork, and so would a connection to a GPU, which asking for one opens otherwise.
        self._environment = {**environment, "OMP_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        self._imports = imports

    def __enter__(self) -> ForkedPrograms:
        self._socket, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            command = [sys.executable, "-c", _SERVER, str(descriptor), *self._imports]
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env=self._environment, pass_fds=[descriptor]
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._server.wait()

    def start(
        self,
        arguments: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stdin: int | None = None,
        stdin_closed: bool = False,
    ) -> ForkedProgram:
        """Start a program.

        Args:
            arguments: The file of a Python program, and its arguments.
            environment: Variables to set beside those of the server.
            folder: Its working folder, by default that of this process.
            stdin: Descriptor that it reads from, by default none that holds anything.
            stdin_closed: Whether it has no standard input at all.
        """
        words = [str(word) for word in arguments]
        request = {
            "arguments": words,
            "environment": {**self._environment, **(environment or {})},
            "folder": str(folder or Path.cwd()),
            "stdin_closed": stdin_closed,
        }
        output = (_temporary_file(), _temporary_file())
        with Path(os.devnull).open() as nothing:
            descriptors = [nothing.fileno() if stdin is None else stdin, *(file.fileno() for file in output)]
            pid = self._ask(request, descriptors)
        return ForkedProgram(self, words, pid, output)

    def run(self, arguments: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
        """Start a program as by `start`, and wait until it has ended."""
        return self.start(arguments, **options).wait()

    def run_ranks(self, arguments: Sequence[str | Path], number: int = 2) -> list[subprocess.CompletedProcess[str]]:
        """Run a program in a number of processes that compute together, as `torchrun` starts them."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        sizes = {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ranks = [
            self.start(arguments, environment={**sizes, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(number)
        ]
        ended: list[subprocess.CompletedProcess[str]] = []
        for rank in ranks:
            if any(before.returncode for before in ended):
                rank.kill()  # it would wait for one that has failed
            ended.append(rank.wait())
        return ended

    def _ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = (), timeout: float = 300.0) -> int:
        self._socket.settimeout(timeout)
        message = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(self._socket, [message], descriptors) if descriptors else 0
        self._socket.sendall(message[sent:])
        return self._receive()

    def _receive(self) -> int:
        answer = b""
        while not answer.endswith(b"\n"):
            received = self._socket.recv(2**16)
            assert received, "the server has ended"
            answer += received
        return json.loads(answer)


def _temporary_file() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8")


@pytest.fixture(scope="session")
def hub_of_programs() -> Iterator[Hub]:
    """What the programs below take for the Hub."""
    with serving() as hub:
        yield hub


@pytest.fixture(scope="session")
def home_of_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they keep what they download."""
    return tmp_path_factory.mktemp("home-of-programs")


@pytest.fixture(scope="session")
def training_programs(hub_of_programs: Hub, home_of_programs: Path) -> Iterator[ForkedPrograms]:
    """Starts programs that train or ask about scenes, and may import `tests/support` and the trainers' conftest."""
    environment = hub_of_programs.environment(home_of_programs, token=None)
    path = client_environment()["PYTHONPATH"]
    with ForkedPrograms(TRAINING, environment | {"PYTHONPATH": path}) as programs:
        yield programs
