# SPDX-License-Identifier: Apache-2.0
"""A closed set of answers: every answer is one of them, and each has a probability.

Shapes: B rows, L canvas length, C answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from geodit.modeling_geodit.grids_geodit import DeviceTensors
from geodit.modeling_geodit.patterns_geodit import AutomatonPattern, CanvasLogits, TokenColumns

__all__ = ["ChoicesPattern"]


class ChoicesPattern(AutomatonPattern):
    """One of some answers.

    Args:
        answers: The tokens of each answer, without EOS.
        eos_token_ids: Tokens that end an answer.

    Raises:
        ValueError: If there is no answer, or a token that ends an answer stands in one.
    """

    def __init__(self, answers: Sequence[Sequence[int]], eos_token_ids: Sequence[int]) -> None:
        transitions: list[dict[int, int]] = [{}]
        accepting = []
        for answer in answers:
            state = 0
            for token in answer:
                if token not in transitions[state]:
                    transitions[state][token] = len(transitions)
                    transitions.append({})
                state = transitions[state][token]
            accepting.append(state)
        super().__init__(transitions, accepting, eos_token_ids)
        self._answers = tuple(tuple(answer) for answer in answers)
        self.num_answers = len(self._answers)
        self.identity = (*self.identity, self._answers)
        self._words = TokenColumns(sorted({token for answer in answers for token in answer}))
        self._ends = TokenColumns(sorted(eos_token_ids))
        self._spelled: dict[int, DeviceTensors] = {}

    def answer_probabilities(self, known: CanvasLogits) -> torch.Tensor:
        """Return the probability of each answer by the distributions of the positions, independent of each other.

        An answer is the whole canvas, with the EOS after it; that of an answer longer than the canvas is 0.

        Args:
            known: A canvas where nothing is committed.

        Returns:
            `(B, C)` float32, which sum to 1.
        """
        device, length = known.canvas.device, known.canvas.shape[1]
        if length not in self._spelled:
            self._spelled[length] = DeviceTensors(*self._spell(length))
        spelled, too_long = self._spelled[length].on(device)
        of_ends = known.columns(self._ends, 0.0).logsumexp(-1, keepdim=True)
        scores = torch.cat([known.columns(self._words, 0.0), of_ends], dim=-1)
        places = torch.arange(length, device=device)
        totals = scores[:, places, spelled].sum(-1)  # (B, C)
        return totals.masked_fill(too_long, -torch.inf).softmax(-1).float()

    def _spell(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`(C, length)` int64, where each token of each answer is among the columns; `(C,)` bool, is it too long."""
        place_of = {token: place for place, token in enumerate(self._words.token_ids)}
        end = len(place_of)
        spelled = [
            [place_of[token] for token in answer[:length]] + [end] * (length - len(answer)) for answer in self._answers
        ]
        return torch.tensor(spelled), torch.tensor([len(answer) > length for answer in self._answers])
