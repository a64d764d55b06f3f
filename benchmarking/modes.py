# SPDX-License-Identifier: Apache-2.0
"""The ways in which GeoDiT generates that are compared.

All of them take the same number of steps. Adaptive policies (`confidence_threshold` and its kin) are left out on
purpose: how many steps they take depends on how sure the network is, and one with random weights is equally unsure of
all tokens, so that its number of steps says nothing. What such a policy costs with a trained model can be read off
the grid all the same: it is the time of the mode it runs in, at the number of steps that it takes on average.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

__all__ = ["MODES", "QUESTION_MODES", "GenerationMode"]


@dataclass(frozen=True)
class GenerationMode:
    """One way to generate.

    Args:
        key: Short name, for options and JSON.
        name: What tables call it.
        attention_mode: Of the configuration.
        generation_kwargs: Arguments of `generate()` beside those that the workload gives.
        by_default: Whether it takes part where no contestants are named.
    """

    key: str
    name: str
    attention_mode: Literal["full", "prefix"]
    generation_kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    by_default: bool = True


MODES: tuple[GenerationMode, ...] = (
    GenerationMode("full", "full, exact", "full"),
    GenerationMode("refreshed-4", "full, refreshed every 4 steps", "full", {"prefix_refresh_steps": 4}),
    GenerationMode("prefix-uncached", "prefix, uncached", "prefix", {"use_cache": False}),
    GenerationMode("prefix-cached", "prefix, cached", "prefix", {"use_cache": True}),
    # Not by default: it takes a compiler, and minutes before its first run ends.
    GenerationMode("prefix-compiled", "prefix, cached, compiled", "prefix", {"compile_step": True}, by_default=False),
)
"""All modes; they share one set of weights."""

QUESTION_MODES: tuple[GenerationMode, ...] = tuple(mode for mode in MODES if mode.key in ("full", "prefix-cached"))
"""Those that are compared where one image is asked several questions."""
