# SPDX-License-Identifier: Apache-2.0
"""How answers are decoded in an evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.data.schema import check_tasks

__all__ = ["DecodingSettings"]


@dataclass(frozen=True)
class DecodingSettings:
    """Decoding parameters of an evaluation; see [`GeoDiTGenerationConfig`] for their meaning.

    The length of the canvas is not among them: it belongs to the task and comes from the processor.

    Args:
        steps: N, the ceiling on denoising steps (`max_denoising_steps`).
        remasking: What a step masks again: `"low_confidence"`, `"low_margin"`, `"high_entropy"` or `"random"`.
        confidence_threshold: Commit all above this in a step; `None` commits what the steps require.
        entropy_bound: Commit from the lowest entropy on up to this bound, in nats; `None` likewise.
        temperature: 0 is greedy.
        guidance_scale: 1 is off.
        block_length: Length of semi-autoregressive blocks; `None` for the whole canvas at once.
        prefix_refresh_steps: With `attention_mode="full"`, after how many steps image and prompt are computed anew.
        fill_after_eos: Whether all behind an EOS is EOS, at no cost; `False` denoises it as LLaDA does.
        structured: Whether every answer of boxes is well formed, whatever the network says.
        closed_set: Tasks whose answers are one of those that the data set has for the task, such as the classes of
            its scenes.
        seed: Seed of the random numbers that decoding draws. It has no effect when nothing is drawn, see
            `is_deterministic`.

    Raises:
        ValueError: If a value is not allowed.
    """

    steps: int = 8
    remasking: str = "low_confidence"
    temperature: float = 0.0
    guidance_scale: float = 1.0
    block_length: int | None = None
    seed: int = 0
    confidence_threshold: float | None = None
    entropy_bound: float | None = None
    prefix_refresh_steps: int = 1
    fill_after_eos: bool = True
    structured: bool = True
    closed_set: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed must be an integer >= 0, but is {self.seed!r}")
        check_tasks(self.closed_set or None)
        # Fail now, not in the middle of a long run. How many blocks there are depends on the task.
        GeoDiTGenerationConfig(max_new_tokens=self.block_length or 1, **self.generation_kwargs())

    @property
    def is_deterministic(self) -> bool:
        """Whether decoding draws nothing at random, so that every seed gives the same answers."""
        return self.remasking != "random" and self.temperature == 0

    def generation_kwargs(self) -> dict[str, Any]:
        """The arguments of `generate()`, without the seed."""
        return {
            "max_denoising_steps": self.steps,
            "remasking": self.remasking,
            "temperature": self.temperature,
            "guidance_scale": self.guidance_scale,
            "block_length": self.block_length,
            "confidence_threshold": self.confidence_threshold,
            "entropy_bound": self.entropy_bound,
            "prefix_refresh_steps": self.prefix_refresh_steps,
            "fill_after_eos": self.fill_after_eos,
        }

    def to_dict(self) -> dict[str, Any]:
        """The settings in types that JSON has."""
        return {**asdict(self), "closed_set": list(self.closed_set)}
