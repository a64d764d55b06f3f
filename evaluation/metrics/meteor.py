# SPDX-License-Identifier: Apache-2.0
"""METEOR 1.5, by the program that pycocoevalcap brings, which needs Java."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from geodit.evaluation.caption_tokens import java_command
from geodit.evaluation.optional import import_optional

__all__ = ["MeteorProgram"]


class MeteorProgram:
    """The running program: a context manager.

    METEOR of a set is computed from the sums of the captions' statistics, so that any choice of them is scored without
    a second comparison. To start takes about half a minute, in which the program reads its paraphrases, and up to 2 GB
    of memory.

    Raises:
        FileNotFoundError: If there is no Java.
    """

    def __init__(self) -> None:
        java_command("METEOR")
        self._meteor = import_optional("pycocoevalcap.meteor.meteor").Meteor()

    def __enter__(self) -> MeteorProgram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._meteor.meteor_p
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()

    def statistics(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Compare captions with their references.

        Args:
            captions: N captions, words separated by spaces.
            references: References of each, at least one.

        Returns:
            Array of shape (N, 23): the counts that METEOR makes its score of, by the reference that fits best.

        Raises:
            RuntimeError: If the program ended.
        """
        lines = [
            self._answer(f"SCORE ||| {' ||| '.join(map(_one_line, of_image))} ||| {_one_line(caption)}")
            for caption, of_image in zip(captions, references, strict=True)
        ]
        return np.asarray([line.split() for line in lines], dtype=np.float64)

    def score(self, statistics: NDArray[np.float64]) -> float:
        """Return METEOR, from 0 to 1, of statistics of captions, shape (N, 23)."""
        total = " ".join(f"{value:.1f}" for value in statistics.sum(axis=0))
        self._answer(f"EVAL ||| {total}")
        # The score of each caption, here of one that stands for all, and that of the set.
        return float(self._line())

    def _answer(self, line: str) -> str:
        stdin = self._meteor.meteor_p.stdin
        stdin.write(f"{line}\n".encode())
        stdin.flush()
        return self._line()

    def _line(self) -> str:
        line: str = self._meteor.meteor_p.stdout.readline().decode().strip()
        if not line:
            raise RuntimeError("METEOR's program ended without an answer; is there memory for Java to use 2 GB?")
        return line


def _one_line(caption: str) -> str:
    return " ".join(caption.replace("|||", " ").split())
