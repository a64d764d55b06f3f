# SPDX-License-Identifier: Apache-2.0
"""Those whose time is taken: GeoDiT's modes, the reference loop, the autoregressive peer, and the floor.

Everything that a contestant does is in its `run`, from the pixels on: nothing that depends on the inputs is prepared
beforehand, except by the floor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from transformers import LlavaForConditionalGeneration
from transformers.generation.streamers import BaseStreamer

from geodit.benchmarking.floor import Floor
from geodit.benchmarking.modes import GenerationMode
from geodit.benchmarking.reference import reference_generate
from geodit.benchmarking.workloads import Inputs, Workload
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion

__all__ = [
    "AutoregressiveContestant",
    "Contestant",
    "FloorContestant",
    "GeoDiTContestant",
    "Kind",
    "Mark",
    "QuestionsTogether",
    "ReferenceContestant",
    "RowsApart",
]

Kind = Literal["geodit", "reference", "autoregressive", "floor"]

Mark = Callable[[int], None]
"""Called with 0 when what comes before the first step is done, and with s when the s-th step is."""


class Contestant(ABC):
    """Something that answers a workload's prompts.

    Args:
        key: Short name, for options and JSON; no two at a workload have the same.
        name: What tables call it.
        kind: What it is.
        work: What it does to answer, in a few words: contestants may do different amounts of work.
    """

    def __init__(self, key: str, name: str, kind: Kind, work: str) -> None:
        self.key = key
        self.name = name
        self.kind = kind
        self.work = work

    @abstractmethod
    def run(self, mark: Mark) -> torch.Tensor | None:
        """Answer once.

        Args:
            mark: To be told how far it is, if it can tell.

        Returns:
            `(R, L)` int64, the generated tokens, or `None` if it computes none.
        """


class GeoDiTContestant(Contestant):
    """`generate()` in one of its modes.

    Its prefix ends where `generate()` hands the prompts to its streamer: what is computed once is then computed, and
    no step has been made.

    Args:
        model: The network. Its `attention_mode` is set to the mode's at each run.
        mode: How to generate.
        workload: What is asked.
        inputs: The same as tensors.
    """

    def __init__(
        self, model: GeoDiTForMaskedDiffusion, mode: GenerationMode, workload: Workload, inputs: Inputs
    ) -> None:
        passes = len(workload.masked_per_pass)
        work = f"{passes} {_plural('step', passes)} of {workload.canvas_length} tokens"
        super().__init__(mode.key, f"GeoDiT {mode.name}", "geodit", work)
        self.mode = mode
        self._model = model
        self._workload = workload
        self._inputs = inputs

    def run(self, mark: Mark) -> torch.Tensor:
        """See [`Contestant.run`]."""
        self._model.config.attention_mode = self.mode.attention_mode
        return self._generate(mark, pixel_values=self._inputs.pixel_values_of_rows)

    def _generate(self, mark: Mark, **image: Any) -> torch.Tensor:
        model: Any = self._model
        canvases: torch.Tensor = model.generate(
            self._inputs.input_ids,
            max_new_tokens=self._workload.canvas_length,
            max_denoising_steps=self._workload.steps,
            streamer=_StepMarks(mark),
            **self.mode.generation_kwargs,
            **image,
        )[:, self._inputs.input_ids.shape[1] :]
        return canvases


class QuestionsTogether(GeoDiTContestant):
    """`generate()` with all questions of an image as one batch, behind an image that `encode_image` encoded once."""

    def __init__(
        self, model: GeoDiTForMaskedDiffusion, mode: GenerationMode, workload: Workload, inputs: Inputs
    ) -> None:
        super().__init__(model, mode, workload, inputs)
        self.key += "-together"
        self.name += ", in one call"

    def run(self, mark: Mark) -> torch.Tensor:
        """See [`Contestant.run`]."""
        model: Any = self._model
        model.config.attention_mode = self.mode.attention_mode
        return self._generate(mark, image_prefix=model.encode_image(self._inputs.pixel_values))


class ReferenceContestant(Contestant):
    """[`reference_generate`], which recomputes everything in every step."""

    def __init__(self, model: GeoDiTForMaskedDiffusion, workload: Workload, inputs: Inputs) -> None:
        tokens = workload.prefix_length + workload.canvas_length
        work = f"{workload.steps} {_plural('step', workload.steps)} of {tokens} tokens"
        super().__init__("reference", "reference loop", "reference", work)
        self._model = model
        self._workload = workload
        self._inputs = inputs

    def run(self, mark: Mark) -> torch.Tensor:
        """See [`Contestant.run`]."""
        self._model.config.attention_mode = "full"
        return reference_generate(
            self._model,
            self._inputs.input_ids,
            self._inputs.pixel_values_of_rows,
            canvas_length=self._workload.canvas_length,
            steps=self._workload.steps,
            mark=mark,
        )


class AutoregressiveContestant(Contestant):
    """Greedy generation by an autoregressive model with its key-value cache, as Transformers does it.

    Its prefix ends with the first token, which comes out of the same pass.

    Args:
        peer: The model, see [`~geodit.benchmarking.models.autoregressive_peer`].
        cache: `"dynamic"` or `"static"`, what `generate()` takes as `cache_implementation`.
        workload: What is asked.
        inputs: The same as tensors.
    """

    def __init__(
        self,
        peer: LlavaForConditionalGeneration,
        cache: Literal["dynamic", "static"],
        workload: Workload,
        inputs: Inputs,
    ) -> None:
        passes = workload.canvas_length - 1
        work = f"{passes} {_plural('pass', passes)} of 1 token"
        if workload.questions > 1:
            work += ", the image in every row"
        super().__init__(f"autoregressive-{cache}", f"autoregressive, {cache} cache", "autoregressive", work)
        self._peer = peer
        self._cache = cache
        self._workload = workload
        self._inputs = inputs

    def run(self, mark: Mark) -> torch.Tensor:
        """See [`Contestant.run`]."""
        peer: Any = self._peer
        tokens: torch.Tensor = peer.generate(
            input_ids=self._inputs.input_ids,
            attention_mask=torch.ones_like(self._inputs.input_ids),
            pixel_values=self._inputs.pixel_values_of_rows,
            do_sample=False,
            max_new_tokens=self._workload.canvas_length,
            # The peer has no EOS: it goes on to the last token.
            cache_implementation=self._cache,
            streamer=_TokenMarks(mark),
        )[:, self._inputs.input_ids.shape[1] :]
        return tokens


class RowsApart(Contestant):
    """Another contestant's way, with one call for each row.

    Args:
        calls: One contestant a row, all of the same sort.
    """

    def __init__(self, calls: list[Contestant]) -> None:
        first = calls[0]
        super().__init__(
            f"{first.key}-apart", f"{first.name}, in {len(calls)} calls", first.kind, f"{len(calls)} x {first.work}"
        )
        self._calls = calls

    def run(self, mark: Mark) -> torch.Tensor:
        """See [`Contestant.run`]. Each call has a prefix of its own, so nothing is marked."""
        del mark
        answers = [call.run(lambda step: None) for call in self._calls]
        return torch.cat([answer for answer in answers if answer is not None])


class FloorContestant(Contestant):
    """The [`Floor`] of the workload."""

    def __init__(self, model: GeoDiTForMaskedDiffusion, workload: Workload) -> None:
        super().__init__("floor", "floor", "floor", "bare products and attention")
        self._floor = Floor(model, workload)

    def run(self, mark: Mark) -> None:
        """See [`Contestant.run`]."""
        self._floor.run(mark)


class _StepMarks(BaseStreamer):
    """Hears from GeoDiT's `generate()` that the prefix is done, and then of every step."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self._step = 0

    def put(self, value: torch.Tensor) -> None:
        """Given the prompts before the first step, and the answers after the last."""
        del value
        if self._step == 0:
            self._mark(0)

    def put_draft(self, value: torch.Tensor) -> None:
        """Given the canvas after each step."""
        del value
        self._step += 1
        self._mark(self._step)

    def end(self) -> None:
        """Nothing is left to mark."""


class _TokenMarks(BaseStreamer):
    """Hears of every token of an autoregressive model; the first one ends the prefix."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self._tokens = -1

    def put(self, value: torch.Tensor) -> None:
        """Given the prompts at the start, and then a token of each row at a time."""
        del value
        if self._tokens >= 0:
            self._mark(self._tokens)
        self._tokens += 1

    def end(self) -> None:
        """Nothing is left to mark."""


def _plural(noun: str, count: int) -> str:
    if count == 1:
        return noun
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
