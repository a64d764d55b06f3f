# SPDX-License-Identifier: Apache-2.0
"""What a person has set on the page, or a program has sent, in the terms of the pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from geodit.configuration.decoding_options import DecodingOptions
from geodit.rasters.rendering import Rendering, StretchRule

__all__ = ["MAX_DENOISING_STEPS", "MAX_OVERLAP", "Bands", "Question", "SceneSettings", "decoding_options", "split"]

MAX_DENOISING_STEPS = 64
MAX_OVERLAP = 0.75

# Sliders and fields have these limits, too, but a request need not come from them.
_MAX_TEXT = 1000
_MAX_CHOICES = 100
_MAX_TILE_SIZE = 8192


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
        """Read what stands in the fields; choices have commas between them.

        Raises:
            ValueError: If there are too many of them, or a text is too long.
        """
        given = split(choices) if isinstance(choices, str) else tuple(choices or ())
        if len(given) > _MAX_CHOICES:
            raise ValueError(f"a question has at most {_MAX_CHOICES} choices, not {len(given):,}")
        for text in (query or "", *given):
            if not isinstance(text, str) or len(text) > _MAX_TEXT:
                raise ValueError(f"queries and choices are texts of at most {_MAX_TEXT:,} characters")
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


@dataclass(frozen=True)
class SceneSettings:
    """How a scene is seen.

    Args:
        tile_size: Side of a tile in pixels; `None` for that of the training.
        overlap: Share of a tile's side that neighbors have in common.
        min_score: Objects of a lower score are left out.

    Raises:
        ValueError: If a value is out of range.
    """

    tile_size: int | None = None
    overlap: float = 0.25
    min_score: float = 0.0

    def __post_init__(self) -> None:
        _within("the overlap of tiles", self.overlap, 0, MAX_OVERLAP)
        _within("the lowest score", self.min_score, 0, 1)

    @classmethod
    def read(cls, tile_size: float | None, overlap: float | None, min_score: float | None) -> SceneSettings:
        """Read what stands in the fields; a size of 0 is that of the training.

        Raises:
            ValueError: If a value is out of range.
        """
        side = _within("the side of a tile", tile_size or 0, 0, _MAX_TILE_SIZE)
        return cls(int(side) or None, 0.25 if overlap is None else overlap, min_score or 0.0)


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
        max_denoising_steps=None
        if max_denoising_steps is None
        else int(_within("N, the number of denoising steps,", max_denoising_steps, 1, MAX_DENOISING_STEPS)),
        confidence_threshold=_within("the confidence threshold", confidence_threshold or 0, 0, 1) or None,
        remasking=remasking or None,
        structured=structured,
        seed=None if seed is None else int(seed),
    )


def _within(name: str, value: float, lowest: float, highest: float) -> float:
    """Return a value that is in a range.

    Raises:
        ValueError: If it is not, or is no number.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not lowest <= value <= highest:
        raise ValueError(f"{name} is from {lowest} to {highest}, not {str(value)[:20]}")
    return value


def split(text: str) -> tuple[str, ...]:
    """Return what stands between commas, without the space around it."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)
