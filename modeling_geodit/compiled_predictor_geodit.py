# SPDX-License-Identifier: Apache-2.0
"""Logits of a canvas by one compiled decoder layer, for the loop that asks about masked positions alone.

Shapes: B rows, L canvas length, V vocabulary, K wanted positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from geodit.modeling_geodit.compiled_layers_geodit import RunLayer
from geodit.modeling_geodit.fixed_network_geodit import PrefixNetwork, round_up_places
from geodit.modeling_geodit.model_types_geodit import MaskedDiffusionModel
from geodit.modeling_geodit.predictors_geodit import CanvasPredictor, PromptBranch

__all__ = ["CompiledPredictor"]


class CompiledPredictor(CanvasPredictor):
    """A [`PrefixNetwork`] whose projection runs where a token is wanted.

    Compiled code is for fixed shapes. So rows that are finished stay in the computation, and a canvas that grows is
    there as a whole from the beginning.

    Args:
        model: A `GeoDiTForMaskedDiffusion` with `attention_mode="prefix"`.
        branch: The prompts.
        canvas_length: L at most.
        run: Runs a layer, compiled.
    """

    def __init__(self, model: MaskedDiffusionModel, branch: PromptBranch, canvas_length: int, run: RunLayer) -> None:
        num_rows = len(branch.prompt.valid)
        places = round_up_places(branch.segments.num_places)
        self._network = PrefixNetwork(model, num_rows, places, canvas_length, run)
        self._network.load(branch)
        self._rows = list(range(num_rows))
        # What rows and positions hold that are not asked about has no meaning.
        device = branch.prompt.valid.device
        self._canvas = torch.zeros(num_rows, canvas_length, dtype=torch.long, device=device)
        self._valid, self._wanted = torch.zeros(2, num_rows, canvas_length, dtype=torch.bool, device=device)

    def __call__(
        self, canvas: torch.Tensor, valid: torch.Tensor, wanted: torch.Tensor, *, begins_block: bool
    ) -> torch.Tensor:
        """See [`CanvasPredictor.__call__`]."""
        del begins_block
        length = canvas.shape[1]
        self._wanted.zero_()
        for grid, values in ((self._canvas, canvas), (self._valid, valid), (self._wanted, wanted)):
            grid[self._rows, :length] = values
        hidden_states = self._network.hidden_states(self._canvas, self._valid)
        return self._network.project(hidden_states[self._wanted])

    def keep_rows(self, rows: Sequence[int]) -> None:
        """See [`CanvasPredictor.keep_rows`]; the others stay where they are and are not asked about."""
        self._rows = [self._rows[row] for row in rows]
