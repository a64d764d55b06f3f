# SPDX-License-Identifier: Apache-2.0
"""The names used by the synthetic scenes, and their grammar."""

from __future__ import annotations

label_names: tuple[str, ...] = ("ship", "aircraft", "tank", "vehicle", "building", "court", "tree")
color_names: tuple[str, ...] = ("white", "gray", "black", "red", "blue", "green", "yellow", "brown")
scene_type_names: tuple[str, ...] = (
    "harbor",
    "airport",
    "industrial area",
    "residential area",
    "parking lot",
    "sports ground",
    "farmland",
    "forest",
    "open water",
    "desert",
    "river",
)

# The most objects of one class in a scene: seven boxes of four location tokens and the end fill 32 tokens.
MAX_PER_CLASS = 7
MAX_OBJECTS = 10

_NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven")
_UNCOUNTABLE = ("farmland", "open water")


def plural(label: str) -> str:
    """Return the plural of a class: "ships", but "aircraft"."""
    return label if label == "aircraft" else f"{label}s"


def with_article(noun: str, adjective: str = "") -> str:
    """Return a noun with its article: "a ship", "an aircraft", "an empty harbor", but "farmland"."""
    phrase = f"{adjective} {noun}" if adjective else noun
    if noun in _UNCOUNTABLE:
        return phrase
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def counted(count: int, label: str) -> str:
    """Write a number of objects in words: "one ship", "three ships"."""
    return f"{_NUMBER_WORDS[count]} {label if count == 1 else plural(label)}"
