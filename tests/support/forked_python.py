# SPDX-License-Identifier: Apache-2.0
"""New interpreters that are quick to start: forks of one process that has imported what takes long, and no more.

That is PyTorch and its kind. Neither `transformers` nor `geodit` is imported, so each fork imports them in an order of
its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType

_SERVER = """
import json, os, sys, traceback
import accelerate, huggingface_hub, numpy, PIL.Image, regex, safetensors.torch, tokenizers, torch, yaml
assert not {"geodit"} & {name.partition(".")[0] for name in sys.modules}
for line in sys.stdin:
    reading, writing = os.pipe()
    if not os.fork():
        os.close(reading)
        error = ""
        try:
            exec(compile(json.loads(line), "<code>", "exec"), {"__name__": "__main__"})
        except BaseException:
            error = traceback.format_exc().strip().splitlines()[-1]
        with os.fdopen(writing, "w") as pipe:
            pipe.write(error)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        error = pipe.read()
    os.wait()
    print(json.dumps(error), flush=True)
"""


class ForkedPython:
    """Runs code, each in a process of its own. Use it as a context manager."""

    def __enter__(self) -> ForkedPython:
        command = [sys.executable, "-c", _SERVER]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def run(self, code: str) -> str:
        """Run code, and return the last line of its traceback: empty if all went well."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(code) + "\n")
        self._server.stdin.flush()
        while True:
            line = self._server.stdout.readline()
            assert line, "the server has ended"
            try:
                answer = json.loads(line)
            except ValueError:
                continue  # what the code has printed
            if isinstance(answer, str):
                return answer
