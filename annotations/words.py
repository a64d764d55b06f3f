# SPDX-License-Identifier: Apache-2.0
"""Class names in sentences: plural forms, articles and counts, by the library inflect."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import inflect

__all__ = ["ClassWords"]

# Counts up to this one are words in captions: "seven ships", but "12 ships".
_MOST_IN_WORDS = 10
# What is left of "buses" or "gas" without an s is no word.
_SHORTEST_SINGULAR = 3


class ClassWords:
    """The words for classes.

    A class that is named in the plural, such as `vehicles`, is spoken of in the singular where there is one.

    Args:
        plurals: Plural of a class, by its name, where the rules of English are not what is wanted.
    """

    def __init__(self, plurals: Mapping[str, str] | None = None) -> None:
        self._plurals = dict(plurals or {})

    @cached_property
    def _engine(self) -> inflect.engine:
        import inflect

        return inflect.engine()

    def singular(self, label: str) -> str:
        """Return the word for one of them."""
        if label in self._plurals:
            return label
        found = self._engine.singular_noun(label)
        if isinstance(found, str) and len(found) >= _SHORTEST_SINGULAR and self._engine.plural_noun(found) == label:
            return found
        return label

    def plural(self, label: str) -> str:
        """Return the word for several of them: "ships", but "aircraft"."""
        if label in self._plurals:
            return self._plurals[label]
        return str(self._engine.plural_noun(self.singular(label)))

    def with_article(self, label: str) -> str:
        """Return the word for one of them with its article: "a ship", "an aircraft"."""
        return str(self._engine.a(self.singular(label)))

    def counted(self, count: int, label: str) -> str:
        """Write how many there are: "one ship", "three ships", "12 ships"."""
        number = str(self._engine.number_to_words(str(count))) if 0 < count <= _MOST_IN_WORDS else str(count)
        number = "no" if count == 0 else number
        return f"{number} {self.singular(label) if count == 1 else self.plural(label)}"

    def listed(self, parts: list[str]) -> str:
        """Join parts of a list: "a, b and c"."""
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
