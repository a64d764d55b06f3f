# SPDX-License-Identifier: Apache-2.0
"""Many at once: every answer is right, and nothing is left. `benchmarks/app_load.py` does more of it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from gradio_client import Client, handle_file

from geodit.app.server import Limits, start

QUESTIONS = [("detect", "ship"), ("detect", "tank"), ("caption", ""), ("classify", "")]


def test_four_clients_at_once(models, harbor):
    pipeline = models["geodit-tiny"].pipeline
    expected = {question: pipeline(harbor, *question, seed=0)[0].to_dict() for question in QUESTIONS}
    with start(models, port=None, limits=Limits(keep_seconds=0.5)) as page:
        barrier = threading.Barrier(4)

        def ask(number):
            client = Client(page.url, verbose=False)
            barrier.wait(30)
            answers = []
            for turn in range(3):
                question = QUESTIONS[(number + turn) % len(QUESTIONS)]
                answer = client.predict(handle_file(str(harbor)), *question, api_name="/ask")
                answers.append((question, answer["prediction"]))
            client.close()
            return answers

        with ThreadPoolExecutor(4) as clients:
            for answers in clients.map(ask, range(4)):
                for question, prediction in answers:
                    assert prediction == expected[question]
        folder = page.service.uploads.folder
        end = time.monotonic() + 30
        while [path for path in folder.iterdir() if path.name != "examples"] and time.monotonic() < end:
            threading.Event().wait(0.1)
        assert [path.name for path in folder.iterdir()] == ["examples"]
