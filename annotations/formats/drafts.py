# SPDX-License-Identifier: Apache-2.0
"""Gather what several records say of one image."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

from geodit.annotations.records import LabeledImage, LabeledObject, TextAnswer

__all__ = ["Draft", "Drafts"]


@dataclass
class Draft:
    """An image of which more may be known soon; its fields are those of [`LabeledImage`]."""

    image: str
    origin: str
    image_size: tuple[int, int] | None = None
    objects: list[LabeledObject] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    answers: list[TextAnswer] = field(default_factory=list)
    category: str = ""
    split: str = ""
    group: str = ""
    partial_labels: set[str] = field(default_factory=set)

    def finish(self) -> LabeledImage:
        """Return the image with all that is known of it."""
        return LabeledImage(
            self.image,
            self.origin,
            self.image_size,
            tuple(self.objects),
            tuple(self.captions),
            tuple(self.answers),
            self.category,
            self.split,
            self.group,
            frozenset(self.partial_labels),
        )


class Drafts:
    """Images by what the records of a source call them, in the order in which they came."""

    def __init__(self) -> None:
        self._drafts: dict[Hashable, Draft] = {}
        self._missing: set[Hashable] = set()

    def get(self, key: Hashable) -> Draft | None:
        """Return the image of this name, if it has come."""
        return self._drafts.get(key)

    def add(self, key: Hashable, draft: Draft) -> Draft:
        """Keep a new image under its name."""
        self._drafts[key] = draft
        return draft

    def get_or_find(self, name: str, find: Callable[[str], str], origin: str) -> Draft | None:
        """Return the image of this name, found if it has not come yet.

        Args:
            name: The name.
            find: From the name to the path of the image; what it raises is passed on the first time.
            origin: Where its first record is.

        Returns:
            The image; `None` if it could not be found before, which has been said.
        """
        if name in self._missing:
            return None
        draft = self._drafts.get(name)
        if draft is None:
            self._missing.add(name)
            draft = self._drafts[name] = Draft(find(name), origin)
            self._missing.remove(name)
        return draft

    def finish(self) -> Iterator[LabeledImage]:
        """Yield all images."""
        for draft in self._drafts.values():
            yield draft.finish()
