# SPDX-License-Identifier: Apache-2.0
"""A token of the Hub that training arguments hold, and that must not get into a file."""

from __future__ import annotations

from typing import Any


class TokenKeptOut:
    """Training arguments that are pickled without their `hub_token`.

    Trainer pickles its arguments beside every model, in `training_args.bin`. Whoever loads, or copies, them takes the
    token from `HF_TOKEN` or what `hf auth login` has stored.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "hub_token": None}
