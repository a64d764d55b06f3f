# SPDX-License-Identifier: Apache-2.0
"""Strings that end an answer, as `generate()` of Transformers takes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

__all__ = ["StopStrings"]


class StopStrings:
    """Ends answers with the first of some strings in them.

    Args:
        strings: One or several, none of them empty.
        tokenizer: Decodes the canvas.

    Raises:
        ValueError: for an empty string, none at all, or no tokenizer.
    """

    def __init__(self, strings: str | Sequence[str], tokenizer: PreTrainedTokenizerBase | None) -> None:
        self._strings = [strings] if isinstance(strings, str) else list(strings)
        if not self._strings or not all(isinstance(string, str) and string for string in self._strings):
            raise ValueError(f"stop_strings must be a string or several, none of them empty, but is {strings!r}.")
        if tokenizer is None:
            raise ValueError(
                "stop_strings are looked for in the text of an answer: give generate() the tokenizer, too."
            )
        self._tokenizer = tokenizer

    def lengths(self, canvas: torch.Tensor, eos_token_ids: Sequence[int]) -> list[int]:
        """Count the tokens of each answer up to and with its first stop string.

        Args:
            canvas: `(B, L)` int64, finished.
            eos_token_ids: The tokens that end an answer; nothing after them is looked at.

        Returns:
            B numbers; L where an answer has no stop string.
        """
        return [self._length(row, eos_token_ids) for row in canvas.tolist()]

    def _length(self, ids: list[int], eos_token_ids: Sequence[int]) -> int:
        answer_length = next((place for place, token in enumerate(ids) if token in eos_token_ids), len(ids))
        if not self._stops(ids[:answer_length]):
            return len(ids)
        return next(length for length in range(1, answer_length + 1) if self._stops(ids[:length]))

    def _stops(self, ids: list[int]) -> bool:
        text = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return any(string in text for string in self._strings)
