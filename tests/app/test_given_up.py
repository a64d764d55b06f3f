# SPDX-License-Identifier: Apache-2.0
"""A request that was given up stops computing, however it was given up."""

import threading
import time

import httpx
import pytest

from geodit.app.server import start
from geodit.app.service import Model
from geodit.pipelines.denoising_steps import DenoisingStep
from geodit.pipelines.prediction import Denoising
from geodit.pipelines.scenes.objects import ModelName

FILE = {"meta": {"_type": "gradio.FileData"}}
STEP = DenoisingStep(1, Denoising(("[M]",), (-1,), (0.0,), 1))


class EndlessPipeline:
    """A pipeline whose answers take for ever.

    Attributes:
        ended: Set when a call has ended.
        steps: How many steps were made.
    """

    def __init__(self, pipeline):
        self.processor = pipeline.processor
        self.answerer = pipeline.answerer
        self.ended = threading.Event()
        self.begun = threading.Event()
        self.steps = 0

    def __call__(self, *images, step_callback, **arguments):
        try:
            while True:
                self.steps += 1
                self.begun.set()
                step_callback(STEP)
                time.sleep(0.01)
        finally:
            self.ended.set()


@pytest.fixture
def endless(models):
    return EndlessPipeline(models["geodit-tiny"].pipeline)


@pytest.fixture
def page(endless):
    with start({"endless": Model(endless, ModelName("endless"))}, port=None) as running:
        yield running


@pytest.mark.parametrize("function", ["ask", "denoise"])
def test_a_client_that_hangs_up(page, endless, harbor, function):
    with httpx.Client(base_url=page.url, timeout=30) as http:
        (path,) = http.post("/gradio_api/upload", files={"files": harbor.open("rb")}).json()
        asked = {"image": {"path": path, **FILE}, "task": "caption"}
        event = http.post(f"/gradio_api/call/v2/{function}", json=asked).json()["event_id"]
        with http.stream("GET", f"/gradio_api/call/{function}/{event}") as events:
            next(events.iter_lines())
            assert endless.begun.wait(10)
            assert not endless.ended.is_set()
    assert endless.ended.wait(10)
    steps = endless.steps
    time.sleep(0.05)
    assert endless.steps == steps


def test_the_next_request_has_its_turn(page, endless, harbor):
    with httpx.Client(base_url=page.url, timeout=30) as http:
        (path,) = http.post("/gradio_api/upload", files={"files": harbor.open("rb")}).json()
        asked = {"image": {"path": path, **FILE}, "task": "caption"}
        for _ in range(2):
            endless.begun.clear()
            endless.ended.clear()
            event = http.post("/gradio_api/call/v2/ask", json=asked).json()["event_id"]
            with http.stream("GET", f"/gradio_api/call/ask/{event}") as events:
                next(events.iter_lines())
                assert endless.begun.wait(10)
            assert endless.ended.wait(10)


def test_the_end_of_the_program(endless, harbor):
    with start({"endless": Model(endless, ModelName("endless"))}, port=None) as running:
        http = httpx.Client(base_url=running.url, timeout=30)
        (path,) = http.post("/gradio_api/upload", files={"files": harbor.open("rb")}).json()
        http.post("/gradio_api/call/v2/ask", json={"image": {"path": path, **FILE}, "task": "caption"})
        assert endless.begun.wait(10)
    assert endless.ended.wait(10)
    http.close()
