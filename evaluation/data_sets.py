# SPDX-License-Identifier: Apache-2.0
"""The data sets that a model can be evaluated on, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from geodit.data.neon import neon_dataset
from geodit.tiny.scenes.dataset import synthetic_dataset

if TYPE_CHECKING:
    import datasets

__all__ = [
    "DEFAULT_SYNTHETIC_SCENES",
    "EVALUATION_DATASETS",
    "EvaluationDataset",
    "get_evaluation_dataset",
    "load_evaluation_dataset",
]

DEFAULT_SYNTHETIC_SCENES = 500


class _Loader(Protocol):
    def __call__(
        self, *, split: str, seed: int | None, limit: int | None, data_dir: str | Path | None
    ) -> datasets.Dataset: ...


@dataclass(frozen=True)
class EvaluationDataset:
    """A data set with ground truth.

    Args:
        name: How it is called in every API.
        description: One line about it.
        load: Makes the data set; takes what `load_evaluation_dataset` takes after the name.
        has_seeds: Whether it can be drawn again with another seed, as data that are made can be and data that
            were collected cannot.
    """

    name: str
    description: str
    load: _Loader
    has_seeds: bool


def _load_synthetic(
    *, split: str, seed: int | None, limit: int | None, data_dir: str | Path | None
) -> datasets.Dataset:
    if data_dir is not None:
        raise ValueError("the synthetic scenes are made, not read; leave out data_dir")
    number = DEFAULT_SYNTHETIC_SCENES if limit is None else limit
    return synthetic_dataset(number, 0 if seed is None else seed, split=split)


def _load_neon(*, split: str, seed: int | None, limit: int | None, data_dir: str | Path | None) -> datasets.Dataset:
    if seed is not None:
        raise ValueError("the images of NEON are fixed; leave out the seed of the data set")
    if data_dir is None:
        raise ValueError("NEON is read from a folder: run `geodit data fetch neon` and give that folder as data_dir")
    dataset = neon_dataset(data_dir, split)
    return dataset if limit is None else dataset.select(range(min(limit, len(dataset))))


EVALUATION_DATASETS: Mapping[str, EvaluationDataset] = MappingProxyType(
    {
        dataset.name: dataset
        for dataset in (
            EvaluationDataset(
                "synthetic",
                "made scenes from seeds that training never uses: all tasks",
                _load_synthetic,
                True,
            ),
            EvaluationDataset("neon", "tree crowns in airborne images: detection and counting", _load_neon, False),
        )
    }
)
"""The data sets by name."""


def get_evaluation_dataset(name: str) -> EvaluationDataset:
    """Look up a data set by its name.

    Args:
        name: A key of `EVALUATION_DATASETS`.

    Raises:
        ValueError: If there is none of that name; the message lists those there are.
    """
    if name not in EVALUATION_DATASETS:
        raise ValueError(f"unknown data set {name!r}; the data sets are {', '.join(EVALUATION_DATASETS)}")
    return EVALUATION_DATASETS[name]


def load_evaluation_dataset(
    name: str,
    *,
    split: str = "test",
    seed: int | None = None,
    limit: int | None = None,
    data_dir: str | Path | None = None,
) -> datasets.Dataset:
    """Draw or read a data set.

    Args:
        name: A key of `EVALUATION_DATASETS`.
        split: `"test"` to report, `"validation"` to choose settings.
        seed: Seed of the images, for data sets that have seeds; 0 by default. The seeds of a split give
            scenes that no other split has, the training split included.
        limit: Use the first so many images only. By default 500 synthetic scenes, and all of NEON.
        data_dir: Folder of the images, for data sets that are read.

    Returns:
        A data set as [`geodit.data.schema`] describes it.

    Raises:
        ValueError: If the name is unknown or an argument does not fit the data set.
        FileNotFoundError: If the images are not in `data_dir`.
    """
    dataset = get_evaluation_dataset(name)
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 image, not {limit}")
    return dataset.load(split=split, seed=seed, limit=limit, data_dir=data_dir)
