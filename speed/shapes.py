# SPDX-License-Identifier: Apache-2.0
"""Sizes of the models whose speed is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from geodit.configuration.configuration_geodit import GeoDiTConfig

__all__ = ["SHAPES", "Shape", "get_shape", "resize"]


@dataclass(frozen=True)
class Shape:
    """Geometry of a GeoDiT. The number of image tokens is no part of it: a prefix length decides on that.

    Args:
        name: What it is called; named shapes are called after the parameters of their text core, as LLaDA-8B is.
        hidden_size: d.
        intermediate_size: Width of the feed-forward layers.
        num_hidden_layers: Layers of the text core.
        num_attention_heads: Its heads, of queries and of keys alike.
        vocab_size: V.
        tie_word_embeddings: Whether input and output embeddings are one matrix. It changes no time.
        vision_hidden_size: d_v, width of the vision tower.
        vision_intermediate_size: Width of its feed-forward layers.
        vision_num_hidden_layers: Its layers.
        vision_num_attention_heads: Its heads.
        patch_size: Side of a patch in pixels.

    Raises:
        ValueError: If a size is not positive, or a width cannot be cut into so many heads.
    """

    name: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    tie_word_embeddings: bool
    vision_hidden_size: int
    vision_intermediate_size: int
    vision_num_hidden_layers: int
    vision_num_attention_heads: int
    patch_size: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name not in ("name", "tie_word_embeddings") and value < 1:
                raise ValueError(f"{name} must be at least 1, but is {value}")
        # Rotary embeddings turn pairs of coordinates.
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size={self.hidden_size} cannot be cut into num_attention_heads={self.num_attention_heads} "
                "heads of even width"
            )
        if self.vision_hidden_size % self.vision_num_attention_heads:
            raise ValueError(
                f"vision_hidden_size={self.vision_hidden_size} cannot be cut into "
                f"vision_num_attention_heads={self.vision_num_attention_heads} heads"
            )
        if self.vocab_size < 8:
            raise ValueError(f"vocab_size must be at least 8, but is {self.vocab_size}")

    def config(self, num_image_tokens: int) -> GeoDiTConfig:
        """Return the configuration of a model of this shape.

        It has no EOS, so that every answer is as long as its canvas: what is measured is the same work each time.

        Args:
            num_image_tokens: n, a square number.

        Raises:
            ValueError: If n is no square number.
        """
        side = math.isqrt(num_image_tokens)
        if side < 1 or side * side != num_image_tokens:
            raise ValueError(f"the patches of an image fill a square, but there are {num_image_tokens}")
        return GeoDiTConfig(
            text_config={
                "hidden_size": self.hidden_size,
                "intermediate_size": self.intermediate_size,
                "num_hidden_layers": self.num_hidden_layers,
                "num_attention_heads": self.num_attention_heads,
                "vocab_size": self.vocab_size,
                "bos_token_id": None,
                "eos_token_id": None,
                "pad_token_id": None,
            },
            vision_config={
                "hidden_size": self.vision_hidden_size,
                "intermediate_size": self.vision_intermediate_size,
                "num_hidden_layers": self.vision_num_hidden_layers,
                "num_attention_heads": self.vision_num_attention_heads,
                "image_size": side * self.patch_size,
                "patch_size": self.patch_size,
                "vision_use_head": False,
            },
            image_token_id=self.vocab_size - 2,
            mask_token_id=self.vocab_size - 1,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
            tie_word_embeddings=self.tie_word_embeddings,
        )


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        # Runs in seconds; its figures say nothing but that everything runs.
        Shape("tiny", 64, 192, 2, 4, 512, True, 32, 64, 2, 2, 4),
        # LLaDA's vocabulary and proportions, and a base-size tower: an so400m would outweigh the text core.
        Shape("0.3b", 1024, 3072, 12, 16, 126464, True, 768, 3072, 12, 12, 16),
        # LLaDA-8B with the tower of siglip2-so400m-patch14-384.
        Shape("8b", 4096, 12288, 32, 32, 126464, False, 1152, 4304, 27, 16, 14),
    )
}


def get_shape(name: str) -> Shape:
    """Look up a named shape.

    Raises:
        ValueError: If there is none of that name; the message lists those there are.
    """
    if name not in SHAPES:
        raise ValueError(f"there is no shape {name!r}; there are {', '.join(SHAPES)}")
    return SHAPES[name]


def resize(shape: Shape, **sizes: int | None) -> Shape:
    """Return a shape with some sizes changed.

    Args:
        shape: The shape to start from.
        **sizes: Fields of [`Shape`]; `None` leaves one as it is.

    Returns:
        The same shape if nothing is changed, or one called after both.

    Raises:
        ValueError: If the sizes do not fit together.
        TypeError: If there is no such field.
    """
    changed = {name: value for name, value in sizes.items() if value is not None}
    if not changed:
        return shape
    name = f"{shape.name} with {', '.join(f'{field} {value}' for field, value in changed.items())}"
    return replace(shape, name=name, **changed)  # type: ignore[arg-type]
