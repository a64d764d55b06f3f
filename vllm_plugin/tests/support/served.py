# SPDX-License-Identifier: Apache-2.0
"""The OpenAI server of vLLM in a process of its own, and clients that ask it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["Crowd", "Reply", "Server", "chat", "image_url", "serve"]


def image_url(image: Image.Image) -> str:
    """Return an image as a URL that holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def chat(text: str, *urls: str, **fields: Any) -> dict[str, Any]:
    """Return the body of a chat request with images in front of a text."""
    content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content.append({"type": "text", "text": text})
    return {"model": "geodit", "messages": [{"role": "user", "content": content}], **fields}


@dataclass(frozen=True)
class Reply:
    """An answer of the server."""

    status: int
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """What the model says."""
        text: str = self.body["choices"][0]["message"]["content"]
        return text

    @property
    def error(self) -> str:
        """What the server says was wrong."""
        return json.dumps(self.body.get("error", self.body))


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Args:
        port: Where it listens.
        process: Its process.
        log: What it wrote.
    """

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, body: Mapping[str, Any] | bytes, path: str = "/v1/chat/completions", seconds: float = 120) -> Reply:
        """Ask once."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds) as response:
                return Reply(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            return Reply(error.code, json.loads(error.read() or b"{}"))

    def go_away_from(self, body: Mapping[str, Any]) -> None:
        """Ask, and close the connection without waiting for the answer."""
        data = json.dumps(body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(head.encode() + data)


@contextlib.contextmanager
def serve(checkpoint: Path, log: Path, *options: str, seconds: float = 240) -> Iterator[Server]:
    """Run a server until the block ends.

    Raises:
        RuntimeError: If it does not come up.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not `vllm serve`: it asks for the version of the distribution `vllm`, and that for CPUs has another name.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]
    command += ["--served-model-name", "geodit", "--host", "127.0.0.1", "--port", str(port), *options]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=os.environ.copy())
    try:
        end = time.monotonic() + seconds
        while not _is_healthy(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("The server did not come up:\n" + log.read_text(errors="replace")[-4000:])
            time.sleep(0.5)
        yield Server(port, process, log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@dataclass
class Crowd:
    """Clients that ask all at once, again and again.

    Args:
        server: Who is asked.
        right: Requests, and the texts that answer them.
        malformed: Requests that are refused; every tenth is one.
    """

    server: Server
    right: Sequence[tuple[Mapping[str, Any], str]]
    malformed: Sequence[Mapping[str, Any] | bytes]
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def run(self, clients: int, seconds: float) -> None:
        """Let so many clients ask for so long."""
        end = time.monotonic() + seconds
        lock = threading.Lock()

        def ask(number: int) -> None:
            rng, count = random.Random(number), number
            while time.monotonic() < end:
                count += 1
                expected = None
                if count % 10 == 0:
                    reply = self.server.ask(rng.choice(self.malformed))
                else:
                    body, expected = rng.choice(self.right)
                    reply = self.server.ask(body)
                with lock:
                    self.statuses[reply.status] += 1
                    if expected is None:
                        if not 400 <= reply.status < 500:
                            self.wrong.append(f"malformed: {reply.status} {reply.body}"[:500])
                    elif reply.status != 200 or reply.text != expected:
                        self.wrong.append(f"{expected!r}: {reply.status} {reply.body}"[:500])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
