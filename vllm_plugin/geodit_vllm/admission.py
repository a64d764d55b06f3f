# SPDX-License-Identifier: Apache-2.0
"""Where requests are admitted or refused: the one place that changes vLLM's own code.

vLLM lets a model or plugin neither check nor translate the parameters of a request before it reaches the engine
(https://github.com/vllm-project/vllm/issues/17191, open, is about declaring `vllm_xargs`), and refuses every
temperature but 1.0, and every seed, for models that fill a canvas (https://github.com/vllm-project/vllm/pull/45418).
An error in the worker ends the engine, and with it everybody's requests. So `InputProcessor`, through which every
request passes, `vllm.LLM`'s and the server's, is wrapped: its constructor to load what requests are read by, and
`process_inputs` to read them. Models of other architectures are left alone.
"""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vllm.exceptions import VLLMValidationError
from vllm.multimodal.cache import MultiModalProcessorOnlyCache
from vllm.multimodal.cache.lru import LruKeyReplicatedSenderCache
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.input_processor import InputProcessor

from geodit_vllm.image_errors import refuse_broken_images
from geodit_vllm.messages import TaskPrompts, check_prompt
from geodit_vllm.requests import ADMITTED, check_names, pack_expression, read_request, served_defaults
from geodit_vllm.served_canvas import ServedCanvas

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig
    from vllm.multimodal.inputs import MultiModalFeatureSpec
    from vllm.v1.engine import EngineCoreRequest

__all__ = ["Admission", "install"]

_ARCHITECTURE = "GeoDiTForMaskedDiffusion"
_ATTRIBUTE = "_geodit_admission"
# vLLM's default, which it also takes where a caller says nothing.
_UNSET_TEMPERATURE = 1.0
_MAX_LOGPROBS = 2
# How vLLM asks for the next token of a single beam; of several ones it asks for more log-probabilities.
_BEAM_SEARCH = {"max_tokens": 1, "logprobs": 2, "detokenize": False}


def install() -> None:
    """Wrap `InputProcessor`; a second call does nothing."""
    if hasattr(InputProcessor.process_inputs, _ATTRIBUTE):
        return
    construct, process = InputProcessor.__init__, InputProcessor.process_inputs

    @functools.wraps(construct)
    def construct_with_admission(self: InputProcessor, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        if _ARCHITECTURE in self.model_config.architectures:
            setattr(self, _ATTRIBUTE, Admission(self.vllm_config))
            _always_send_images(self)
            refuse_broken_images()

    @functools.wraps(process)
    def process_admitted(
        self: InputProcessor, request_id: str, prompt: Any, params: Any, *args: Any, **kwargs: Any
    ) -> EngineCoreRequest:
        admission: Admission | None = getattr(self, _ATTRIBUTE, None)
        if admission is None or not isinstance(params, SamplingParams):
            return process(self, request_id, prompt, params, *args, **kwargs)
        if kwargs.get("resumable"):
            raise VLLMValidationError("a prompt that comes in parts cannot be answered: send it as a whole")
        return admission.admit(prompt, params, lambda plain: process(self, request_id, prompt, plain, *args, **kwargs))

    setattr(process_admitted, _ATTRIBUTE, True)
    InputProcessor.__init__ = construct_with_admission
    InputProcessor.process_inputs = process_admitted


def _always_send_images(processor: InputProcessor) -> None:
    """Send the engine every image, instead of a reference where it should have it already.

    vLLM notes an image as sent when it has been processed. Where the request is refused after that, by us, by
    `SamplingParams` or as its client is gone, the next request with this image ends in an error of the server
    (https://github.com/vllm-project/vllm/issues/31404, open). Processed images are still kept on this side, by the
    cache that vLLM itself uses where it runs several servers.
    """
    renderer = processor.renderer
    if isinstance(renderer.mm_processor_cache, LruKeyReplicatedSenderCache):
        renderer._mm_processor_cache = MultiModalProcessorOnlyCache(processor.model_config)


class Admission:
    """Reads requests on behalf of the engine: refuses what it could not answer, and translates the others.

    Args:
        vllm_config: vLLM's configuration.

    Raises:
        OSError, ValueError: As [`served_defaults`].
    """

    def __init__(self, vllm_config: VllmConfig) -> None:
        model_config = vllm_config.model_config
        self.defaults = served_defaults(model_config, vllm_config.additional_config)
        self._canvas = ServedCanvas.of(model_config.hf_config, model_config.max_model_len)
        self._prompts = TaskPrompts(self.defaults.processor)
        self._max_model_len = int(model_config.max_model_len)
        # What fills in for `max_tokens` where a client of the server gives none; else all that is left of the context.
        self._server_default = model_config.get_diff_sampling_param().get("max_tokens")
        self._lock = threading.Lock()  # a tokenizer is for one thread at a time

    def admit(
        self, prompt: object, params: SamplingParams, process: Callable[[SamplingParams], EngineCoreRequest]
    ) -> EngineCoreRequest:
        """Admit a request.

        Args:
            prompt: The prompt as vLLM has it.
            params: The parameters; they stay as they are.
            process: Makes the request of parameters that vLLM accepts.

        Raises:
            VLLMValidationError: If the request cannot be answered; the server answers HTTP 400.
        """
        try:
            _check_params(params)
            check_names(params.extra_args)
        except ValueError as error:
            raise VLLMValidationError(str(error), parameter="extra_args") from error
        request = process(_plain(params))
        try:
            with self._lock:
                self._translate(request, params, _text_of(prompt))
        except ValueError as error:
            raise VLLMValidationError(str(error), parameter="extra_args") from error
        return request

    def _translate(self, request: EngineCoreRequest, params: SamplingParams, text: str | None) -> None:
        """Put the prompt of a task and what was asked for into a request that vLLM has made."""
        defaults = self.defaults
        if request.prompt_token_ids is None or request.prompt_embeds is not None:
            raise ValueError("prompts of embeddings are not served: give text or token ids")
        image = self._image(request.mm_features or [])
        num_image_tokens = 0 if image is None else image.mm_position.length
        ids = list(request.prompt_token_ids)
        asked = {name: value for name, value in (params.extra_args or {}).items() if value is not None}
        for name, value in self._from_vllm(params, len(ids), "task" in asked).items():
            asked.setdefault(name, value)
        check_prompt(ids, num_image_tokens, defaults.image_token_id, defaults.mask_token_id)
        if isinstance(task := asked.get("task"), str):
            given = asked.get("query")
            if given is not None and (not isinstance(given, str) or len(given) > defaults.limits.max_text_length):
                read_request(asked, defaults)  # says what is wrong with it
            query = self._prompts.query(task, given, text, int(image is not None))
            asked["query"] = query
        canvas = read_request(asked, defaults)
        if canvas.task is not None:
            ids = ids[:num_image_tokens] + self._prompts.tokens(canvas.task, canvas.query)
        if len(ids) == num_image_tokens:
            raise ValueError("the prompt has no text: ask something about the image")
        self._canvas.check(len(ids), canvas.length)
        asked["max_new_tokens"] = canvas.length
        if canvas.draws and canvas.seed is None:
            # Drawn here, as all ranks of a worker, and a request that is begun anew, need the same numbers.
            asked["seed"] = secrets.randbits(63)
        asked["diffusion_canvas_length"] = self._canvas.width(len(ids), canvas.length)
        asked[ADMITTED] = _for_worker(image, pack_expression(asked, defaults))
        sampling = request.sampling_params
        assert sampling is not None
        sampling.extra_args = asked
        sampling.max_tokens = canvas.length
        request.prompt_token_ids = ids

    def _image(self, features: list[MultiModalFeatureSpec]) -> MultiModalFeatureSpec | None:
        """Return the image of a request, if it has one that the model can take."""
        if not features:
            return None
        if len(features) > 1 or features[0].modality != "image" or features[0].mm_position.offset != 0:
            raise ValueError("a prompt takes one image at most, in front of its text: ask about one image at a time")
        if _field(features[0], "original_sizes") is None:
            raise ValueError("the image comes without its size: send the image itself")
        return features[0]

    def _from_vllm(self, params: SamplingParams, prompt_length: int, has_task: bool) -> dict[str, Any]:
        """Return what vLLM's own parameters say, under the names of `generate()`."""
        asked: dict[str, Any] = {}
        if params.temperature != _UNSET_TEMPERATURE:
            asked["temperature"] = params.temperature
        if params.seed is not None:
            asked["seed"] = params.seed
        # Without a default of its own the server takes all that is left of the context.
        is_rest = self._server_default is None and params.max_tokens == self._max_model_len - prompt_length
        if not has_task and params.max_tokens is not None and not is_rest:
            asked["max_new_tokens"] = params.max_tokens
        return asked


def _check_params(params: SamplingParams) -> None:
    """Refuse parameters of vLLM that would do something here which they cannot do."""
    is_greedy = params.temperature == 0
    instead = {
        "n": (params.n > 1, "send the request several times, with several seeds"),
        "top_p": (params.top_p < 1 and not is_greedy, "temperature alone decides on what is drawn"),
        "top_k": (params.top_k > 0 and not is_greedy, "temperature alone decides on what is drawn"),
        "min_p": (params.min_p > 0 and not is_greedy, "temperature alone decides on what is drawn"),
        "presence_penalty": (params.presence_penalty != 0, "tokens are not written one after the other"),
        "frequency_penalty": (params.frequency_penalty != 0, "tokens are not written one after the other"),
        "repetition_penalty": (params.repetition_penalty != 1, "tokens are not written one after the other"),
        "min_tokens": (params.min_tokens > 0, "pattern can ask for longer answers"),
        "logit_bias": (bool(params.logit_bias), "suppress_tokens keeps tokens out"),
        "bad_words": (bool(params.bad_words), "suppress_tokens keeps tokens out"),
        "allowed_token_ids": (params.allowed_token_ids is not None, "choices and pattern say what answers there are"),
        "structured_outputs": (
            params.structured_outputs is not None,
            "choices and pattern say what answers there are",
        ),
        "logprobs": ((params.logprobs or 0) not in range(_MAX_LOGPROBS + 1), f"there are at most {_MAX_LOGPROBS}"),
        "logprob_token_ids": (params.logprob_token_ids is not None, "choices have probabilities"),
        "prompt_logprobs": (params.prompt_logprobs is not None, "a prompt is not predicted"),
        "prompt_logprob_token_ids": (params.prompt_logprob_token_ids is not None, "a prompt is not predicted"),
        "thinking_token_budget": (params.thinking_token_budget is not None, "max_denoising_steps bounds the work"),
        "repetition_detection": (params.repetition_detection is not None, "max_new_tokens bounds an answer"),
        "trace_decode_token_ids": (params.trace_decode_token_ids is not None, "a canvas has no order to replay"),
    }
    if all(getattr(params, name) == value for name, value in _BEAM_SEARCH.items()):
        raise ValueError("beam search is not served by a model that fills a canvas: leave use_beam_search out")
    for name, (is_given, hint) in instead.items():
        if is_given:
            raise ValueError(f"{name} is not served by a model that fills a canvas; {hint}: leave it out")


def _plain(params: SamplingParams) -> SamplingParams:
    """Return a copy that vLLM admits; what it says differently is in `extra_args` later on."""
    plain = params.clone()
    plain.temperature, plain.seed, plain.extra_args = _UNSET_TEMPERATURE, None, None
    return plain


def _text_of(prompt: object) -> str | None:
    """Return the text of a prompt, if it has one."""
    if isinstance(prompt, dict):
        prompt = prompt.get("prompt")
    return prompt if isinstance(prompt, str) else None


def _field(feature: MultiModalFeatureSpec, name: str) -> torch.Tensor | None:
    data = None if feature.data is None else feature.data.get(name)
    return None if data is None else data.data


def _for_worker(image: MultiModalFeatureSpec | None, automaton: bytes | None) -> dict[str, Any]:
    """Return what the worker needs to know beside the parameters."""
    found: dict[str, Any] = {}
    size = None if image is None else _field(image, "original_sizes")
    if size is not None:
        found["image_size"] = [int(side) for side in size.flatten().tolist()[:2]]
    if automaton is not None:
        found["automaton"] = automaton
    return found
