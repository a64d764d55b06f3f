# SPDX-License-Identifier: Apache-2.0
"""What a person has set on the page, or a program has sent, in the terms of the pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from geodit.configuration.decoding_options import DecodingOptions
from geodit.rasters.rendering import Rendering, StretchRule

__all__ = ["Bands", "Question", "decoding_options", "split"]


@dataclass(frozen=True)
class Question:
    """What is asked.

    Args:
        task: A task of the model.
        query: A phrase, a class or a question; empty for the tasks that take none.
        choices: The only answers that there are.
    """

    task: str
    query: str = ""
    choices: tuple[str, ...] | None = None

    @classmethod
    def read(cls, task: str, query: str | None, choices: str | Sequence[str] | None = None) -> Question:
        """Read what stands in the fields; choices have commas between them."""
        given = split(choices) if isinstance(choices, str) else tuple(choices or ())
        return cls(task, (query or "").strip(), given or None)


@dataclass(frozen=True)
class Bands:
    """How the bands of a raster are shown.

    Args:
        numbers: The band to show as gray, or the three to show as red, green and blue; by default those of the file.
        rendering: Which values become black and white.
    """

    numbers: tuple[int, ...] | None = None
    rendering: Rendering = field(default_factory=Rendering)

    @classmethod
    def read(cls, bands: str | Sequence[int] | None, stretch: str | None) -> Bands:
        """Read what stands in the fields.

        Raises:
            ValueError: If they are no numbers of bands, or no stretch.
        """
        texts = split(bands) if isinstance(bands, str) else tuple(str(band) for band in bands or ())
        if not all(text.isdecimal() and int(text) >= 1 for text in texts):
            raise ValueError(f"bands are one or three whole numbers from 1, such as 4,3,2, not {', '.join(texts)}")
        rule = StretchRule.parse(stretch or "auto")
        return cls(tuple(int(text) for text in texts) or None, Rendering(rule))


def decoding_options(
    max_denoising_steps: float | None = None,
    confidence_threshold: float | None = None,
    remasking: str | None = None,
    structured: bool = True,
    seed: float | None = 0,
) -> DecodingOptions:
    """Return how an answer is decoded; a threshold of 0 is none.

    Raises:
        ValueError: If a value is not allowed.
    """
    return DecodingOptions(
        max_denoising_steps=None if max_denoising_steps is None else int(max_denoising_steps),
        confidence_threshold=confidence_threshold or None,
        remasking=remasking or None,
        structured=structured,
        seed=None if seed is None else int(seed),
    )


def split(text: str) -> tuple[str, ...]:
    """Return what stands between commas, without the space around it."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)
