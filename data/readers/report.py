# SPDX-License-Identifier: Apache-2.0
"""What a check of a data set found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from geodit.configuration.types_geodit import JsonObject
from geodit.data.readers.reader import Count

PROBLEM_KINDS = ("split", "count", "record", "image", "box", "leakage")
"""Split missing, count not as published, bad record, unreadable image, box out of bounds, image in two splits."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a data set.

    Args:
        kind: One of `PROBLEM_KINDS`.
        split: Where, or `TOTAL`.
        number: How often.
        message: What, in one line.
        examples: The first few, each with file and record.
    """

    kind: str
    split: str
    number: int
    message: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitReport:
    """What a split holds.

    Args:
        split: Its name, or `TOTAL`.
        counts: "images" (different files), "records", "questions", and the questions of each task.
        published: The published numbers of these.
    """

    split: str
    counts: Mapping[str, int]
    published: Mapping[str, Count]


@dataclass(frozen=True)
class DatasetReport:
    """What a check found.

    Args:
        name: The name of the data set.
        path: Where it is.
        splits: The splits that were read, and `TOTAL` if these were all.
        problems: What is wrong; nothing if it is empty.
    """

    name: str
    path: str
    splits: tuple[SplitReport, ...]
    problems: tuple[Problem, ...]

    def to_dict(self) -> JsonObject:
        """Return the report in types that JSON has."""
        return {
            "name": self.name,
            "path": self.path,
            "splits": [
                {
                    "split": split.split,
                    "counts": dict(split.counts),
                    "published": {
                        quantity: {"number": count.number, "exact": count.exact}
                        for quantity, count in split.published.items()
                    },
                }
                for split in self.splits
            ],
            "problems": [
                {
                    "kind": problem.kind,
                    "split": problem.split,
                    "number": problem.number,
                    "message": problem.message,
                    "examples": list(problem.examples),
                }
                for problem in self.problems
            ],
        }
