# SPDX-License-Identifier: Apache-2.0
"""What an import found wrong or odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["PROBLEM_KINDS", "BadRecordsError", "ImportReport", "Problem"]

PROBLEM_KINDS: Mapping[str, str] = {
    "record": "records that cannot be read",
    "missing image": "images that are missing",
    "unreadable image": "images that cannot be read",
    "image size": "images of another size than their record states",
    "duplicate image": "images that look like another one",
    "not a number": "objects whose box is not made of numbers",
    "without area": "objects whose box has no area",
    "outside": "objects outside their image",
    "unknown class": "objects of a class that is not in the list",
    "duplicate box": "objects that are there twice",
    "elsewhere": "features outside all images, which are of no use",
    "mended": "features whose outline crosses itself, which are taken as it encloses them",
    "over the edge": "objects that reach over the edge of their image, which are kept",
}
"""Kinds of problems, and what there is of them."""

_HARMLESS = frozenset({"elsewhere", "mended", "over the edge"})
# Problems of a kind of which place and reason are kept; the others are counted.
_MOST_KEPT = 1000


@dataclass(frozen=True)
class Problem:
    """Something that is wrong or odd.

    Args:
        kind: One of `PROBLEM_KINDS`.
        origin: File, and line or record.
        reason: What is wrong with it, as half a sentence.
    """

    kind: str
    origin: str
    reason: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.reason}"


@dataclass
class ImportReport:
    """What was found so far.

    Args:
        images: Images that were kept.
        objects: Their objects that were kept.
        counts: Number of problems of each kind.
        problems: The first of each kind, in the order in which they were found.
    """

    images: int = 0
    objects: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    @property
    def num_bad(self) -> int:
        """Number of problems for which something was left out."""
        return sum(count for kind, count in self.counts.items() if kind not in _HARMLESS)

    def add(self, kind: str, origin: str, reason: str) -> None:
        """Note a problem."""
        if kind not in PROBLEM_KINDS:
            raise ValueError(f"{kind!r} is not a kind of problem; they are {', '.join(PROBLEM_KINDS)}")
        self.counts[kind] += 1
        if self.counts[kind] <= _MOST_KEPT:
            self.problems.append(Problem(kind, origin, reason))

    def lines(self, examples: int = 5) -> list[str]:
        """Return the report as text: what was kept, then each kind with its first problems.

        Args:
            examples: Problems of each kind to name.
        """
        lines = [f"images: {self.images:,}, objects: {self.objects:,}"]
        for kind, what in PROBLEM_KINDS.items():
            if not self.counts[kind]:
                continue
            lines.append(f"{what}: {self.counts[kind]:,}")
            named = [problem for problem in self.problems if problem.kind == kind][:examples]
            lines += [f"  {problem}" for problem in named]
            if self.counts[kind] > len(named):
                lines.append(f"  and {self.counts[kind] - len(named):,} more")
        return lines


class BadRecordsError(ValueError):
    """Something is wrong with annotations that are to be used whole.

    Args:
        report: What was found.
    """

    def __init__(self, report: ImportReport) -> None:
        kinds = [f"{what}: {report.counts[kind]:,}" for kind, what in PROBLEM_KINDS.items() if report.counts[kind]]
        harmful = next(problem for problem in report.problems if problem.kind not in _HARMLESS)
        super().__init__(
            f"not all annotations can be used ({', '.join(kinds)}), the first being {harmful}: correct them, or leave "
            "them out by --skip-bad (skip_bad=True)"
        )
        self.report = report
