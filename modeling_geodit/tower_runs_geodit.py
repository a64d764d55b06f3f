# SPDX-License-Identifier: Apache-2.0
"""The vision tower, its layers run one by one, so that one of them can be compiled for all; or captured as a whole.

Shapes: n patches of a picture, d_v width of the tower.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.siglip.modeling_siglip import SiglipEncoder, SiglipEncoderLayer, SiglipVisionModel

from geodit.modeling_geodit.compiled_layers_geodit import RunLayer
from geodit.modeling_geodit.graph_capture_geodit import Capture, CapturedCalls
from geodit.modeling_geodit.module_checks_geodit import modules_in, weights_of, why_not_as_they_are

__all__ = ["CapturedTower", "RunTower", "TowerByLayer", "is_stock_tower", "run_tower_layer"]

RunTower = Callable[..., BaseModelOutputWithPooling]
"""Takes what [`TowerByLayer`] takes."""


def run_tower_layer(layer: torch.nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """Run a layer on `(pictures, n, d_v)`."""
    output: torch.Tensor = layer(hidden_states, None)
    return output


class TowerByLayer:
    """Does what a [`~transformers.SiglipVisionModel`] does.

    Args:
        tower: The tower, see [`is_stock_tower`].
        run: Runs a layer, as [`run_tower_layer`] does.
    """

    def __init__(self, tower: SiglipVisionModel, run: RunLayer) -> None:
        self._tower = tower
        self._run = run

    def __call__(
        self, pixel_values: torch.Tensor, output_hidden_states: Sequence[int] = (), return_dict: bool = True
    ) -> BaseModelOutputWithPooling:
        """Encode pictures.

        Args:
            pixel_values: `(pictures, 3, H, W)`.
            output_hidden_states: The hidden states that are kept, counted as Transformers counts them: 0 is what goes
                into the first layer. The others are `None`.
            return_dict: True, as the tower takes it.
        """
        del return_dict
        layers = self._tower.encoder.layers
        kept: list[torch.Tensor | None] = [None] * (len(layers) + 1)
        wanted = {index % len(kept) for index in output_hidden_states}
        hidden_states = self._tower.embeddings(pixel_values)
        for index, layer in enumerate(layers):
            if index in wanted:
                kept[index] = hidden_states
            hidden_states = self._run(layer, hidden_states)
        if len(layers) in wanted:
            kept[-1] = hidden_states
        last_hidden_state = self._tower.post_layernorm(hidden_states)
        return BaseModelOutputWithPooling(
            last_hidden_state=last_hidden_state,
            pooler_output=self._tower.head(last_hidden_state) if self._tower.use_head else None,
            hidden_states=tuple(kept) if wanted else None,  # type: ignore[arg-type]
        )


class CapturedTower:
    """A tower that is captured for each number of pictures which it is given more than once.

    Args:
        tower: Does what a [`~transformers.SiglipVisionModel`] does, by tensors alone.
        capture: Captures it.
    """

    def __init__(self, tower: RunTower, capture: Capture) -> None:
        self._tower = tower
        self._capture = capture
        self._calls: dict[tuple[int, ...], CapturedCalls[BaseModelOutputWithPooling]] = {}
        self._in_use = threading.Lock()

    def __call__(
        self, pixel_values: torch.Tensor, output_hidden_states: Sequence[int] = (), return_dict: bool = True
    ) -> BaseModelOutputWithPooling:
        """See [`TowerByLayer.__call__`]."""
        wanted = tuple(output_hidden_states)
        run = partial(self._tower, output_hidden_states=wanted, return_dict=return_dict)
        if not self._in_use.acquire(blocking=False):
            return run(pixel_values)
        try:
            if wanted not in self._calls:
                self._calls[wanted] = CapturedCalls(run, self._capture)
            return _copy(self._calls[wanted](pixel_values))
        finally:
            self._in_use.release()


def _copy(outputs: BaseModelOutputWithPooling) -> BaseModelOutputWithPooling:
    """Copy what the next pictures overwrite."""

    def copied(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor.clone()

    hidden_states = outputs.hidden_states
    return BaseModelOutputWithPooling(
        last_hidden_state=copied(outputs.last_hidden_state),
        pooler_output=copied(outputs.pooler_output),
        hidden_states=None if hidden_states is None else tuple(map(copied, hidden_states)),  # type: ignore[arg-type]
    )


def is_stock_tower(tower: SiglipVisionModel) -> bool:
    """Return whether a tower is SigLIP's as Transformers has it: no hooks, adapters, shards or quantized weights."""
    if type(tower) is not SiglipVisionModel or type(tower.encoder) is not SiglipEncoder:
        return False
    if any(type(layer) is not SiglipEncoderLayer for layer in tower.encoder.layers):
        return False
    if tower.config._attn_implementation != "sdpa":
        return False
    modules = modules_in(tower)
    weights = weights_of(modules)
    return all(weight.is_floating_point() for weight in weights) and why_not_as_they_are(weights, modules) is None
