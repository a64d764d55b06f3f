# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint has been trained on, as its recipes say."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from geodit.hub_cards.card.markdown import Markdown
from geodit.hub_cards.card.recipe_table import dataset_names
from geodit.hub_cards.card.training_history import TrainingStage

__all__ = ["PublishedDataset", "TrainingData", "training_data"]

_SYNTHETIC, _TEXT, _NEON = "synthetic", "text", "neon"
_ARGUMENTS = {"num_scenes": _SYNTHETIC, "num_text_scenes": _TEXT, "num_neon_tiles": _NEON}


@dataclass(frozen=True)
class PublishedDataset:
    """A data set that others have published.

    Args:
        name: Its name, as in `geodit data list`.
        splits: The splits that were trained on.
        description: One line about it; empty if it is not known.
        download: Where to get it; empty if it is not known.
        licence: What is known about its terms of use; empty if nothing is.
    """

    name: str
    splits: tuple[str, ...]
    description: str = ""
    download: str = ""
    licence: str = ""


@dataclass(frozen=True)
class TrainingData:
    """All that the recipes of a checkpoint name.

    Args:
        made: What this package makes or fetches itself: `"synthetic"` scenes, `"text"` (scenes in words), `"neon"`.
        published: The other data sets, in the order of the recipes.
    """

    made: frozenset[str] = frozenset()
    published: tuple[PublishedDataset, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.made or self.published)

    @property
    def is_trees_alone(self) -> bool:
        """Whether the images are of tree crowns and nothing else."""
        return not self.published and _NEON in self.made and _SYNTHETIC not in self.made


def training_data(stages: Sequence[TrainingStage]) -> TrainingData:
    """Gather what the recipes of all stages train on."""
    made = {source for stage in stages for name, source in _ARGUMENTS.items() if stage.recipe.get(name, 0) != 0}
    splits: dict[str, list[str]] = {}
    for stage in stages:
        for entry in dataset_names(stage.recipe):
            name, _, split = entry.partition(":")
            splits.setdefault(name, []).append(split or "train")
    return TrainingData(
        frozenset(made), tuple(_describe(name, tuple(dict.fromkeys(used))) for name, used in splits.items())
    )


def _describe(name: str, splits: tuple[str, ...]) -> PublishedDataset:
    # The readers need the library `datasets`, which training has and assembling a checkpoint does without.
    if importlib.util.find_spec("datasets") is None:
        return PublishedDataset(name, splits)
    from geodit.data.readers.registry import READERS

    reader = READERS.get(name)
    if reader is None:
        return PublishedDataset(name, splits)
    told = (Markdown(text) for text in (reader.description, reader.download, reader.licence))
    return PublishedDataset(name, splits, *told)
