# SPDX-License-Identifier: Apache-2.0
"""How answers are decoded: the options that pipelines, evaluations, model cards and the command line share."""

from __future__ import annotations

import warnings
from dataclasses import InitVar, dataclass, fields, replace
from typing import Any

from transformers.generation.configuration_utils import GenerationConfig

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.configuration.types_geodit import Arguments, JsonObject

__all__ = ["DecodingOptions"]

# What decides on the answers. The length of the canvas is not here: the task has it.
_ANSWERS = (
    "max_denoising_steps",
    "remasking",
    "temperature",
    "guidance_scale",
    "block_length",
    "confidence_threshold",
    "entropy_bound",
    "prefix_refresh_steps",
    "fill_after_eos",
)
# What decides on speed only.
_SPEED = ("capture_step", "compile_step")


@dataclass(frozen=True)
class DecodingOptions:
    """How answers are decoded. [`GeoDiTGenerationConfig`] explains the options that have its names.

    An option that is `None` is the model's own, from its generation configuration.

    Args:
        max_denoising_steps: N, the maximum number of denoising steps.
        remasking: `"low_confidence"`, `"low_margin"`, `"high_entropy"` or `"random"`.
        temperature: 0 takes the most probable tokens.
        guidance_scale: Classifier-free guidance; 1 is off.
        seed: Makes answers that draw random numbers reproducible, whatever the batch size.
        confidence_threshold: Commit every token whose score is above this probability in one step.
        entropy_bound: With `"high_entropy"`, commit up to this sum of entropies per step, in nats.
        block_length: Length of the blocks that are denoised from left to right, in tokens.
        prefix_refresh_steps: With `attention_mode="full"`, number of steps between runs on image and prompt.
        fill_after_eos: Whether everything after an EOS is EOS, at no cost.
        capture_step: Whether steps have fixed shapes, which a GPU replays as one graph. The answers are the same.
        compile_step: Whether a layer of the network is compiled. The answers are the same.
        structured: Whether answers of boxes are always well-formed boxes, or the word for none.
        closed_set: In an evaluation, the tasks that are answered by one of the data set's own answers.
        steps: Deprecated name of `max_denoising_steps`.

    Raises:
        ValueError: If the seed is not an integer from 0 on, or both names of the steps are given.
    """

    max_denoising_steps: int | None = None
    remasking: str | None = None
    temperature: float | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    confidence_threshold: float | None = None
    entropy_bound: float | None = None
    block_length: int | None = None
    prefix_refresh_steps: int | None = None
    fill_after_eos: bool | None = None
    capture_step: bool | str | None = None
    compile_step: bool | None = None
    structured: bool = True
    closed_set: tuple[str, ...] = ()
    steps: InitVar[int | None] = None

    def __post_init__(self, steps: int | None) -> None:
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0):
            raise ValueError(f"seed must be an integer >= 0, but is {self.seed!r}")
        if steps is None:
            return
        if self.max_denoising_steps is not None:
            raise ValueError("steps is the old name of max_denoising_steps: give max_denoising_steps only")
        _warn_of_steps()
        object.__setattr__(self, "max_denoising_steps", steps)

    @classmethod
    def of_generation_config(cls, generation_config: GenerationConfig) -> DecodingOptions:
        """Take the options that decide on the answers from a generation configuration."""
        return cls(**{name: getattr(generation_config, name) for name in _ANSWERS})

    def with_changes(self, **changes: Any) -> DecodingOptions:
        """Return a copy in which some options have other values.

        Raises:
            ValueError: If there is no such option, or a value is not allowed.
        """
        names = [field.name for field in fields(self)]
        unknown = sorted(set(changes) - {*names, "steps"})
        if unknown:
            raise ValueError(f"there is no decoding option {', '.join(unknown)}: the options are {', '.join(names)}")
        steps = changes.pop("steps", None)
        if steps is not None:
            if changes.setdefault("max_denoising_steps", steps) != steps:
                raise ValueError("steps is the old name of max_denoising_steps: give max_denoising_steps only")
            _warn_of_steps()
        return replace(self, **changes)

    def with_defaults(self) -> DecodingOptions:
        """Return a copy that does not depend on a model: what is `None` gets GeoDiT's own default.

        Three options can be `None` in it, which turns them off: `block_length`, `confidence_threshold` and
        `entropy_bound`.

        Raises:
            ValueError: If a value is not allowed, or two do not fit together.
        """
        given = {name: value for name in _ANSWERS if (value := getattr(self, name)) is not None}
        # How many blocks there are depends on the task.
        config = GeoDiTGenerationConfig(max_new_tokens=self.block_length or 1, **given)
        return replace(self, **{name: getattr(config, name) for name in _ANSWERS})

    @property
    def is_deterministic(self) -> bool:
        """Whether nothing is drawn at random with these options and GeoDiT's defaults: every seed gives the same."""
        return self.remasking != "random" and not self.temperature

    def generate_arguments(self, *, by_model: bool = True) -> Arguments:
        """Return the arguments of `generate()`, without the seed.

        Args:
            by_model: Leave out what is `None`, which the model then decides. `False` is for options of
                `with_defaults`, where `None` turns an option off.
        """
        values = {name: getattr(self, name) for name in (*_ANSWERS, *_SPEED)}
        return {
            name: value for name, value in values.items() if value is not None or (not by_model and name not in _SPEED)
        }

    def to_dict(self) -> JsonObject:
        """Return what decides on the answers, in types and by the names that files of results have."""
        answers = {name: getattr(self, name) for name in _ANSWERS}
        return {
            "steps": answers.pop("max_denoising_steps"),
            **answers,
            "seed": self.seed,
            "structured": self.structured,
            "closed_set": list(self.closed_set),
        }

    def __str__(self) -> str:
        """Describe what is not off, as in `N = 8, low confidence`."""
        parts = [] if self.max_denoising_steps is None else [f"N = {self.max_denoising_steps}"]
        if self.remasking is not None:
            parts.append(self.remasking.replace("_", " "))
        if self.temperature:
            parts.append(f"temperature {self.temperature:g}")
        if self.guidance_scale not in (None, 1):
            parts.append(f"guidance {self.guidance_scale:g}")
        if self.block_length is not None:
            parts.append(f"blocks of {self.block_length}")
        if self.confidence_threshold is not None:
            parts.append(f"confidence threshold {self.confidence_threshold:g}")
        if self.entropy_bound is not None:
            parts.append(f"entropy bound {self.entropy_bound:g}")
        if self.prefix_refresh_steps not in (None, 1):
            parts.append(f"image and prompt computed anew every {self.prefix_refresh_steps} steps")
        if self.fill_after_eos is False:
            parts.append("denoised behind EOS as well")
        if not self.structured:
            parts.append("boxes of any form")
        if self.closed_set:
            parts.append(f"closed set of answers: {', '.join(self.closed_set)}")
        return ", ".join(parts)


def _warn_of_steps() -> None:
    """Warn who constructs the options, or calls the function that makes them of its arguments by `with_changes`."""
    message = "steps is now max_denoising_steps; the old name will be removed in the next release"
    warnings.warn(message, DeprecationWarning, stacklevel=4)
