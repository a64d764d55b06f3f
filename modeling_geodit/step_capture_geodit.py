# SPDX-License-Identifier: Apache-2.0
"""Denoising loops that are captured once and replayed: what is kept from one call of `generate()` to the next.

A graph is bound to shapes and to places in memory, so a [`CapturedLoop`] owns all that its steps read and write, and
is used again for every call with the same shapes and the same policy.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.fixed_network_geodit import FixedNetwork
from geodit.modeling_geodit.fixed_step_geodit import FixedStep, denoise_fixed
from geodit.modeling_geodit.graph_capture_geodit import Capture, CapturedStep, Replay, capture_cuda_graph
from geodit.modeling_geodit.host_copies_geodit import index_on
from geodit.modeling_geodit.model_types_geodit import MaskedDiffusionModel
from geodit.modeling_geodit.module_checks_geodit import HasModules, modules_in, weights_of, why_not_as_they_are
from geodit.modeling_geodit.predictors_geodit import PromptBranch
from geodit.modeling_geodit.random_geodit import RowStreams, required

__all__ = [
    "CapturedLoop",
    "Captures",
    "why_not_by_layer",
    "why_not_captured",
]

Captured = TypeVar("Captured")


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
        """Denoise canvases after other prompts.

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


class Captures(Generic[Captured]):
    """What of a model is captured, a few of each sort: the one that was used longest ago makes room.

    Graphs are bound to the memory of the model's weights, and are given up when these have moved. A copy of the model
    has none, nor has a saved one.

    Args:
        most: How many are kept at most.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Captured] = OrderedDict()
        self._weights: tuple[int, ...] = ()

    def find(self, key: Hashable, model: HasModules, make: Callable[[], Captured]) -> Captured:
        """Return what is captured for a key, and make it if there is nothing.

        Args:
            key: Shapes and policy.
            model: The model, or the part of it, whose weights are read.
            make: Makes what captures.
        """
        weights = tuple(weight.data_ptr() for weight in weights_of(modules_in(model)))
        if weights != self._weights:
            self._kept.clear()
            self._weights = weights
        if key not in self._kept:
            while len(self._kept) >= self._most:
                self._kept.popitem(last=False)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        return self._kept[key]

    def clear(self) -> None:
        """Give up everything, and with it the memory that it holds."""
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def __deepcopy__(self, memo: dict[int, object]) -> Captures[Captured]:
        return Captures(self._most)

    def __reduce__(self) -> tuple[type[Captures[Captured]], tuple[int]]:
        return Captures, (self._most,)


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
    part_of_a_step = modules_in(model.model.language_model, model.get_output_embeddings())
    reason = why_not_as_they_are(weights_of(modules_in(model)), part_of_a_step)
    if reason is not None:
        return reason
    if getattr(model, "is_quantized", False) or getattr(model, "hf_quantizer", None) is not None:
        return "the weights are quantized"
    return None
