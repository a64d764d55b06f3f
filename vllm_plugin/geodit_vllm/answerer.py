# SPDX-License-Identifier: Apache-2.0
"""vLLM in place of the model, for what GeoDiT's own pipelines ask: scene jobs, in one process or on a Ray cluster.

Example:
    >>> from geodit import ScenePipeline
    >>> from geodit.pipelines.ray import answer_on_ray
    >>> from geodit_vllm.answerer import VllmSpec
    >>> spec = VllmSpec("org/geodit-8b", engine={"dtype": "bfloat16"})
    >>> scenes = ScenePipeline(spec.load_answerer(), name=ModelName("org/geodit-8b"))  # reads the processor only
    >>> plan = scenes.plan(job)
    >>> result = scenes.collect(plan, answer_on_ray(plan, spec))
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from geodit.configuration.decoding_options import DecodingOptions
from geodit.modeling_geodit.random_geodit import seeded_generator
from geodit.modeling_geodit.slots_geodit import FinishedAnswer
from geodit.pipelines.answering import AnswererLostError, ImageAnswerer, Inquiry, NumberedAnswer
from geodit.processing.asking import ImageQuestion, Reply
from geodit.processing.box_scores import DEFAULT_BOX_SCORE
from geodit.processing.prefetching import prefetch
from geodit.weights.bundled import resolve_checkpoint
from geodit_vllm.answers import read_facts

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams

    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["VllmAnswerer", "VllmSpec"]

# Questions that are handed to vLLM at once at least: it decides on its batches itself.
_QUESTIONS_AT_ONCE = 64
_TENSOR_PARALLEL = "tensor_parallel_size"


@dataclass(frozen=True)
class VllmSpec:
    """What an answerer of vLLM is made of, in each worker of a job.

    Args:
        model: Directory or Hub id of a checkpoint, or `"geodit-tiny"`.
        revision: Branch, tag or commit of the model.
        engine: Further arguments of `vllm.LLM`, such as `dtype` or `tensor_parallel_size`.
        box_score: How a box is scored from the probabilities of its tokens.
    """

    model: str
    revision: str | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    box_score: str = DEFAULT_BOX_SCORE

    @property
    def num_gpus(self) -> int:
        """GPUs that one engine takes, where there are any."""
        return int(self.engine.get(_TENSOR_PARALLEL, 1))

    def load_answerer(self) -> VllmAnswerer:
        """Load the processor; the engine starts when the first question is asked.

        Raises:
            OSError, ValueError: If there is no such checkpoint, or no such score.
        """
        from geodit.processing.processing_geodit import GeoDiTProcessor

        source = resolve_checkpoint(self.model)
        processor = GeoDiTProcessor.from_pretrained(source, revision=self.revision or "main")
        return VllmAnswerer(processor, self)


class VllmAnswerer(ImageAnswerer):
    """Asks an engine of vLLM in this process.

    Args:
        processor: The processor of the model.
        spec: What the engine is made of.
        llm: An engine that is there already.

    Raises:
        ValueError: If there is no such score.
    """

    engine = "vllm"

    def __init__(self, processor: GeoDiTProcessor, spec: VllmSpec, llm: LLM | None = None) -> None:
        super().__init__(processor, spec.box_score)
        self._spec = spec
        self._llm = llm

    @property
    def dtype(self) -> str:
        """Type of the weights, as the engine is asked for it."""
        return str(self._spec.engine.get("dtype", "auto"))

    @property
    def llm(self) -> LLM:
        """The engine, which starts when it is first needed."""
        if self._llm is None:
            # In a process of its own the engine, and the memory of its GPU, would outlive a worker that is lost.
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
            from vllm import LLM

            options = {"limit_mm_per_prompt": {"image": 1}, **self._spec.engine}
            self._llm = LLM(str(resolve_checkpoint(self._spec.model)), revision=self._spec.revision, **options)
        return self._llm

    def check(self, inquiry: Inquiry) -> None:
        """Check whether the model can be asked this, and vLLM can answer it.

        Raises:
            ValueError: As [`ImageAnswerer.check`], or for options that are not served.
        """
        super().check(inquiry)
        _decoding(inquiry.options)

    def answer(
        self, images: Iterable[ImageQuestion], inquiry: Inquiry, batch_size: int = 8
    ) -> Iterator[NumberedAnswer]:
        """Ask about each image; see [`ImageAnswerer.answer`]. All queries about an image share what is known of it."""
        self.check(inquiry)
        at_once = max(batch_size, _QUESTIONS_AT_ONCE // len(inquiry.queries), 1)
        with closing(prefetch(_groups(images, at_once))) as groups:
            for group in groups:
                asked = [(image, query) for image in group for query in inquiry.queries]
                for (image, query), output in zip(asked, self._generate(asked, inquiry), strict=True):
                    yield NumberedAnswer(image.number, query, self._read(self._reply(image, query, inquiry, output)))

    def _generate(self, asked: list[tuple[ImageQuestion, str]], inquiry: Inquiry) -> list[RequestOutput]:
        """Return the answers to questions, in their order."""
        from vllm.exceptions import VLLMClientError, VLLMError

        prompts: list[Any] = [
            {"prompt": self.processor.image_token, "multi_modal_data": {"image": image.image}} for image, _ in asked
        ]
        try:
            outputs = self.llm.generate(
                prompts, [_parameters(image, query, inquiry) for image, query in asked], use_tqdm=False
            )
        except VLLMClientError:  # a question that it refuses
            raise
        except (VLLMError, RuntimeError) as error:
            self._llm = None
            raise AnswererLostError(f"the engine of vLLM has ended: {error}") from error
        return list(outputs)

    def _reply(self, image: ImageQuestion, query: str, inquiry: Inquiry, output: RequestOutput) -> Reply:
        """Read an answer as if the model had been asked here."""
        facts = read_facts(output)
        ids = torch.tensor(facts["token_ids"])
        commit_steps, probabilities = facts["commit_steps"], facts["answer_probabilities"]
        tokens = FinishedAnswer(
            index=0,
            canvas=ids,
            commit_steps=torch.full_like(ids, -1) if commit_steps is None else torch.tensor(commit_steps),
            confidences=torch.tensor(facts["confidences"], dtype=torch.float32),
            end_probabilities=torch.tensor(facts["end_probabilities"], dtype=torch.float32),
            steps_made=int(facts["steps"]),
            answer_probabilities=None if probabilities is None else torch.tensor(probabilities, dtype=torch.float32),
        )
        text = str(self.processor.decode_canvas(ids))
        answer = self.processor.post_process_generation(text, inquiry.task, image.image_size, query=query)
        return Reply(image, answer, tokens)


def _groups(images: Iterable[ImageQuestion], size: int) -> Iterator[list[ImageQuestion]]:
    remaining = iter(images)
    while group := list(itertools.islice(remaining, size)):
        yield group


def _decoding(options: DecodingOptions) -> dict[str, Any]:
    """Return the parameters of requests that options stand for.

    Raises:
        ValueError: If one of them is not served.
    """
    asked = options.generate_arguments()
    if asked.pop("guidance_scale", 1) != 1:
        raise ValueError("vLLM does not serve guidance: set guidance_scale to 1, or ask the model itself")
    if asked.pop("prefix_refresh_steps", 1) != 1:
        raise ValueError("vLLM computes the prompt anew in every step: set prefix_refresh_steps to 1")
    for name in ("capture_step", "compile_step"):  # speed, which is the engine's matter
        asked.pop(name, None)
    return asked


def _parameters(image: ImageQuestion, query: str, inquiry: Inquiry) -> SamplingParams:
    """Return the parameters of one question."""
    from vllm import SamplingParams

    options = inquiry.options
    asked = {"task": inquiry.task, "query": query, **_decoding(options)}
    if options.seed is not None:
        # The random numbers that the model itself would draw for the question.
        asked["seed"] = seeded_generator(options.seed, image.number, bits=32).initial_seed()
    if inquiry.choices is not None:
        asked["choices"] = list(inquiry.choices)
    elif inquiry.pattern is not None:
        asked["pattern"] = inquiry.pattern
    elif not options.structured:
        asked["structured"] = False
    return SamplingParams(max_tokens=None, detokenize=False, extra_args=asked)
