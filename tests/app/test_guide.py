# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/app.md, from Python and with curl, against the page."""

import json
import shutil
import subprocess

import pytest

from guide_reader import CHECKOUT, blocks_of

ADDRESS = "http://127.0.0.1:7860"


@pytest.fixture
def examples(page, harbor, tmp_path, monkeypatch):
    """The blocks of the guide by language, in a folder with the image that they ask about."""
    shutil.copy(harbor, tmp_path)
    monkeypatch.chdir(tmp_path)
    found = [
        (language, text.replace(ADDRESS, page.url.rstrip("/")))
        for language, text in blocks_of("docs/app.md", {})
        if ADDRESS in text
    ]
    assert [language for language, _ in found] == ["python", "bash"]
    return dict(found)


def test_python(examples):
    names = {}
    exec(compile(examples["python"], "docs/app.md", "exec"), names)
    names["client"].close()
    assert names["answer"]["prediction"]["boxes"]
    assert names["answer"]["geojson"]["features"]
    assert "[M]" not in names["tokens"]
    assert set(names["found"]["summary"]["objects"]) == {"ship", "tank"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(examples):
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", examples["bash"]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    event, data = [line for line in done.stdout.splitlines() if line][-2:]
    assert event == "event: complete"
    (answer,) = json.loads(data.removeprefix("data: "))
    assert answer["prediction"]["labels"] == ["ship", "ship"]


def test_the_functions_that_the_guide_lists(page):
    import httpx

    described = httpx.get(f"{page.url}gradio_api/info").json()["named_endpoints"]
    assert set(described) == {"/ask", "/denoise", "/scene", "/models"}
    lines = (CHECKOUT / "docs" / "app.md").read_text(encoding="utf-8").splitlines()
    rows = {line.split("|")[1].strip(" `"): line for line in lines if line.startswith("| `")}
    for name in ("ask", "scene"):
        names = [one["parameter_name"] for one in described[f"/{name}"]["parameters"]]
        assert names[0] == "image"
        assert ", ".join(f"`{one}`" for one in names[1:]) in rows[name]
