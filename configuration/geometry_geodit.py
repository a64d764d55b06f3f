# SPDX-License-Identifier: Apache-2.0
"""Bounds of what a configuration may ask for: config.json comes from a repository, and nobody has read it."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["TEXT_SIZES", "VISION_SIZES", "check_heads", "check_numbers", "check_sizes", "refuse_code_by_name"]

_SIZES = {
    "hidden_size": 2**16,
    "intermediate_size": 2**18,
    "num_hidden_layers": 2**10,
    "num_attention_heads": 2**12,
}
TEXT_SIZES: Mapping[str, int] = {
    **_SIZES,
    "vocab_size": 2**22,
    "num_key_value_heads": 2**12,
    "head_dim": 2**16,
    "max_position_embeddings": 2**24,
}
"""Fields of a text core that are sizes, with the largest value of each: some ten times that of the largest models."""

VISION_SIZES: Mapping[str, int] = {**_SIZES, "num_channels": 2**8, "image_size": 2**13, "patch_size": 2**10}
"""The same of a vision tower. Of images, 8,192 pixels a side."""

# What runs without code from elsewhere. Transformers takes other names for packages, or for repositories of the Hub
# whose kernels it downloads and runs.
_ATTENTION = (None, "eager", "sdpa", "flex_attention")
_IMPLEMENTATIONS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")


def check_sizes(config: object, sizes: Mapping[str, int], part: str) -> None:
    """Refuse sizes that are no positive integers, or larger than those of any model.

    Args:
        config: The configuration of one part of the model.
        sizes: Its fields, with the largest value of each.
        part: What the part is called in config.json, for the error.

    Raises:
        ValueError: Naming the field, its value and the range.
    """
    for name, largest in sizes.items():
        value = getattr(config, name, None)
        if value is None and name == "head_dim":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
            raise ValueError(f"{part}.{name} must be an integer from 1 to {largest:,}, got {value!r:.80}.")


def check_heads(config: object, part: str) -> None:
    """Refuse heads that do not divide what they share.

    Raises:
        ValueError: Naming the two fields.
    """
    pairs = [("num_attention_heads", "num_key_value_heads")]
    if getattr(config, "head_dim", None) is None:
        pairs.append(("hidden_size", "num_attention_heads"))
    for whole, share in pairs:
        size, number = getattr(config, whole, None), getattr(config, share, None)
        if number is not None and size % number:
            raise ValueError(f"{part}.{whole} must be a multiple of {share}, got {size} and {number}.")


def check_numbers(config: object, names: tuple[str, ...], part: str) -> None:
    """Refuse what is no finite number of at least 0.

    Raises:
        ValueError: Naming the field and its value.
    """
    for name in names:
        value = getattr(config, name, 0.0)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value >= 0):
            raise ValueError(f"{part}{name} must be a number of at least 0, got {value!r:.80}.")


def refuse_code_by_name(config: Mapping[str, object]) -> None:
    """Refuse a config.json that names an implementation of attention which Transformers would fetch and run.

    Whoever wants one gives `attn_implementation` to `from_pretrained`.

    Args:
        config: The content of config.json.

    Raises:
        ValueError: If it, or the configuration of a part, names one.
    """
    for part in (config, *(value for value in config.values() if isinstance(value, Mapping))):
        for name in _IMPLEMENTATIONS:
            named = part.get(name)
            for value in named.values() if isinstance(named, Mapping) else (named,):
                if value not in _ATTENTION:
                    raise ValueError(
                        f"config.json asks for the attention {value!r:.80}, which may be code of another repository. "
                        f"Remove {name} there, and give attn_implementation to from_pretrained if you want it."
                    )
