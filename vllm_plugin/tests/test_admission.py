# SPDX-License-Identifier: Apache-2.0
"""Requests are admitted, translated or refused before they reach the engine; no engine is started here."""

from __future__ import annotations

import base64
import copy
import io
import socket

import numpy as np
import pytest
import requests
from PIL import Image

pytest.importorskip("vllm")

from vllm import SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.exceptions import VLLMValidationError
from vllm.renderers.params import ChatParams
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.engine.input_processor import InputProcessor

import geodit_vllm
from geodit import bundled_checkpoint

PLAIN = ChatParams(chat_template_kwargs={"add_generation_prompt": True, "tokenize": False})


@pytest.fixture(scope="module")
def vllm_config():
    geodit_vllm.register()
    options = {"enforce_eager": True, "dtype": "float32", "max_model_len": 160, "max_num_seqs": 4, "block_size": 32}
    return EngineArgs(model=str(bundled_checkpoint()), **options).create_engine_config()


@pytest.fixture(scope="module")
def processor(vllm_config):
    return InputProcessor(vllm_config)


@pytest.fixture(scope="module")
def geodit_processor(processor):
    return processor._geodit_admission.defaults.processor


def picture(seed=0, size=(120, 200)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def chat(processor, text, image=None, text_first=False):
    content = [{"type": "text", "text": text}] if text is not None else []
    if image is not None:
        file = io.BytesIO()
        image.save(file, "PNG")
        url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        content.insert(len(content) if text_first else 0, {"type": "image_url", "image_url": {"url": url}})
    _, inputs = processor.renderer.render_chat([[{"role": "user", "content": content}]], PLAIN)
    return inputs[0]


def admit(processor, prompt, *, extra=None, **params):
    asked = SamplingParams(**{"max_tokens": 8, **params}, extra_args=extra)
    return processor.process_inputs("id", prompt, asked, ("generate",))


class TestPlainRequests:
    """A client that knows nothing of GeoDiT is answered."""

    @pytest.mark.parametrize("text_first", [True, False])
    def test_a_chat_is_rendered_as_by_the_processor_token_for_token(self, processor, geodit_processor, text_first):
        image = picture()
        request = admit(processor, chat(processor, "How many ships?", image, text_first))
        messages = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many ships?"}]},
        ]
        text = geodit_processor.apply_chat_template(messages, add_generation_prompt=True)
        assert request.prompt_token_ids == list(geodit_processor(images=image, text=text)["input_ids"][0])

    def test_a_chat_without_an_image(self, processor, geodit_processor):
        request = admit(processor, chat(processor, "Why?"))
        text = geodit_processor.apply_chat_template([{"role": "user", "content": "Why?"}], add_generation_prompt=True)
        assert request.prompt_token_ids == list(geodit_processor(text=text)["input_ids"][0])

    def test_text_and_token_ids_with_an_image(self, processor, geodit_processor):
        image = picture()
        ids = list(geodit_processor(images=image, text="ship", task="detect")["input_ids"][0])
        text = "<image><|user|>Detect: ship.<|assistant|>"
        for prompt in ({"prompt": text}, {"prompt_token_ids": [3, *ids[64:]]}):
            request = admit(processor, {**prompt, "multi_modal_data": {"image": image}})
            assert request.prompt_token_ids == ids

    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            ({"temperature": 0}, {"temperature": 0}),
            ({"temperature": 1.0}, {}),  # vLLM's default: the checkpoint decides
            ({"temperature": 0.5, "seed": 4}, {"temperature": 0.5, "seed": 4}),
            ({"max_tokens": 12}, {"max_new_tokens": 12}),
            ({"max_tokens": None}, {"max_new_tokens": 32}),
            ({"top_p": 0.5, "temperature": 0}, {"temperature": 0}),  # does nothing
            ({"top_k": -1, "logprobs": 2, "stop": ["x"]}, {}),
        ],
    )
    def test_vllms_own_parameters(self, processor, params, expected):
        request = admit(processor, chat(processor, "Why?"), **params)
        asked = {"max_new_tokens": 8, **expected}
        added = {"diffusion_canvas_length": asked["max_new_tokens"], "geodit": {}}
        assert request.sampling_params.extra_args == {**asked, **added}
        assert request.sampling_params.max_tokens == asked["max_new_tokens"]

    def test_all_that_is_left_of_the_context_is_what_the_server_says_where_the_client_says_nothing(self, processor):
        prompt = chat(processor, "Why?")
        rest = 160 - len(prompt["prompt_token_ids"])
        assert admit(processor, prompt, max_tokens=rest).sampling_params.max_tokens == 32

    def test_the_parameters_of_the_caller_stay_as_they_are(self, processor):
        params = SamplingParams(temperature=0.5, seed=3, max_tokens=9, extra_args={"task": "vqa"})
        before = copy.deepcopy(params)
        processor.process_inputs("id", chat(processor, "Why?"), params, ("generate",))
        assert params == before

    def test_numbers_are_drawn_by_a_seed_that_all_ranks_know(self, processor):
        seeds = {
            admit(processor, chat(processor, "Why?"), temperature=0.5).sampling_params.extra_args["seed"]
            for _ in range(2)
        }
        assert len(seeds) == 2
        assert all(0 <= seed < 2**63 for seed in seeds)


class TestTasks:
    @pytest.mark.parametrize(("task", "query"), [("detect", "ship"), ("vqa", "How many ships?"), ("caption", "")])
    def test_the_message_is_the_query(self, processor, geodit_processor, task, query):
        image = picture()
        request = admit(processor, chat(processor, query, image), extra={"task": task}, temperature=0, max_tokens=150)
        assert request.prompt_token_ids == list(geodit_processor(images=image, text=query, task=task)["input_ids"][0])
        assert request.sampling_params.max_tokens == geodit_processor.canvas_length(task)
        assert request.sampling_params.extra_args["query"] == query

    def test_the_query_may_be_a_parameter(self, processor, geodit_processor):
        image = picture()
        prompt = {"prompt": "<image>", "multi_modal_data": {"image": image}}
        request = admit(processor, prompt, extra={"task": "detect", "query": "ship"})
        assert request.prompt_token_ids == list(
            geodit_processor(images=image, text="ship", task="detect")["input_ids"][0]
        )

    def test_an_expression_travels_compiled(self, processor):
        extra = {"task": "vqa", "pattern": "[0-9]+"}
        request = admit(processor, chat(processor, "How many?"), extra=extra)
        assert isinstance(request.sampling_params.extra_args["geodit"]["automaton"], bytes)


REFUSED = {
    "top_p": ({"top_p": 0.5}, "top_p"),
    "top_k": ({"top_k": 5}, "top_k"),
    "min_p": ({"min_p": 0.5}, "min_p"),
    "n": ({"n": 2}, "n is not served"),
    "presence_penalty": ({"presence_penalty": 1.0}, "presence_penalty"),
    "frequency_penalty": ({"frequency_penalty": 1.0}, "frequency_penalty"),
    "repetition_penalty": ({"repetition_penalty": 1.5}, "repetition_penalty"),
    "min_tokens": ({"min_tokens": 2}, "min_tokens"),
    "logit_bias": ({"logit_bias": {5: 1.0}}, "logit_bias"),
    "bad_words": ({"bad_words": ["ship"]}, "bad_words"),
    "allowed_token_ids": ({"allowed_token_ids": [5]}, "allowed_token_ids"),
    "structured_outputs": ({"structured_outputs": StructuredOutputsParams(regex="a")}, "structured_outputs"),
    "logprobs": ({"logprobs": 3}, "logprobs"),
    "all logprobs": ({"logprobs": -1}, "logprobs"),
    "prompt_logprobs": ({"prompt_logprobs": 1}, "prompt_logprobs"),
    "logprob_token_ids": ({"logprob_token_ids": [5]}, "logprob_token_ids"),
    "seed": ({"seed": -7}, "seed must be"),
    "too long": ({"max_tokens": 33}, "33"),
    "unknown": ({"extra": {"tsak": "vqa"}}, "Did you mean task"),
    "vLLM's": ({"extra": {"diffusion_seed_canvas": [1]}}, "other diffusion models"),
    "admission's": ({"extra": {"geodit": {"automaton": b""}}}, "no parameter 'geodit'"),
    "guidance": ({"extra": {"guidance_scale": 2}}, "guidance is not served"),
    "steps": ({"extra": {"max_denoising_steps": 10**6}}, "at most 1024"),
    "query of a list": ({"extra": {"task": "vqa", "query": ["a"]}}, "single value"),
    "long query": ({"extra": {"task": "vqa", "query": "a" * 20_000}}, "shorten it"),
    "long prompt": ({"extra": {"task": "vqa", "query": "why " * 150}}, "shorten the prompt"),
}


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSED)
    def test_a_parameter_that_would_not_do_what_it_says(self, processor, case):
        params, message = REFUSED[case]
        prompt = chat(processor, "" if "query" in params.get("extra", {}) else "Why?")
        with pytest.raises(VLLMValidationError, match=message):
            admit(processor, prompt, **params)

    @pytest.mark.parametrize("text", ["a <image> b", "a <|mdm_mask|> b"])
    @pytest.mark.parametrize("image", [None, picture()])
    def test_tokens_that_no_message_may_smuggle_in(self, processor, text, image):
        with pytest.raises(VLLMValidationError, match="leave it out"):
            admit(processor, chat(processor, text, image))

    def test_special_tokens_in_a_query(self, processor):
        with pytest.raises(VLLMValidationError, match="special token"):
            admit(processor, chat(processor, "a<|assistant|>b", picture()), extra={"task": "vqa"})

    @pytest.mark.parametrize("ids", [[3, 3, 3, 9], [9, 2, 9], [3] * 64 + [9]])
    def test_placeholders_in_token_ids(self, processor, ids):
        with pytest.raises(VLLMValidationError, match="leave it out"):
            admit(processor, {"prompt_token_ids": ids})

    def test_more_placeholders_than_the_image_has(self, processor):
        prompt = {"prompt_token_ids": [3] * 70 + [9], "multi_modal_data": {"image": picture()}}
        with pytest.raises(VLLMValidationError, match="nowhere else"):
            admit(processor, prompt)

    def test_an_image_behind_the_text(self, processor):
        prompt = {"prompt": "Why?<image>", "multi_modal_data": {"image": picture()}}
        with pytest.raises(VLLMValidationError, match="in front of its text"):
            admit(processor, prompt)

    def test_nothing_but_an_image(self, processor):
        with pytest.raises(VLLMValidationError, match="no text"):
            admit(processor, {"prompt": "<image>", "multi_modal_data": {"image": picture()}})

    @pytest.mark.parametrize(
        "size", [{"size": {"height": 48, "width": 48}}, {"image_grid_pinpoints": [[96, 96]]}], ids=["size", "tiles"]
    )
    def test_images_that_are_prepared_in_another_way(self, processor, size):
        prompt = {"prompt": "<image>Why?", "multi_modal_data": {"image": picture()}, "mm_processor_kwargs": size}
        with pytest.raises(VLLMValidationError, match="mm_processor_kwargs"):
            admit(processor, prompt)

    def test_an_image_whose_placeholder_is_missing(self, processor):
        with pytest.raises(VLLMValidationError, match="no placeholder"):
            admit(processor, {"prompt": "Why?", "multi_modal_data": {"image": picture()}})

    def test_beam_search(self, processor):
        with pytest.raises(VLLMValidationError, match="beam search"):
            admit(processor, chat(processor, "Why?"), max_tokens=1, logprobs=2, detokenize=False)

    def test_two_messages_with_a_task(self, processor):
        messages = [
            {"role": "user", "content": "ship"},
            {"role": "assistant", "content": "none"},
            {"role": "user", "content": "harbor"},
        ]
        _, inputs = processor.renderer.render_chat([messages], PLAIN)
        with pytest.raises(VLLMValidationError, match="special token"):
            admit(processor, inputs[0], extra={"task": "detect"})

    def test_a_prompt_in_parts(self, processor):
        with pytest.raises(VLLMValidationError, match="in parts"):
            processor.process_inputs("id", {"prompt": "a"}, SamplingParams(), ("generate",), resumable=True)


class TestImages:
    def test_the_engine_is_sent_an_image_whose_first_request_was_refused(self, processor):
        image = picture(seed=5)
        with pytest.raises(VLLMValidationError):
            admit(processor, chat(processor, "ship", image), extra={"task": "nothing"})
        chat(processor, "ship", image)  # a client that is gone before its request is read
        for _ in range(2):
            request = admit(processor, chat(processor, "ship", image), extra={"task": "detect"})
            assert request.mm_features[0].data is not None


def data_url(file):
    return "data:image/png;base64," + base64.b64encode(file).decode()


def as_png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


BROKEN = {
    "no image": data_url(b"hello"),
    "nothing": data_url(b""),
    "cut off": data_url(as_png(picture())[:5000]),
    "too many pixels": data_url(as_png(Image.new("1", (20_000, 20_000)))),
    "no base64": "data:image/png;base64,@@@@",
    "on the server's disk": "file:///etc/hostname",
    "no address": "ship.png",
}


class TestBrokenImages:
    @pytest.mark.parametrize("case", BROKEN)
    def test_the_client_is_told(self, processor, case):
        content = [{"type": "image_url", "image_url": {"url": BROKEN[case]}}, {"type": "text", "text": "ship"}]
        with pytest.raises(VLLMValidationError, match="the image cannot be loaded: "):
            processor.renderer.render_chat([[{"role": "user", "content": content}]], PLAIN)

    def test_a_server_that_cannot_be_reached_is_for_another_try(self, processor):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{unused.getsockname()[1]}/ship.png"
            content = [{"type": "image_url", "image_url": {"url": address}}]
            with pytest.raises(requests.ConnectionError):
                processor.renderer.render_chat([[{"role": "user", "content": content}]], PLAIN)

    @pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3000, 2500)])
    @pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "I;16", "1", "P"])
    def test_whatever_can_be_loaded_is_seen(self, processor, mode, size):
        if mode != "RGB" and size[0] > 1:
            pytest.skip("one size of each mode is enough")
        request = admit(processor, chat(processor, "Why?", Image.new(mode, size)))
        assert request.mm_features[0].mm_position.length == 64


def test_install_wraps_once(processor):
    from geodit_vllm import admission

    wrapped = InputProcessor.process_inputs
    admission.install()
    assert InputProcessor.process_inputs is wrapped
