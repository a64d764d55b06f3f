# SPDX-License-Identifier: Apache-2.0
"""`geodit app`, as a program of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("gradio")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def program(tmp_path):
    """Starts the program, in a temporary folder of its own, and ends it."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "geodit.cli", "app", *map(str, arguments)]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_page_until_it_is_told_to_end(program, checkpoint, tmp_path, number):
    process = program("--model", checkpoint, "--port", free_port())
    url = re.fullmatch(r"GeoDiT is at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", process.stdout.readline())[1]
    assert "Watch it denoise" in httpx.get(f"{url}config").text
    assert [path.name for path in tmp_path.glob("geodit-app-*/examples")] == ["examples"]
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert output == ""
    assert "Traceback" not in errors
    assert list(tmp_path.glob("geodit-app-*")) == []


def test_a_port_that_is_taken(program, checkpoint):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        _, errors = program("--model", checkpoint, "--port", port).communicate(timeout=60)
    line = errors.splitlines()[-1]  # libraries may warn above it
    assert line.startswith(f"geodit: error: cannot listen at 127.0.0.1:{port} ")
    assert line.endswith("choose another --port or --host")


def test_models_that_are_not_there(geodit, checkpoint):
    assert "there is no directory ./nothing" in geodit.fails("app", "--model", "./nothing")
    assert f"{checkpoint} is given twice: give it once" in geodit.fails(
        "app", "--model", checkpoint, "--model", checkpoint
    )


def test_without_gradio_one_line_says_what_to_install(tmp_path, checkpoint):
    code = (
        "import sys\nsys.modules['gradio'] = None\nfrom geodit.cli.main import app\napp(['app'], prog_name='geodit')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(tmp_path))
    assert done.returncode == 2
    assert done.stderr == "geodit: error: this needs the package gradio: pip install 'geodit[app]'\n"
