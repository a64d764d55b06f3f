# SPDX-License-Identifier: Apache-2.0
"""Denoising steps that are captured once and replayed: what is kept from one call of `generate()` to the next.

On a GPU a step of 32 layers launches a thousand kernels, each of which takes the host longer than the GPU. A CUDA
graph launches them all at once. It is bound to shapes and to places in memory, so a [`CapturedLoop`] owns all that a
step reads and writes, and is used again for every call with the same shapes and the same policy.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from transformers.utils import logging

from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.fixed_network_geodit import FixedNetwork
from geodit.modeling_geodit.fixed_step_geodit import FixedStep, denoise_fixed
from geodit.modeling_geodit.host_copies_geodit import index_on
from geodit.modeling_geodit.model_types_geodit import MaskedDiffusionModel
from geodit.modeling_geodit.module_checks_geodit import why_not_as_they_are
from geodit.modeling_geodit.predictors_geodit import PromptBranch
from geodit.modeling_geodit.random_geodit import RowStreams, required

__all__ = [
    "Capture",
    "CapturedLoop",
    "CapturedLoops",
    "CapturedStep",
    "Replay",
    "capture_cuda_graph",
    "run_again",
    "why_not_by_layer",
    "why_not_captured",
]

logger = logging.get_logger(__name__)

Replay = Callable[[], None]
Capture = Callable[[Callable[[], None]], Replay]
"""Captures what a function does, and returns what does it again. The function is not run."""


def capture_cuda_graph(function: Callable[[], None]) -> Replay:
    """Capture a function of tensors as a CUDA graph.

    Args:
        function: What to capture. It has run before, so that nothing is set up in it.

    Returns:
        Launches the graph.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def run_again(function: Callable[[], None]) -> Replay:
    """Capture nothing: what is replayed is the function itself. For devices without graphs."""
    return function


class CapturedStep:
    """Captures a step in its second run, and replays it from then on.

    The first run is the step itself, as what is captured must have run before. A step that cannot be captured goes on
    uncaptured, and a warning says so.

    Args:
        step: A function of tensors that stay where they are.
        capture: Captures it.
    """

    def __init__(self, step: Callable[[], None], capture: Capture = capture_cuda_graph) -> None:
        self._step = step
        self._capture = capture
        self._has_run = False
        self._replay: Replay | None = None

    def __call__(self) -> None:
        """Run the step once."""
        if not self._has_run:
            self._step()
            self._has_run = True
            return
        if self._replay is None:
            try:
                self._replay = self._capture(self._step)
            except RuntimeError as error:
                logger.warning_once(f"Denoising steps go on uncaptured, as capturing them failed: {error}")
                self._replay = self._step
        self._replay()


class CapturedLoop:
    """Network, state and step of one set of shapes and one policy.

    Args:
        networks: Predict, one for each branch of the prompts.
        state: The state that steps run on.
        random: Random numbers; `None` where nothing is drawn.
        step: The step.
        num_steps: N.
        capture: Captures the step.
        between: The step that follows [`step`] for a while, if it is another one.
        refresh_steps: After how many steps `step` is taken again.
    """

    def __init__(
        self,
        networks: Sequence[FixedNetwork],
        state: DenoisingState,
        random: RowStreams | None,
        step: FixedStep,
        num_steps: int,
        capture: Capture = capture_cuda_graph,
        between: FixedStep | None = None,
        refresh_steps: int = 1,
    ) -> None:
        self._networks = tuple(networks)
        self._state = state
        self._random = random
        self._step = step
        self._num_steps = num_steps
        self._run_step = CapturedStep(partial(step, state), capture)
        self._run_between = self._run_step if between is None else CapturedStep(partial(between, state), capture)
        self._refresh_steps = refresh_steps
        self._in_use = threading.Lock()

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self._state.lengths)

    @property
    def state(self) -> DenoisingState:
        """What steps run on."""
        return self._state

    def takes(self, branches: Sequence[PromptBranch]) -> bool:
        """Return whether prompts have no more places than the networks."""
        return all(network.takes(branch) for network, branch in zip(self._networks, branches, strict=True))

    @contextmanager
    def use(self) -> Iterator[bool]:
        """Keep others from using the loop; false if it is in use already."""
        acquired = self._in_use.acquire(blocking=False)
        try:
            yield acquired
        finally:
            if acquired:
                self._in_use.release()

    def load(
        self,
        branches: Sequence[PromptBranch],
        state: DenoisingState,
        random: RowStreams | None,
        rows: Sequence[int] | None = None,
    ) -> None:
        """Take other prompts and canvases.

        Args:
            branches: The prompts, for each network.
            state: The canvases; they stay as they are.
            random: Random numbers.
            rows: The row that each of them takes; by default there is one for each row.
        """
        index = None if rows is None else index_on(self._state.canvas.device, rows)
        for network, branch in zip(self._networks, branches, strict=True):
            network.load(branch, index)
        self._state.copy_(state, index)
        self._step.begin(index)
        if self._random is not None:
            self._random.keys[slice(None) if index is None else index] = required(random).keys

    def run_step(self) -> None:
        """Denoise the state once, computing anew all that depends on the canvas."""
        self._run_step()

    def denoise(
        self,
        branches: Sequence[PromptBranch],
        state: DenoisingState,
        random: RowStreams | None,
        begin: Callable[[], None],
        watch: Callable[[DenoisingState], None],
    ) -> DenoisingState | None:
        """Denoise canvases behind other prompts.

        Args:
            branches: The prompts, for each network.
            state: The state to begin with; it stays as it is.
            random: Random numbers.
            begin: Called when image and prompt have been run.
            watch: Called with the loop's own state after each step.

        Returns:
            What has come of the state; `None`, and nothing was called, if the loop is in use already.
        """
        with self.use() as is_free:
            if not is_free:
                return None
            self.load(branches, state, random)
            begin()
            for denoised in denoise_fixed(self._steps_in_turn(), self._state, self._num_steps):
                watch(denoised)
            return copy.deepcopy(self._state)

    def _steps_in_turn(self) -> Replay:
        """Run the step that is due, counted from the first call."""
        numbers = itertools.count()

        def run_step() -> None:
            (self._run_between if next(numbers) % self._refresh_steps else self._run_step)()

        return run_step


class CapturedLoops:
    """The loops of a model, a few of them: the one that was used longest ago makes room.

    They are bound to the memory of the model's weights, and are given up when these have moved. A copy of the model
    has none, nor has a saved one.

    Args:
        most: How many are kept at most.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._loops: OrderedDict[Hashable, CapturedLoop] = OrderedDict()
        self._weights: tuple[int, ...] = ()

    def find(self, key: Hashable, model: MaskedDiffusionModel, make: Callable[[], CapturedLoop]) -> CapturedLoop:
        """Return the loop of a key, and make it if there is none.

        Args:
            key: Shapes and policy.
            model: The model whose weights a loop reads.
            make: Makes a loop.
        """
        weights = tuple(parameter.data_ptr() for parameter in model.parameters())
        if weights != self._weights:
            self._loops.clear()
            self._weights = weights
        if key not in self._loops:
            while len(self._loops) >= self._most:
                self._loops.popitem(last=False)
            self._loops[key] = make()
        self._loops.move_to_end(key)
        return self._loops[key]

    def clear(self) -> None:
        """Give up all loops, and with them the memory that they hold."""
        self._loops.clear()

    def __len__(self) -> int:
        return len(self._loops)

    def __deepcopy__(self, memo: dict[int, object]) -> CapturedLoops:
        return CapturedLoops(self._most)

    def __reduce__(self) -> tuple[type[CapturedLoops], tuple[int]]:
        return CapturedLoops, (self._most,)


def why_not_captured(
    model: MaskedDiffusionModel, attention_mode: str, use_cache: bool, refresh_steps: int, num_blocks: int = 1
) -> str | None:
    """Say what stands against capturing the denoising steps of a model; `None` if nothing does.

    Args:
        model: A `GeoDiTForMaskedDiffusion`.
        attention_mode: Its `attention_mode`.
        use_cache: Whether keys and values of the prompt are kept.
        refresh_steps: After how many steps they are computed anew, with `"full"`.
        num_blocks: How many blocks the canvas has, or parts in which it grows.
    """
    if attention_mode == "prefix" and not use_cache:
        return "use_cache=False computes everything anew in each step"
    if attention_mode == "full" and refresh_steps > 1 and num_blocks > 1:
        return "with prefix_refresh_steps above 1, rows come to the blocks of a canvas at different times"
    return why_not_by_layer(model)


def why_not_by_layer(model: MaskedDiffusionModel) -> str | None:
    """Say what stands against running the decoder layers of a model one by one, with masks and caches of one's own.

    Args:
        model: A `GeoDiTForMaskedDiffusion`.

    Returns:
        `None` if nothing does.
    """
    if model.config.text_config._attn_implementation != "sdpa":
        return 'attention is not that of attn_implementation="sdpa"'
    # The tower and what is around the text core have no part in a step.
    part_of_a_step = (*model.model.language_model.modules(), *model.get_output_embeddings().modules())
    reason = why_not_as_they_are(model.parameters(), part_of_a_step)
    if reason is not None:
        return reason
    if getattr(model, "is_quantized", False) or getattr(model, "hf_quantizer", None) is not None:
        return "the weights are quantized"
    return None
