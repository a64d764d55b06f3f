# SPDX-License-Identifier: Apache-2.0
"""The OpenAI server: plain clients, tasks, refusals, clients that go away, and a crowd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image

from geodit import GeoDiTForMaskedDiffusion, GeoDiTPipeline, GeoDiTProcessor, bundled_checkpoint
from mixed_requests import mixed_requests
from served import Crowd, Server, chat, image_url, serve

QUESTION = "How many ships are there?"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serve(bundled_checkpoint(), log, "--max-num-seqs", "16", "--max-model-len", "256", "--dtype", "float32",
               "--enforce-eager", "--block-size", "32") as running:  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def pipeline() -> GeoDiTPipeline:
    model = GeoDiTForMaskedDiffusion.from_pretrained(bundled_checkpoint(), dtype=torch.float32)
    return GeoDiTPipeline(model, GeoDiTProcessor.from_pretrained(bundled_checkpoint()), device="cpu")


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [request.image for request in mixed_requests(12) if request.image is not None]


def plain_answer(pipeline: GeoDiTPipeline, image: Image.Image, text: str, length: int) -> str:
    """What `generate()` says to a chat message."""
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    processor = pipeline.processor
    prompt = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=image, text=prompt, return_tensors="pt")
    answer = pipeline.model.generate(**inputs, max_new_tokens=length)
    return str(processor.decode_canvas(answer[0, inputs["input_ids"].shape[1] :]))


def test_a_plain_client_is_answered_as_by_generate(
    server: Server, pipeline: GeoDiTPipeline, images: list[Image.Image]
) -> None:
    text = "Describe the image."
    reply = server.ask(chat(text, image_url(images[0]), temperature=0, max_tokens=16))
    assert reply.text == plain_answer(pipeline, images[0], text, 16)
    assert reply.body["choices"][0]["finish_reason"] == "stop"
    # Without either: the checkpoint's own length.
    reply = server.ask(chat(text, image_url(images[0])))
    assert reply.text == plain_answer(pipeline, images[0], text, 32)


def test_a_task_brings_its_form_its_length_and_its_boxes(
    server: Server, pipeline: GeoDiTPipeline, images: list[Image.Image]
) -> None:
    large = images[1].resize((240, 180))
    expected = pipeline(large, task="detect", query="ship")[0]
    reply = server.ask(chat("ship", image_url(large), vllm_xargs={"task": "detect"}, temperature=0, max_tokens=4))
    facts = reply.body["kv_transfer_params"]["geodit"]
    assert reply.text == expected.text
    assert facts["parsed"] is True
    assert facts["labels"] == list(expected.labels)
    assert facts["scores"] == pytest.approx(list(expected.scores), abs=1e-5)
    for box, other in zip(facts["boxes"], expected.boxes, strict=True):
        assert box == pytest.approx(list(other), abs=1e-3)


def test_log_probabilities_are_the_confidences(server: Server, images: list[Image.Image]) -> None:
    reply = server.ask(chat(QUESTION, image_url(images[2]), logprobs=True, top_logprobs=1, vllm_xargs={"task": "vqa"}))
    facts = reply.body["kv_transfer_params"]["geodit"]
    content = reply.body["choices"][0]["logprobs"]["content"]
    shown = [torch.tensor(token["logprob"]).exp().item() for token in content]
    assert shown == pytest.approx(facts["confidences"][: len(shown)], abs=1e-5)


def test_closed_answers_have_their_probabilities(server: Server, images: list[Image.Image]) -> None:
    xargs = {"task": "vqa", "choices": ["0", "1", "2", "many"]}
    reply = server.ask(chat(QUESTION, image_url(images[3]), vllm_xargs=xargs))
    probabilities = reply.body["kv_transfer_params"]["geodit"]["answer_probabilities"]
    assert len(probabilities) == 4
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert reply.text in xargs["choices"]


def malformed(url: str) -> dict[str, dict[str, Any] | bytes]:
    """Requests that are refused, by what the refusal names."""
    text = "Describe the image."
    return {
        "remasking": chat(text, url, vllm_xargs={"remasking": "no such"}),
        "max_denoising_step": chat(text, url, vllm_xargs={"max_denoising_step": 4}),
        "confidence_threshold": chat(text, url, vllm_xargs={"confidence_threshold": 2.0}),
        "entropy_bound": chat(text, url, vllm_xargs={"entropy_bound": -1.0}),
        "block_length": chat(text, url, vllm_xargs={"block_length": 1, "max_denoising_steps": 2}),
        "guidance_scale": chat(text, url, vllm_xargs={"guidance_scale": 2.0}),
        "seed": chat(text, url, vllm_xargs={"seed": -1, "temperature": 1.0}),
        "suppress_tokens": chat(text, url, vllm_xargs={"suppress_tokens": list(range(100))}),
        "task": chat(text, url, vllm_xargs={"task": "no such"}),
        "query": chat("", url, vllm_xargs={"task": "detect"}),
        "choices": chat(text, url, vllm_xargs={"task": "vqa", "choices": [str(i) for i in range(1000)]}),
        "regular expression": chat(text, url, vllm_xargs={"task": "vqa", "pattern": "(["}),
        "max_tokens": chat(text, url, max_tokens=5000),
        "image": chat(text, url, url),
        "logprobs": chat(text, url, logprobs=True, top_logprobs=9),
        "n": chat(text, url, n=2),
    }


def test_what_cannot_be_done_is_refused_by_name(server: Server, images: list[Image.Image]) -> None:
    for name, body in malformed(image_url(images[0])).items():
        reply = server.ask(body)
        assert reply.status == 400, (name, reply)
        assert name in reply.error, (name, reply.error)
    assert server.ask(chat(QUESTION, image_url(images[0]))).status == 200


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,AAAA",
        "data:image/png;base64,this is not base64",
        "data:text/plain;base64,aGVsbG8=",
        "file:///etc/hostname",
        "ftp://example.org/harbor.png",
        "",
    ],
)
def test_what_is_no_image_is_refused(server: Server, url: str) -> None:
    reply = server.ask(chat(QUESTION, url))
    assert reply.status == 400, reply


def test_a_client_that_goes_away_takes_nothing_with_it(
    server: Server, pipeline: GeoDiTPipeline, images: list[Image.Image]
) -> None:
    for image in images[:8]:
        server.go_away_from(chat(QUESTION, image_url(image), max_tokens=32))
    reply = server.ask(chat(QUESTION, image_url(images[4]), max_tokens=8))
    assert reply.text == plain_answer(pipeline, images[4], QUESTION, 8)


def test_a_crowd_is_answered_right(
    server: Server,
    pipeline: GeoDiTPipeline,
    images: list[Image.Image],
    crowd_seconds: float,
    record_testsuite_property: Any,
) -> None:
    right = []
    for number, image in enumerate(images):
        text, length = (("Describe the image.", 16), (QUESTION, 8), ("Classify the scene.", 24))[number % 3]
        body = chat(text, image_url(image), max_tokens=length, temperature=0)
        right.append((body, plain_answer(pipeline, image, text, length)))
        expected = pipeline(image, task="detect", query="tree")[0]
        right.append((chat("tree", image_url(image), vllm_xargs={"task": "detect"}), expected.text))
    crowd = Crowd(server, right, [*malformed(image_url(images[0])).values(), b"{", b"[]"])
    crowd.run(24, crowd_seconds)
    record_testsuite_property("answers by status", dict(crowd.statuses))
    assert not crowd.wrong, crowd.wrong[:5]
    assert crowd.statuses[200] > 0
    assert set(crowd.statuses) <= {200, 400, 422}
