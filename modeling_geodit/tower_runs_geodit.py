# SPDX-License-Identifier: Apache-2.0
"""The vision tower, its layers run one by one, so that one of them can be compiled for all.

Shapes: n patches of a picture, d_v width of the tower.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.siglip.modeling_siglip import SiglipEncoder, SiglipEncoderLayer, SiglipVisionModel

from geodit.modeling_geodit.compiled_layers_geodit import RunLayer
from geodit.modeling_geodit.module_checks_geodit import why_not_as_they_are

__all__ = ["TowerByLayer", "is_stock_tower", "run_tower_layer"]


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


def is_stock_tower(tower: SiglipVisionModel) -> bool:
    """Return whether a tower is SigLIP's as Transformers has it: no hooks, adapters, shards or quantized weights."""
    if type(tower) is not SiglipVisionModel or type(tower.encoder) is not SiglipEncoder:
        return False
    if any(type(layer) is not SiglipEncoderLayer for layer in tower.encoder.layers):
        return False
    if tower.config._attn_implementation != "sdpa":
        return False
    if not all(parameter.is_floating_point() for parameter in tower.parameters()):
        return False
    return why_not_as_they_are(tower.parameters(), tower.modules()) is None
