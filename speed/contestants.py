# SPDX-License-Identifier: Apache-2.0
"""Those whose time is taken: GeoDiT's modes, the reference loop, the autoregressive peer, and the floor.

Everything that a contestant does is in its `run`, from the pixels on: nothing that depends on the inputs is prepared
beforehand, except by the floor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from transformers import LlavaForConditionalGeneration
from transformers.generation.streamers import BaseStreamer

from geodit.configuration.types_geodit import Arguments
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.speed.floor import AttentionMode, Floor
from geodit.speed.modes import RUNS_TO_COMPILE, GenerationMode
from geodit.speed.reference import reference_generate
from geodit.speed.workloads import Inputs, Workload

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
        attention: The `attention_mode` whose least work is the floor of this.
    """

    runs_to_prepare = 0
    """Runs after which everything is compiled and captured."""
    tells = True
    """Whether it tells how far it is."""

    def __init__(self, key: str, name: str, kind: Kind, work: str, attention: AttentionMode = "prefix") -> None:
        self.key = key
        self.name = name
        self.kind = kind
        self.work = work
        self.attention = attention

    @abstractmethod
    def run(self, mark: Mark | None) -> torch.Tensor | None:
        """Answer once.

        Args:
            mark: To be told how far it is, if it can tell. With `None` nobody watches, and what is told of each step
                need not be fetched from a GPU.

        Returns:
            `(R, L)` int64, the generated tokens, or `None` if it computes none.
        """

    def run_uncaptured(self) -> torch.Tensor | None:
        """Answer once, unwatched, with every operator called one by one, for those who count operators.

        What a CUDA graph replays is not seen by them.
        """
        return self.run(None)

    def prepare(self) -> None:
        """Do what is done once for a workload and is no part of its time: compile, or capture."""
        for _ in range(self.runs_to_prepare):
            self.run(None)


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
        super().__init__(mode.key, f"GeoDiT {mode.name}", "geodit", work, mode.floor)
        self.mode = mode
        self.runs_to_prepare = mode.runs_to_prepare
        self._model = model
        self._workload = workload
        self._inputs = inputs

    def run(self, mark: Mark | None) -> torch.Tensor:
        """See [`Contestant.run`]."""
        return self._generate(mark)

    def run_uncaptured(self) -> torch.Tensor:
        """See [`Contestant.run_uncaptured`]."""
        return self._generate(None, **self.mode.uncaptured_kwargs)

    def _generate(self, mark: Mark | None, **changed: object) -> torch.Tensor:
        """Call `generate()` with the mode's arguments, of which some may be changed and others added."""
        self._model.config.attention_mode = self.mode.attention_mode
        arguments: Arguments = {
            "input_ids": self._inputs.input_ids,
            **self.mode.generation_kwargs,
            **self._image(),
            **changed,
        }
        canvases: torch.Tensor = self._model.generate(
            max_new_tokens=self._workload.canvas_length,
            max_denoising_steps=self._workload.steps,
            streamer=None if mark is None else _StepMarks(mark),
            **arguments,
        )[:, self._inputs.input_ids.shape[1] :]
        return canvases

    def _image(self) -> Arguments:
        """Return the argument of `generate()` that gives the images."""
        return {"pixel_values": self._inputs.pixel_values_of_rows}


class QuestionsTogether(GeoDiTContestant):
    """`generate()` with all questions of an image as one batch, after an image that `encode_image` encoded once."""

    def __init__(
        self, model: GeoDiTForMaskedDiffusion, mode: GenerationMode, workload: Workload, inputs: Inputs
    ) -> None:
        super().__init__(model, mode, workload, inputs)
        self.key += "-together"
        self.name += ", in one call"

    def _image(self) -> Arguments:
        return {"image_prefix": self._model.encode_image(self._inputs.pixel_values)}


class ReferenceContestant(Contestant):
    """[`reference_generate`], which recomputes everything in every step."""

    def __init__(self, model: GeoDiTForMaskedDiffusion, workload: Workload, inputs: Inputs) -> None:
        tokens = workload.prefix_length + workload.canvas_length
        work = f"{workload.steps} {_plural('step', workload.steps)} of {tokens} tokens"
        super().__init__("reference", "reference loop", "reference", work, "full")
        self._model = model
        self._workload = workload
        self._inputs = inputs

    def run(self, mark: Mark | None) -> torch.Tensor:
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

    Its prefix ends with the first token, which comes out of the same pass. With a static cache on a GPU Transformers
    compiles the passes after it by itself.

    Args:
        peer: The model, see [`~geodit.speed.models.autoregressive_peer`].
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
        compiled = cache == "static" and peer.device.type == "cuda"
        name = f"autoregressive, {cache} cache{', compiled' if compiled else ''}"
        super().__init__(f"autoregressive-{cache}", name, "autoregressive", work)
        self.runs_to_prepare = RUNS_TO_COMPILE if compiled else 0
        self._peer = peer
        self._cache = cache
        self._workload = workload
        self._inputs = inputs

    def run(self, mark: Mark | None) -> torch.Tensor:
        """See [`Contestant.run`]."""
        return self._generate(mark)

    def run_uncaptured(self) -> torch.Tensor:
        """See [`Contestant.run_uncaptured`]."""
        return self._generate(None, disable_compile=True)

    def _generate(self, mark: Mark | None, **changed: object) -> torch.Tensor:
        tokens: torch.Tensor = self._peer.generate(
            input_ids=self._inputs.input_ids,
            attention_mask=torch.ones_like(self._inputs.input_ids),
            pixel_values=self._inputs.pixel_values_of_rows,
            do_sample=False,
            max_new_tokens=self._workload.canvas_length,
            # The peer has no EOS: it goes on to the last token.
            cache_implementation=self._cache,
            streamer=None if mark is None else _TokenMarks(mark),
            **changed,
        )[:, self._inputs.input_ids.shape[1] :]
        return tokens


class RowsApart(Contestant):
    """Another contestant's way, with one call for each row.

    Args:
        calls: One contestant a row, all of the same sort.
    """

    tells = False

    def __init__(self, calls: list[Contestant]) -> None:
        first = calls[0]
        name, work = f"{first.name}, in {len(calls)} calls", f"{len(calls)} x {first.work}"
        super().__init__(f"{first.key}-apart", name, first.kind, work, first.attention)
        self._calls = calls

    def run(self, mark: Mark | None) -> torch.Tensor:
        """See [`Contestant.run`]. Each call has a prefix of its own, so nothing is marked."""
        del mark
        return _joined(call.run(None) for call in self._calls)

    def run_uncaptured(self) -> torch.Tensor:
        """See [`Contestant.run_uncaptured`]."""
        return _joined(call.run_uncaptured() for call in self._calls)

    def prepare(self) -> None:
        """Prepare one of the calls: they are alike."""
        self._calls[0].prepare()


class FloorContestant(Contestant):
    """The [`Floor`] of the workload.

    Args:
        model: Gives the weights.
        workload: What is asked.
        attention: The `attention_mode` whose least work it is.
        graphed: Whether it is captured in CUDA graphs, so that no operation waits for Python. Anywhere but on CUDA it
            is not, and takes the time of the other one.
    """

    def __init__(
        self,
        model: GeoDiTForMaskedDiffusion,
        workload: Workload,
        attention: AttentionMode = "prefix",
        graphed: bool = False,
    ) -> None:
        key, name = ("floor", "floor") if attention == "prefix" else ("full-floor", "floor of full attention")
        work = "bare products and attention"
        if graphed:
            key, name = f"{key}-graphed", f"{name}, graphed"
        super().__init__(key, name, "floor", work, attention)
        self._floor = Floor(model, workload, attention)
        self._graphed = graphed

    def run(self, mark: Mark | None) -> None:
        """See [`Contestant.run`]."""
        self._floor.run(mark)

    def prepare(self) -> None:
        """Capture it, if it is to be."""
        if self._graphed:
            self._floor.capture()


class _StepMarks(BaseStreamer):
    """Hears from GeoDiT's `generate()` that the prefix is done, and then of every step."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self._step = 0

    def put(self, value: torch.Tensor) -> None:
        """Take the prompts before the first step, and the answers after the last."""
        del value
        if self._step == 0:
            self._mark(0)

    def put_draft(self, value: torch.Tensor) -> None:
        """Take the canvas after each step."""
        del value
        self._step += 1
        self._mark(self._step)

    def end(self) -> None:
        """Do nothing: nothing is left to mark."""


class _TokenMarks(BaseStreamer):
    """Hears of every token of an autoregressive model; the first one ends the prefix."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self._tokens = -1

    def put(self, value: torch.Tensor) -> None:
        """Take the prompts at the start, and then one token of each row at a time."""
        del value
        if self._tokens >= 0:
            self._mark(self._tokens)
        self._tokens += 1

    def end(self) -> None:
        """Do nothing: nothing is left to mark."""


def _joined(answers: Iterable[torch.Tensor | None]) -> torch.Tensor:
    return torch.cat([answer for answer in answers if answer is not None])


def _plural(noun: str, count: int) -> str:
    if count == 1:
        return noun
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
