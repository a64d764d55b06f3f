# SPDX-License-Identifier: Apache-2.0
"""Secrets that training arguments hold, and that must not get into a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from geodit.configuration.secrets import mask_values, refuse_secrets, secrets_of_environment

__all__ = ["TokenKeptOut", "refuse_secret_arguments"]

_KEPT_IN_MEMORY = "hub_token"


class TokenKeptOut:
    """Training arguments that take no secret but `hub_token`, and that are pickled without it.

    Trainer pickles its arguments beside every model, in `training_args.bin`. Whoever loads, or copies, them takes the
    token from `HF_TOKEN` or what `hf auth login` has stored. A secret that is set later is masked in the pickle.

    Raises:
        ValueError: If another argument, such as `run_name`, has a secret; the message does not repeat it.
    """

    def __post_init__(self) -> None:
        known = _known(self.__dict__)
        for name, value in self.__dict__.items():
            if name != _KEPT_IN_MEMORY:
                refuse_secrets({name: value}, "the training arguments", known)
        post_init = getattr(super(), "__post_init__", None)
        if post_init is not None:
            post_init()

    def __getstate__(self) -> dict[str, object]:
        known = _known(self.__dict__)
        return {**{name: mask_values(value, known) for name, value in self.__dict__.items()}, _KEPT_IN_MEMORY: None}


def refuse_secret_arguments(
    recipe: str | os.PathLike[str], values: Mapping[str, object], overrides: Sequence[str]
) -> None:
    """Refuse a recipe with a token, key or password in it: it is kept beside the model and published with it.

    Args:
        recipe: Path of the recipe, for the error.
        values: What it sets.
        overrides: `--name value` words that take precedence over it.

    Raises:
        ValueError: If there is one. The message names the argument and does not repeat the secret.
    """
    known = secrets_of_environment(os.environ)
    # `hub_token` has an error of its own, whatever its value.
    shown = {name: value for name, value in values.items() if name != _KEPT_IN_MEMORY}
    refuse_secrets(shown, f"the recipe {recipe}, which is published with the model,", known)
    refuse_secrets(list(overrides), "one of the overrides of the recipe, which is published with the model,", known)


def _known(arguments: Mapping[str, object]) -> frozenset[str]:
    token = arguments.get(_KEPT_IN_MEMORY)
    return secrets_of_environment(os.environ) | ({token} if isinstance(token, str) else set())
