# SPDX-License-Identifier: Apache-2.0
"""Gives finished requests what is known of their answers, on the scheduler's side of vLLM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm.logger import init_logger
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import LogprobsLists, ModelRunnerOutput
from vllm.v1.request import Request

from geodit.configuration.types_geodit import JsonObject
from geodit_vllm.answer_channel import for_client, unpack_facts
from geodit_vllm.answers import FACTS, facts_of
from geodit_vllm.requests import read_question

if TYPE_CHECKING:
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["AnswerFacts", "AnsweredRequest"]

logger = init_logger(__name__)


@dataclass(frozen=True)
class AnsweredRequest:
    """What is known of an answer that a step has finished.

    Args:
        facts: What it carries to the client; see [`facts_of`].
        num_logprobs: How many log-probabilities a token the client asked for.
    """

    facts: JsonObject
    num_logprobs: int


class AnswerFacts:
    """Reads what the sampler has to say of canvases.

    Args:
        processor: The processor of the model.
    """

    def __init__(self, processor: GeoDiTProcessor) -> None:
        self._processor = processor

    def of_step(self, requests: Mapping[str, Request], output: ModelRunnerOutput) -> dict[str, AnsweredRequest]:
        """Return the answers that a step has finished, by request; before the scheduler forgets the requests."""
        if output.logprobs is None or not output.sampled_token_ids:
            return {}
        found = {}
        for req_id, tokens in zip(output.req_ids, output.sampled_token_ids, strict=True):
            request = requests.get(req_id)
            if tokens and request is not None and request.sampling_params is not None:
                place = output.req_id_to_index[req_id]
                facts = self._read(request, output.logprobs, place, tokens)
                found[req_id] = AnsweredRequest(facts, request.sampling_params.logprobs or 0)
        return found

    def _read(self, request: Request, logprobs: LogprobsLists, place: int, tokens: list[int]) -> JsonObject:
        assert request.sampling_params is not None
        try:
            known = unpack_facts(logprobs, place, tokens)
            return facts_of(
                self._processor,
                read_question(request.sampling_params.extra_args),
                known.tokens,
                known.confidences,
                known.end_probabilities,
                steps=known.steps_made,
                commit_steps=known.commit_steps,
                answer_probabilities=known.answer_probabilities,
            )
        except Exception:
            # The answer is right without, and an error here would end everybody's.
            logger.exception("An answer goes without its boxes and scores.")
            return {}

    @staticmethod
    def attach(answers: Mapping[str, AnsweredRequest], outputs: Iterable[EngineCoreOutputs]) -> None:
        """Write into the outputs of a step what their clients are told."""
        for client in outputs:
            for output in client.outputs:
                answer = answers.get(output.request_id)
                if answer is None:
                    continue
                if output.new_logprobs is not None:
                    output.new_logprobs = for_client(output.new_logprobs, answer.num_logprobs)
                if output.finish_reason is not None:
                    output.kv_transfer_params = {**(output.kv_transfer_params or {}), FACTS: answer.facts}
