# SPDX-License-Identifier: Apache-2.0
"""No code of a checkpoint runs unless it was asked for, whichever of its files names some, and whatever is typed."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from pathlib import Path

Path(__file__).with_name("ran").touch()
Path({canary!r}).touch()


class Foreign:
    def __init__(self, *args, **kwargs):
        pass
"""
# The files that may name code, with what has Transformers look for it.
FILES = {
    "tokenizer": (
        "tokenizer_config.json",
        {"tokenizer_class": "ForeignTokenizer", "auto_map": {"AutoTokenizer": ["foreign.Foreign", "foreign.Foreign"]}},
    ),
    "image_processor": (
        "preprocessor_config.json",
        {
            "image_processor_type": "ForeignImageProcessor",
            "auto_map": {"AutoImageProcessor": "foreign.Foreign"},
        },
    ),
    "processor": (
        "processor_config.json",
        {"processor_class": "ForeignProcessor", "auto_map": {"AutoProcessor": "foreign.Foreign"}},
    ),
    "config": (
        "config.json",
        {"auto_map": {"AutoConfig": "foreign.Foreign", "AutoModel": "foreign.Foreign"}},
    ),
    "generation": ("generation_config.json", {}),
}
WAYS = {
    "processor": "geodit.GeoDiTProcessor.from_pretrained(folder)",
    "pipeline": "geodit.GeoDiTPipeline.from_pretrained(folder)",
    "model": "geodit.GeoDiTForMaskedDiffusion.from_pretrained(folder)",
    "AutoProcessor": "transformers.AutoProcessor.from_pretrained(folder)",
    "AutoModel": "transformers.AutoModel.from_pretrained(folder)",
    "AutoConfig": "transformers.AutoConfig.from_pretrained(folder)",
}
PROGRAM = """
import json, sys
import geodit, transformers
for name, way in json.loads(sys.argv[2]).items():
    folder = sys.argv[1]
    try:
        eval(way)
        print(name, "loaded")
    except Exception as error:
        print(name, type(error).__name__, str(error).replace(chr(10), " "))
"""


@pytest.fixture
def hostile(request, checkpoint, tmp_path):
    """A checkpoint of which one file names code that leaves a trace."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, folder)
    (folder / "foreign.py").write_text(CODE.format(canary=str(tmp_path / "ran")))
    name, fields = FILES[request.param]
    file = folder / name
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**content, **fields}))
    if request.param == "image_processor":
        processor = folder / "processor_config.json"
        content = json.loads(processor.read_text())
        content["image_processor"] = {**content.get("image_processor", {}), **fields}
        processor.write_text(json.dumps(content))
    if request.param == "generation":
        (folder / "custom_generate").mkdir()
        shutil.copy(folder / "foreign.py", folder / "custom_generate" / "generate.py")
    return folder


def ways(folder: Path) -> dict[str, str]:
    """The ways to load that are ours. A processor of another class is no longer one that AutoProcessor loads by us."""
    processor = json.loads((folder / "processor_config.json").read_text())["processor_class"]
    return {name: way for name, way in WAYS.items() if processor == "GeoDiTProcessor" or name != "AutoProcessor"}


def run(folder: Path, stdin: int, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, json.dumps(ways(folder))],
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("hostile", "terminal"), [*((name, True) for name in FILES), ("tokenizer", False)], indirect=["hostile"]
)
def test_it_does_not_run_and_nobody_is_asked(hostile, tmp_path, terminal):
    if terminal:
        ours, theirs = pty.openpty()
    else:
        theirs, ours = os.pipe()
    os.write(ours, b"y\n" * 20)
    try:
        finished = run(hostile, theirs, tmp_path / "home")
    finally:
        os.close(ours)
        os.close(theirs)
    assert finished.returncode == 0, finished.stderr
    assert not (tmp_path / "ran").exists()
    assert not list((tmp_path / "home").rglob("ran"))
    assert "[y/N]" not in finished.stdout + finished.stderr
    assert len(finished.stdout.splitlines()) == len(ways(hostile))
