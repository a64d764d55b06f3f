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

from geodit.speed.floor import AttentionMode

__all__ = ["MODES", "QUESTION_MODES", "RUNS_TO_COMPILE", "GenerationMode"]

RUNS_TO_COMPILE = 3
"""Runs after which what is compiled runs at its full speed: it is compiled in the first, and on a GPU warmed up and
captured in the next ones."""


@dataclass(frozen=True)
class GenerationMode:
    """One way to generate.

    Args:
        key: Short name, for options and JSON.
        name: What tables call it.
        attention_mode: Of the configuration.
        generation_kwargs: Arguments of `generate()` beside those that the workload gives.
        by_default: Whether it takes part where no contestants are named.
        uncaptured_kwargs: Arguments changed so that the same work is done without CUDA graphs, operator by operator. A
            graph that is captured while operators are counted stays, and holds what ran then: uncompiled layers.
        runs_to_prepare: Runs before those that are timed, beside the ones that all have.
    """

    key: str
    name: str
    attention_mode: AttentionMode
    generation_kwargs: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    by_default: bool = True
    uncaptured_kwargs: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    runs_to_prepare: int = 0

    @property
    def floor(self) -> AttentionMode:
        """The mode whose least work bounds that of this one: between refreshes, full attention is not exact."""
        exact = self.generation_kwargs.get("prefix_refresh_steps", 1) == 1
        return self.attention_mode if exact else "prefix"


_PREFIX: AttentionMode = "prefix"
_FULL: AttentionMode = "full"

MODES: tuple[GenerationMode, ...] = (
    GenerationMode("full", "full, exact", "full", {"capture_step": False}),
    GenerationMode(
        "refreshed-4",
        "full, refreshed every 4 steps",
        "full",
        {"prefix_refresh_steps": 4},
        uncaptured_kwargs={"capture_step": False},
    ),
    GenerationMode("prefix-uncached", "prefix, uncached", "prefix", {"use_cache": False}),
    GenerationMode("prefix-cached", "prefix, cached", "prefix", {"use_cache": True, "capture_step": False}),
    # Not by default: off CUDA these steps compute what is not needed.
    *(
        GenerationMode(
            key,
            name,
            attention_mode,
            {"capture_step": True},
            by_default=False,
            uncaptured_kwargs={"capture_step": False},
            runs_to_prepare=1,
        )
        for key, name, attention_mode in (
            ("graphed", "prefix, cached, graphed", _PREFIX),
            ("full-graphed", "full, exact, graphed", _FULL),
        )
    ),
    # Not by default: they take a compiler, which the first run waits for.
    GenerationMode(
        "compiled",
        "prefix, cached, compiled",
        "prefix",
        {"compile_step": True},
        by_default=False,
        uncaptured_kwargs={"compile_step": False, "capture_step": False},
        runs_to_prepare=RUNS_TO_COMPILE,
    ),
    GenerationMode(
        "full-compiled",
        "full, exact, compiled",
        "full",
        {"compile_step": True, "capture_step": True},
        by_default=False,
        uncaptured_kwargs={"compile_step": False, "capture_step": False},
        runs_to_prepare=RUNS_TO_COMPILE,
    ),
)
"""All modes; they share one set of weights."""

QUESTION_MODES: tuple[GenerationMode, ...] = tuple(
    mode for mode in MODES if mode.key in ("full", "prefix-cached", "graphed")
)
"""Those that are compared where one image is asked several questions."""
